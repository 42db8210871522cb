import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from conversion.torch_file import read_torch
from helpers.paths import TESTDATA

FILES = TESTDATA / 'nanogpt'
HALF = np.arange(6.0, dtype=np.float32).reshape(2, 3)


def test_tensors_of_every_dtype_and_layout_are_read():
    content = read_torch(FILES / 'dtypes.pt')
    for name in ('half', 'bfloat16', 'double', 'parameter'):
        np.testing.assert_array_equal(content[name].whole(), HALF)
    np.testing.assert_array_equal(content['transposed'].whole(), HALF.T)
    np.testing.assert_array_equal(content['part'].whole(), HALF[1])
    assert content['scalar'].shape == ()


def test_rows_are_read_by_themselves():
    np.testing.assert_array_equal(read_torch(FILES / 'dtypes.pt')['half'].rows(1, 2), HALF[1:])


def test_what_is_not_a_tensor_comes_as_it_is():
    content = read_torch(FILES / 'ckpt.pt')
    assert content['iter_num'] == 10
    assert content['config']['dataset'] == 'openwebtext'


def test_a_file_that_wants_something_executed_is_refused_and_does_not_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r'foreign.pt is not read: it asks for (posix|nt).system'):
        read_torch(FILES / 'foreign.pt')
    assert os.listdir(tmp_path) == []


def test_a_file_of_an_old_pytorch_is_refused():
    with pytest.raises(ValueError, match='old.pt is not a file of PyTorch 1.6 or later'):
        read_torch(FILES / 'old.pt')


def test_a_file_that_is_cut_off_says_so(tmp_path):
    path = tmp_path / 'cut.pt'
    path.write_bytes((FILES / 'dtypes.pt').read_bytes()[:-100])
    with pytest.raises(ValueError, match='cut.pt is truncated'):
        read_torch(path)


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_with_a_wrong_byte_is_read_or_refused(tmp_path, compression):
    data = changed(tmp_path, lambda name, old: old, compression).read_bytes()
    path = tmp_path / 'damaged.pt'
    for place in range(0, len(data), 17):
        for mask in (0x01, 0x80):
            path.write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            try:
                content = read_torch(path)
            except ValueError as error:
                assert 'damaged.pt is ' in str(error)
            else:
                assert isinstance(content, dict)


def changed(tmp_path, change, compression=zipfile.ZIP_STORED):
    """A copy of dtypes.pt with other members: change(name, data) -> data or None."""
    path = tmp_path / 'changed.pt'
    with zipfile.ZipFile(FILES / 'dtypes.pt') as old, zipfile.ZipFile(path, 'w') as new:
        for member in old.infolist():
            data = change(member.filename, old.read(member))
            if data is not None:
                new.writestr(member.filename, data, compression)
    return path


def test_a_storage_that_is_shorter_than_its_tensor_is_refused(tmp_path):
    path = changed(tmp_path, lambda name, data: data[:3] if '/data/' in name else data)
    with pytest.raises(ValueError, match='a tensor exceeds its storage'):
        read_torch(path)


def test_a_storage_that_is_missing_or_compressed_is_refused(tmp_path):
    path = changed(tmp_path, lambda name, data: None if '/data/' in name else data)
    with pytest.raises(ValueError, match="is not read: 'data/"):
        read_torch(path)
    path = changed(tmp_path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r'data.pkl is compressed or encrypted'):
        read_torch(path)


@pytest.mark.parametrize('size', [0, 1, 50, 300])
def test_a_pickle_that_is_cut_off_is_refused(tmp_path, size):
    path = changed(tmp_path, lambda name, data: data[:size] if name.endswith('.pkl') else data)
    with pytest.raises(ValueError, match='changed.pt is not read'):
        read_torch(path)


@pytest.mark.parametrize(
    'content',
    [{'a': np.zeros(3)}, print, pickle.Unpickler, (1).__class__.__base__],
    ids=['numpy', 'function', 'class', 'object'],
)
def test_nothing_but_tensors_and_plain_values_is_known(tmp_path, content):
    data = pickle.dumps(content)
    path = changed(tmp_path, lambda name, old: data if name.endswith('.pkl') else old)
    with pytest.raises(ValueError, match='it asks for'):
        read_torch(path)


def test_a_pickle_cannot_change_what_it_is_given(tmp_path):
    """A pickle may call __setstate__ of any object: that of a dtype would change all arrays."""
    state = pickle.dumps((3, '|', None, None, None, 1000, 1, 64), protocol=2)[2:-1]
    data = b'\x80\x02ctorch\nBFloat16Storage\n' + state + b'b.'
    path = changed(tmp_path, lambda name, old: data if name.endswith('.pkl') else old)
    with pytest.raises(ValueError, match='changed.pt is not read'):
        read_torch(path)
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2


def pickled(offset, shape, stride):
    """The pickle of one tensor in a storage of 6 float32 numbers, in the oldest protocol."""
    return (
        "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n"
        f'I6\ntQI{offset}\n({"".join(f"I{n}{chr(10)}" for n in shape)}t'
        f'({"".join(f"I{n}{chr(10)}" for n in stride)}ttR.'
    ).encode()


def archive(path, pickle, storage):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('a/data.pkl', pickle)
        file.writestr('a/data/0', storage.tobytes())
    return path


@pytest.mark.parametrize(
    ('offset', 'shape', 'stride', 'expected'),
    [
        (0, [2, 3], [3, 1], [[0, 1, 2], [3, 4, 5]]),
        (1, [2, 2], [1, 2], [[1, 3], [2, 4]]),
        (0, [2, 2], [0, 1], [[0, 1], [0, 1]]),
        (6, [0, 3], [3, 1], []),
        (-1, [2], [1], None),
        (0, [-2], [1], None),
        (5, [2], [-1], None),
        (5, [2], [1], None),
        (0, [2], [2**61], None),
        (0, [2**61, 2**61], [0, 0], 'unread'),
        (0, [2, 3], [1], None),
    ],
)
def test_a_tensor_is_within_its_storage(tmp_path, offset, shape, stride, expected):
    numbers = np.arange(6, dtype=np.float32)
    path = archive(tmp_path / 'x.pt', pickled(offset, shape, stride), numbers)
    if expected is None:
        with pytest.raises(ValueError, match='x.pt is not read'):
            read_torch(path)
        return
    tensor = read_torch(path)
    assert tensor.shape == tuple(shape)
    if expected == []:
        assert tensor.whole().size == 0
    elif expected != 'unread':
        np.testing.assert_array_equal(tensor.whole(), expected)


def test_storages_that_are_encrypted_are_refused(tmp_path):
    numbers = np.arange(6, dtype=np.float32)
    path = archive(tmp_path / 'x.pt', pickled(0, [6], [1]), numbers)
    data = bytearray(path.read_bytes())
    data[data.rindex(b'PK\1\2') + 8] |= 1  # of the last member, in the directory at the end
    path.write_bytes(data)
    with pytest.raises(ValueError, match='its a/data/0 is compressed or encrypted'):
        read_torch(path)


def test_a_pickle_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr('conversion.torch_file.LARGEST_PICKLE', 100)
    with pytest.raises(ValueError, match='its pickle has more than 100 bytes'):
        read_torch(FILES / 'dtypes.pt')
