import os
import stat

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as library

from conversion.model import Tensor, transposed
from conversion.safetensors_file import read_safetensors, write_safetensors

ARRAY = np.random.RandomState(0).randn(5, 3).astype(np.float32)
NUMPY = {'float32': np.float32, 'float16': np.float16, 'bfloat16': ml_dtypes.bfloat16}


def tensor_of(array):
    return Tensor(array.shape, lambda start, stop: array[start:stop])


@pytest.mark.parametrize('dtype', NUMPY)
def test_the_library_reads_what_is_written(tmp_path, dtype):
    path = str(tmp_path / 'model.safetensors')
    tensors = {'b': tensor_of(ARRAY), 'a': transposed(tensor_of(ARRAY)), 'v': tensor_of(ARRAY[0])}
    write_safetensors(path, tensors, dtype)
    with open(path, 'rb') as file:
        assert int.from_bytes(file.read(8), 'little') % 8 == 0  # where the numbers begin
    found = library.load_file(path)
    for name, array in {'b': ARRAY, 'a': ARRAY.T, 'v': ARRAY[0]}.items():
        np.testing.assert_array_equal(found[name], array.astype(NUMPY[dtype]))
        assert found[name].dtype == NUMPY[dtype]


def test_files_have_ordinary_permissions(tmp_path):
    write_safetensors(str(tmp_path / 'x'), {'a': tensor_of(ARRAY)}, 'float32')
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / 'x').stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize('dtype', NUMPY)
def test_what_the_library_writes_is_read_as_float32(tmp_path, dtype):
    path = str(tmp_path / 'x')
    library.save_file({'a': ARRAY.astype(NUMPY[dtype]), 'mask': np.ones(3, np.uint8)}, path)
    found = read_safetensors(path)
    assert list(found) == ['a']
    assert found['a'].shape == (5, 3)
    expected = ARRAY.astype(NUMPY[dtype]).astype(np.float32)
    np.testing.assert_array_equal(found['a'].whole(), expected)
    np.testing.assert_array_equal(found['a'].rows(1, 3), expected[1:3])


def test_large_tensors_are_written_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr('conversion.model.BLOCK', 4)
    write_safetensors(str(tmp_path / 'x'), {'a': tensor_of(ARRAY)}, 'float32')
    np.testing.assert_array_equal(library.load_file(tmp_path / 'x')['a'], ARRAY)


def test_numbers_too_large_for_the_dtype_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match='a holds numbers that are too large for float16'):
        write_safetensors(str(tmp_path / 'x'), {'a': tensor_of(ARRAY * 1e6)}, 'float16')
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('damage', [b'', b'{}', b'\xff' * 100])
def test_damaged_files_are_refused_in_one_line(tmp_path, damage):
    (tmp_path / 'x').write_bytes(damage)
    with pytest.raises(ValueError, match='x is no file of safetensors, or not all of it'):
        read_safetensors(str(tmp_path / 'x'))


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / 'x'
    library.save_file({'a': ARRAY}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='or not all of it'):
        read_safetensors(str(path))
