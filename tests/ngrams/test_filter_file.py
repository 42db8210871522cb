import random
import sys

import numpy as np
import pytest

from ngrams.bloom_filter import BloomFilter
from ngrams.filter_file import is_filter_file, load, save

ORIGIN = {'files': [{'path': '/caf\udce9/ü.txt'}], 'vocabulary': '0a', 'length': 8}


def some_filter(seed=0):
    known = BloomFilter(5000)
    known.add(np.random.default_rng(seed).integers(0, 100, [4000, 8]).astype(np.uint16))
    return known


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'a.filter'
    save(path, some_filter(), ORIGIN)
    return path


@pytest.mark.parametrize('in_memory', [True, False])
def test_what_was_saved_is_loaded(path, in_memory):
    known, origin = load(path, in_memory)
    assert origin == ORIGIN
    assert np.array_equal(known.words, some_filter().words)
    assert (known.capacity, known.added) == (5000, 4000)
    assert is_filter_file(path)


def test_a_loaded_filter_takes_more(path):
    known, _ = load(path)
    known.add(np.zeros([1, 8], np.uint16))
    assert known.contains(np.zeros([1, 8], np.uint16)).all()
    assert np.array_equal(load(path)[0].words, some_filter().words)


def test_it_is_a_line_of_json_and_little_endian_words(path):
    line, words = path.read_bytes().split(b'\n', 1)
    assert line.startswith(b'{"format": "gpt-2 8-gram filter 1", "capacity": 5000, "added": 4000,')
    assert line.isascii()
    assert np.array_equal(np.frombuffer(words, '<u8'), some_filter().words)


def test_every_damaged_byte_is_noticed(path):
    whole, chance = path.read_bytes(), random.Random(0)
    line = whole.index(b'\n') + 1
    for place in [*range(line), *(chance.randrange(line, len(whole)) for _ in range(50))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match='a.filter is (damaged|no filter)'):
            load(path)


@pytest.mark.parametrize('size', [0, 10, 40, 300, 100_000, -1])
def test_a_truncated_file_is_refused(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match='a.filter is (damaged|no filter)'):
        load(path)


def test_a_file_with_more_bytes_is_refused(path):
    path.write_bytes(path.read_bytes() + b'\0')
    with pytest.raises(ValueError, match='is damaged: it has 524,469 bytes, not 524,468'):
        load(path)


def test_something_else_is_no_filter(tmp_path):
    (tmp_path / 'a.txt').write_text('{"format": "gpt-3"}')
    assert not is_filter_file(tmp_path / 'a.txt')
    assert not is_filter_file(tmp_path) and not is_filter_file(tmp_path / 'b.txt')


@pytest.mark.skipif(sys.platform == 'win32', reason='sets a limit of POSIX')
def test_a_full_disk_leaves_the_old_file(path, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match='File too large.*a.filter'):
            save(path, some_filter(1), ORIGIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert np.array_equal(load(path)[0].words, some_filter().words)
    assert list(tmp_path.iterdir()) == [path]
