"""Tensors in files that torch.save wrote, without torch and without executing what is in them.

Such a file is a zip archive: a pickle says which tensors there are, and each storage is a member.
A pickle is a program that may call anything. The reader here knows the few names that tensors need
and refuses every other one, so nothing of a file is called. No TensorFlow.
"""

import collections
import math
import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

from conversion.model import Tensor, in_file
from support.files import check_is_file

STORAGES = {
    'FloatStorage': np.dtype('<f4'),
    'HalfStorage': np.dtype('<f2'),
    'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'DoubleStorage': np.dtype('<f8'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'ByteStorage': np.dtype('u1'),
    'BoolStorage': np.dtype('?'),
}
LARGEST_PICKLE = 2**26  # bytes; that of the 1558M with its optimizer has a hundredth
LOCAL_HEADER = struct.Struct('<26x2H')  # of a zip member: lengths of its name and its extra field
ENCRYPTED = 1  # a flag of a zip member
BEGINNINGS = (b'PK\x03\x04', b'\x80\x02')  # of a zip archive, and of a pickle of PyTorch before 1.6
# What an archive or a pickle that is damaged, or made to do harm, can raise.
DAMAGE = (
    *(pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError),
    *(OverflowError, RuntimeError, struct.error, zipfile.BadZipFile, MemoryError),
)


class Storage(collections.namedtuple('Storage', 'dtype key')):
    """Where numbers are: the member of the archive, and what they are."""


def is_torch(path):
    """Whether a file begins as one of torch.save does, of any PyTorch."""
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as file:
        return file.read(4).startswith(BEGINNINGS)


def read_torch(path):
    """What torch.save wrote: dicts, lists and numbers, with a Tensor for each tensor.

    Raises ValueError if the file is damaged, of PyTorch before 1.6, or wants anything called.
    """
    check_is_file(path)
    if not zipfile.is_zipfile(path):
        with open(path, 'rb') as file:
            if file.read(4) == BEGINNINGS[0]:  # what makes it an archive is at its end
                raise ValueError(f'{path} is truncated: its end is missing')
        raise ValueError(
            f'{path} is not a file of PyTorch 1.6 or later; a PyTorch that reads it can save it '
            'again as safetensors'
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.split('/', 1)[-1]: m for m in archive.infolist()}
            if members['data.pkl'].file_size > LARGEST_PICKLE:
                raise ValueError(f'its pickle has more than {LARGEST_PICKLE:,} bytes')
            check_stored(members['data.pkl'])
            with archive.open(members['data.pkl']) as file:
                return Reader(file, path, members).load()
    except DAMAGE as error:
        raise ValueError(f'{path} is not read: {error}') from error


def check_stored(member):
    """Raise ValueError unless a member of an archive is as torch.save writes it."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED:
        raise ValueError(f'its {member.filename} is compressed or encrypted')


class Reader(pickle.Unpickler):
    """Loads the pickle of an archive.

    What it gives for a name can neither be called to any effect nor changed: a pickle may set the
    state of every object that it gets hold of, so a storage is the text of its name.
    path: of the archive.  members: {name: zipfile.ZipInfo}.
    """

    def __init__(self, file, path, members):
        super().__init__(file, encoding='utf-8')
        self.path, self.members = path, members

    def find_class(self, module, name):
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if module == 'torch' and name in STORAGES:
            return name
        if module == 'torch._utils' and name == '_rebuild_tensor_v2':
            return self.tensor
        if module == 'torch._utils' and name == '_rebuild_parameter':
            return lambda tensor, *_: tensor
        raise pickle.UnpicklingError(f'it asks for {module}.{name}, which no tensor needs')

    def persistent_load(self, key):
        kind, dtype, name, *_ = key
        if kind != 'storage' or dtype not in STORAGES:
            raise pickle.UnpicklingError(f'it refers to {kind!r}, which is no storage')
        return Storage(STORAGES[dtype], str(name))

    def tensor(self, storage, offset, shape, stride, *_):
        """The Tensor of an array in a storage; offset and stride are counted in numbers."""
        dtype, member = storage.dtype, self.members[f'data/{storage.key}']
        check_stored(member)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        numbers = [offset, *shape, *stride]
        if not all(isinstance(n, int) and 0 <= n < 2**62 for n in numbers) or (
            0 not in shape and (last + 1) * dtype.itemsize > member.file_size
        ):
            raise ValueError('a tensor exceeds its storage')

        first = begin_of(self.path, member) + offset * dtype.itemsize
        shape, stride = tuple(shape), tuple(stride)
        if stride == tuple(math.prod(shape[n:]) for n in range(1, len(shape) + 1)):
            return in_file(self.path, first, shape, dtype)

        def rows(start, stop):
            flat = np.memmap(self.path, np.uint8, 'r', first)
            array = np.ndarray(shape, dtype, flat, 0, [step * dtype.itemsize for step in stride])
            return np.array(array[start:stop], np.float32)

        return Tensor(shape, rows)


def begin_of(path, member):
    """Where the bytes of a stored member of a zip archive begin."""
    with open(path, 'rb') as file:
        file.seek(member.header_offset)
        lengths = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return member.header_offset + LOCAL_HEADER.size + sum(lengths)
