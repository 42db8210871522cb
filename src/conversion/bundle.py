"""TensorFlow's checkpoints, read and written a block of rows at a time.

tf.train.Saver wants all tensors in memory, 6 GB of the 1558M. A checkpoint is two files: the
numbers of all tensors one after the other, and an index of them. The index is a table of LevelDB:
blocks of entries in the order of their keys, and a footer that tells where they are
(tensorflow/core/util/tensor_bundle, tensorflow/core/lib/io/table_format.txt). What is written is
what TensorFlow itself writes, byte for byte. No TensorFlow.
"""

import itertools
import math
import os
import struct

import google_crc32c
import numpy as np

from conversion.model import in_file
from support.files import open_named

FLOAT32 = 1  # DT_FLOAT of TensorFlow's types.proto
MAGIC = bytes.fromhex('57fb808b247547db')
FOOTER = 48  # bytes
TRAILER = 5  # bytes after a block
RESTART = 16  # keys, of which the first is whole


def write_bundle(prefix, tensors):
    """Write the checkpoint prefix.index and prefix.data-00000-of-00001.

    tensors: {name: (shape in the checkpoint, conversion.model.Tensor)}, float32.
    Raises OSError when the disk does not take it.
    """
    entries, offset = {'': header()}, 0
    with open_named(f'{prefix}.data-00000-of-00001', 'wb') as file:
        for name, (shape, tensor) in sorted(tensors.items()):
            checksum = google_crc32c.Checksum()
            for block in tensor.blocks():
                data = np.ascontiguousarray(block, '<f4').tobytes()
                checksum.update(data)
                file.write(data)
            size = 4 * math.prod(shape)
            crc = int.from_bytes(checksum.digest(), 'big')
            entries[name] = entry(shape, offset, size, masked(crc))
            offset += size
    with open_named(f'{prefix}.index', 'wb') as file:
        file.write(table(entries))


def header():
    """BundleHeaderProto: one file of numbers, little-endian, version 1."""
    return field(1, 1) + field(3, field(1, 1))


def entry(shape, offset, size, checksum):
    """BundleEntryProto of a float32 tensor in the first file."""
    dimensions = b''.join(field(2, field(1, n)) for n in shape)
    place = (field(4, offset) if offset else b'') + field(5, size)
    return field(1, FLOAT32) + field(2, dimensions) + place + fixed32(6, checksum)


def field(number, value):
    """A field of a protocol buffer: a whole number, or bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fixed32(number, value):
    return varint(number << 3 | 5) + struct.pack('<I', value)


def varint(n):
    """A whole number in groups of 7 bits, the lowest first."""
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def table(entries):
    """A LevelDB table with one block.  entries: {key: value}, bytes by str."""
    keys = sorted(key.encode() for key in entries)
    content, handles = b'', []
    for part in (block([(key, entries[key.decode()]) for key in keys]), block([])):
        handles.append(varint(len(content)) + varint(len(part)))
        content += part + trailer(part)
    index = block([(successor(keys[-1]), handles[0])])
    footer = handles[1] + varint(len(content)) + varint(len(index))
    return content + index + trailer(index) + footer.ljust(FOOTER - len(MAGIC), b'\0') + MAGIC


def successor(key):
    """A short key that is not before `key`: what the index says of a block's last key."""
    return bytes([key[0] + 1])  # names are ASCII


def block(pairs):
    """A block of sorted (key, value) pairs; a key is written without what it shares with the last.

    Every so many keys one is written whole, and the end of the block tells where.
    """
    content, restarts, last = b'', [0], b''
    for number, (key, value) in enumerate(pairs):
        if number and number % RESTART == 0:
            restarts.append(len(content))
            last = b''
        shared = len(os.path.commonprefix([last, key]))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        last = key
    return content + struct.pack(f'<{len(restarts) + 1}I', *restarts, len(restarts))


def trailer(block):
    """What follows a block: that it is not compressed, and its checksum."""
    kind = b'\0'
    return kind + struct.pack('<I', masked(google_crc32c.value(block + kind)))


