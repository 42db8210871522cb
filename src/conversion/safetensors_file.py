"""Files of safetensors: read a block of rows at a time, and written so.

The library checks files that are read. It writes none here: it wants all tensors in memory, takes
arrays that are not contiguous for such that are, and gives its files to their owner alone. The
format is a header in JSON after its length, then the numbers. No TensorFlow.
"""

import json
import math
import struct

import ml_dtypes
import numpy as np

from conversion.model import Tensor
from support.files import check_is_file, replacing

DTYPES = {'float32': 'F32', 'float16': 'F16', 'bfloat16': 'BF16'}
NUMPY = {
    'float32': np.dtype('<f4'),
    'float16': np.dtype('<f2'),
    'bfloat16': np.dtype(ml_dtypes.bfloat16),
}
READ = (*DTYPES.values(), 'F64')


def read_safetensors(path):
    """The tensors of a file, {name: Tensor}; ValueError if it is damaged.

    Tensors of whole numbers and truth values (masks of attention) are left out.
    """
    from safetensors import SafetensorError, safe_open

    check_is_file(path)
    try:
        with safe_open(path, framework='np') as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            shapes = {
                name: tuple(part.get_shape())
                for name, part in slices.items()
                if part.get_dtype() in READ
            }
    except SafetensorError as error:
        raise ValueError(f'{path} is no file of safetensors, or not all of it ({error})') from error

    def reader(name):
        def rows(start, stop):
            with safe_open(path, framework='np') as file:  # an open one would keep pages in memory
                return np.asarray(file.get_slice(name)[start:stop], np.float32)

        return rows

    return {name: Tensor(shape, reader(name)) for name, shape in shapes.items()}


def write_safetensors(path, tensors, dtype):
    """Write tensors, {name: Tensor}, as one file of float32, float16 or bfloat16 numbers.

    Raises ValueError for a number that is too large for the dtype.
    """
    size = NUMPY[dtype].itemsize
    header, end = {'__metadata__': {'format': 'pt'}}, 0
    for name, tensor in tensors.items():
        start, end = end, end + size * math.prod(tensor.shape)
        header[name] = {
            'dtype': DTYPES[dtype],
            'shape': list(tensor.shape),
            'data_offsets': [start, end],
        }
    text = json.dumps(header).encode('utf-8')
    text += b' ' * (-len(text) % 8)  # numbers begin at a multiple of 8
    with replacing(path, binary=True) as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for name, tensor in tensors.items():
            for block in tensor.blocks():
                file.write(stored(name, block, dtype).tobytes())


def stored(name, block, dtype):
    """A block of float32 numbers in the dtype of a file."""
    with np.errstate(over='ignore'):
        numbers = np.ascontiguousarray(block).astype(NUMPY[dtype])
    if not np.isfinite(numbers.astype(np.float32)).all() and np.isfinite(block).all():
        raise ValueError(f'{name} holds numbers that are too large for {dtype}')
    return numbers
