"""A Bloom filter as a file: a line of JSON that describes it, then its words."""

import json
import os
import zlib

import numpy as np

from ngrams.bloom_filter import MANY_WORDS, BloomFilter, check_memory, words_for
from support.checks import check_whole
from support.files import replacing

START = b'{"format": "gpt-2 8-gram filter 1", '
LONGEST_LINE = 2**30  # bytes; it lists all files of the training text


def is_filter_file(path):
    """Whether `save` has written a file, by its first bytes."""
    if not os.path.isfile(path):
        return False  # a pipe would lose what is read of it
    with open(path, 'rb') as file:
        return file.read(len(START)) == START


def save(path, bloom_filter, origin):
    """Write a filter; the file appears whole or not at all.

    origin: dict of what is to be known of it, which `load` returns.
    """
    with replacing(path, binary=True) as file:
        write(file, bloom_filter, origin)


def write(file, bloom_filter, origin):
    """Write a filter to an open binary file, as `save` does."""
    description = json.loads(START[:-2] + b'}')
    description |= {'capacity': bloom_filter.capacity, 'added': bloom_filter.added}
    description['origin'] = origin
    description['crc32'] = checksum(description, bloom_filter.words)
    file.write(as_line(description))
    for part in parts_of(bloom_filter.words):
        file.write(part.data)


def load(path, in_memory=True):
    """Read what `save` has written: the filter and its origin.

    in_memory: whether its words are read; else they stay in the file, to be read once and not
      changed.
    Raises ValueError for a file that is damaged, or something else.
    """
    if not is_filter_file(path):
        raise ValueError(f'{path} is no filter that overlap.py has saved')
    with open(path, 'rb') as file:
        line = file.readline(LONGEST_LINE)
        start, size = file.tell(), os.fstat(file.fileno()).st_size
    try:
        description = json.loads(line)
        capacity, added, origin = (description[key] for key in ('capacity', 'added', 'origin'))
        check_whole('capacity', capacity, least=1, below=2**40)
        check_whole('added', added, least=0)
        n_words = words_for(capacity)
        if size != start + 8 * n_words:
            raise ValueError(f'it has {size:,} bytes, not {start + 8 * n_words:,}')
        if in_memory:
            check_memory(8 * n_words)
        words = np.memmap(path, '<u8', 'r', offset=start, shape=(n_words,))
        words = np.array(words) if in_memory else words
        same_line = as_line(description) == line
        crc32 = description.pop('crc32')
        if not same_line or checksum(description, words) != crc32:
            raise ValueError('its checksum is another')
    except KeyError as error:
        raise ValueError(f'{path} is damaged: it has no {error}') from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} is damaged: {error}') from error
    return BloomFilter(capacity, words, added), origin


def as_line(description):
    return json.dumps(description, allow_nan=False).encode('ascii') + b'\n'


def checksum(description, words):
    """The CRC-32 of a filter and of what is said of it."""
    value = zlib.crc32(as_line(description))
    for part in parts_of(words):
        value = zlib.crc32(part, value)
    return value


def parts_of(words):
    for start in range(0, len(words), MANY_WORDS):
        yield words[start : start + MANY_WORDS]
