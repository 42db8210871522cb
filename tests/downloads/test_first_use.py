import hashlib
import json

import pytest

from downloads.fetch import RemoteFile, WrongFile, verify
from downloads.first_use import FirstUse


@pytest.fixture
def file(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes(b'what came first')
    return RemoteFile(url='http://127.0.0.1:9/a.jsonl', path=str(tmp_path / 'a.jsonl'))


def test_what_came_first_is_expected_from_then_on(tmp_path, file):
    first = FirstUse(tmp_path)
    assert first.expected(file) == file
    digest = hashlib.sha256(b'what came first').hexdigest()
    assert first.record(file, 'md5') == digest
    (tmp_path / 'a.jsonl').write_bytes(b'what came later')
    assert first.record(file, 'md5') == digest  # it stays
    expected = FirstUse(tmp_path).expected(file)
    assert (expected.size, expected.sha256) == (15, digest)
    with pytest.raises(WrongFile, match='sha256'):
        verify(expected)
    assert json.loads((tmp_path / 'checksums.json').read_text())['a.jsonl']['evidence'] == 'md5'


def test_what_was_published_is_neither_recorded_nor_replaced(tmp_path, file):
    published = RemoteFile(url=file.url, path=file.path, size=3, sha256='ab')
    FirstUse(tmp_path).record(published, 'sha256')
    assert not (tmp_path / 'checksums.json').exists()
    FirstUse(tmp_path).record(file, 'md5')
    assert FirstUse(tmp_path).expected(published) == published


@pytest.mark.parametrize('content', ['x', '[]', '{"a.jsonl": 5}', '{"a.jsonl": {"size": 1}}'])
def test_a_damaged_record_is_named(tmp_path, file, content):
    (tmp_path / 'checksums.json').write_text(content)
    with pytest.raises(ValueError, match='checksums.json is damaged'):
        FirstUse(tmp_path).expected(file)