def masked(crc):
    """A CRC-32C as TensorFlow stores it: a checksum of what holds checksums would be weak."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def read_bundle(prefix):
    """The float32 tensors of a checkpoint, {name: conversion.model.Tensor}, checksums verified.

    Whole and single numbers, which training counts with, are left out. Raises ValueError if the
    checkpoint is damaged.
    """
    path = f'{prefix}.index'
    with open(path, 'rb') as file:
        index = file.read()
    try:
        entries = {key.decode(): fields_of(value) for key, value in entries_of(index)}
        n_files = entries.pop('')[1][0]
        found = {}
        for name, fields in entries.items():
            # Field 7 is of slices of larger tensors.
            if fields[1][0] == FLOAT32 and 7 not in fields and shape_of(fields):
                shard = fields.get(3, [0])[0]
                found[name] = stored(f'{prefix}.data-{shard:05d}-of-{n_files:05d}', fields)
    except (LookupError, ValueError, struct.error) as error:
        raise ValueError(f'{path} is damaged or not the index of a checkpoint ({error})') from error
    for name, (tensor, checksum) in found.items():
        if crc_of(tensor) != checksum:
            raise ValueError(f'{prefix} is damaged: the checksum of {name} does not match')
    return {name: tensor for name, (tensor, _) in found.items()}


def stored(path, fields):
    """A Tensor in a file, and its masked checksum.  fields: of its BundleEntryProto."""
    shape = shape_of(fields)
    offset, size = fields.get(4, [0])[0], fields[5][0]
    if size != 4 * math.prod(shape) or os.path.getsize(path) < offset + size:
        raise ValueError(f'{path} is truncated')
    return in_file(path, offset, shape, np.dtype('<f4')), fields[6][0]


def shape_of(fields):
    """The shape in a BundleEntryProto, a tuple."""
    dimensions = fields_of(fields.get(2, [b''])[0]).get(2, [])
    return tuple(fields_of(n).get(1, [0])[0] for n in dimensions)


def crc_of(tensor):
    """The masked checksum of a tensor."""
    checksum = google_crc32c.Checksum()
    for block in tensor.blocks():
        checksum.update(block.tobytes())
    return masked(int.from_bytes(checksum.digest(), 'big'))


def entries_of(index):
    """Yield the (key, value) pairs of a LevelDB table."""
    if not index.endswith(MAGIC):
        raise ValueError('its end is missing')
    numbers = iter_varints(index[-FOOTER:])
    meta, *of_index = itertools.islice(zip(numbers, numbers, strict=False), 2)
    list(pairs_of(index, *meta))  # nothing, but it may be damaged
    for _, handle in pairs_of(index, *of_index[0]):
        numbers = iter_varints(handle)
        yield from pairs_of(index, next(numbers), next(numbers))


def pairs_of(index, offset, size):
    """Yield the (key, value) pairs of a block, whose checksum is verified."""
    content, end = index[offset : offset + size], index[offset + size : offset + size + TRAILER]
    if end != trailer(content):
        raise ValueError('a block is compressed, or its checksum does not match')
    n_restarts = struct.unpack('<I', content[-4:])[0]
    place, limit, key = 0, size - 4 * (n_restarts + 1), b''
    while place < limit:
        shared, place = varint_at(content, place)
        own, place = varint_at(content, place)
        length, place = varint_at(content, place)
        key = key[:shared] + content[place : place + own]
        yield key, content[place + own : place + own + length]
        place += own + length


def varint_at(data, place):
    """A whole number in groups of 7 bits, and the place after it."""
    n = shift = 0
    while True:
        byte = data[place]
        n |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return n, place


def iter_varints(data):
    place = 0
    while True:
        n, place = varint_at(data, place)
        yield n


def fields_of(message):
    """The fields of a protocol buffer: {number: list of int or bytes}."""
    fields, place = {}, 0
    while place < len(message):
        tag, place = varint_at(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = varint_at(message, place)
        elif kind == 2:
            size, place = varint_at(message, place)
            value, place = message[place : place + size], place + size
        elif kind == 5:
            value, place = struct.unpack_from('<I', message, place)[0], place + 4
        else:
            raise ValueError(f'a field of kind {kind}')
        fields.setdefault(tag >> 3, []).append(value)
    return fields
