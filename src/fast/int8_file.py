"""The int8 weights of a checkpoint in a file beside it, so that they are made only once.

PATH.int8 for the checkpoint PATH, and PATH.int8-6+6 for the same by shards of six heads each: a zip
archive of NumPy arrays, not compressed, a quarter of the checkpoint's size; reading it compares
checksums. It names the checkpoint it was made of by the hash of PATH.index, where TensorFlow keeps
a checksum of each tensor: other weights have another hash. The file may be deleted at any time, or
another put in its place; but not be written to.

Arrays begin at multiples of ALIGNMENT bytes, so that TensorFlow can use them where they are, in the
file that the system maps into memory. What is written to the file is then in the weights, too.
"""

import contextlib
import hashlib
import os
import struct
import typing
import zipfile
import zlib

import numpy as np

from support.files import lock

SUFFIX = '.int8'
READ_AT_ONCE = 2**20  # bytes
FORMAT = 4  # to be raised when weights are quantized in another way
SOURCE = 'source'  # the member that says what the others were made of
VERSION = 1, 0  # of NumPy's format
ALIGNMENT = 64  # bytes; tensors that do not begin at a multiple of it are copied
# A member's header is 30 bytes, the last four of which are the lengths of its name and of more
# fields after it (PKWARE's APPNOTE 4.3.7); a field is a number, the length of its content, and it.
HEADER, LENGTHS = 30, '<26xHH'
PADDING_ID, FIELD = 0xD935, '<HH'  # the number that Android's zipalign has for the same
# What damage at different places ends in; RuntimeError is for a "password" or another version.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def source(path):
    """What the file of a checkpoint says it was made of."""
    with open(path + '.index', 'rb') as file:
        return f'{FORMAT} {hashlib.sha256(file.read()).hexdigest()}'


class Place(typing.NamedTuple):
    """Where an array is in the file."""

    offset: int  # bytes
    shape: tuple
    dtype: np.dtype


class Cache:
    """The file of a checkpoint.

    path: of the checkpoint.  layout: what tells its arrays from those of another file.
    file: its name.
    """

    def __init__(self, path, layout=''):
        self.path, self.file = path, path + SUFFIX + layout

    @contextlib.contextmanager
    def reading(self):
        """Open the file: yields a function from a matrix's name to its arrays' Places.

        It raises one of UNREADABLE, as the function does, if there is no file, or if it is damaged
        or was made of other weights; and at the end if the name has come to be another file's,
        since what is used of it is opened by its name.
        """
        if not os.path.isfile(self.file):  # a pipe or a device might never end
            raise FileNotFoundError(self.file)
        with open(self.file, 'rb') as file, zipfile.ZipFile(file) as archive:
            if archive.read(SOURCE).decode() != source(self.path):
                raise ValueError('made of other weights')

            def places(name):
                count = sum(member.startswith(name + '/') for member in archive.namelist())
                return [place(file, archive, f'{name}/{i}.npy') for i in range(count)]

            yield places
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(self.file)):
                raise ValueError('replaced meanwhile')

    def array(self, place):
        """The array at a place, in memory."""
        count = int(np.prod(place.shape))
        values = np.fromfile(self.file, place.dtype, count, offset=place.offset)
        return values.reshape(place.shape)


def place(file, archive, name):
    """Where a member's array is, after its checksum has been compared."""
    with archive.open(name) as member:
        if np.lib.format.read_magic(member) != VERSION:
            raise ValueError(f'{name} is not as it was written')
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(member)
        start = member.tell()
        while member.read(READ_AT_ONCE):
            pass  # at whose end the checksum is compared
    info = archive.getinfo(name)
    file.seek(info.header_offset)
    lengths = struct.unpack(LENGTHS, file.read(HEADER))
    stored = info.compress_type == zipfile.ZIP_STORED and not by_column
    if not stored or info.file_size != start + dtype.itemsize * np.prod(shape, dtype=int):
        raise ValueError(f'{name} is not as it was written')
    return Place(info.header_offset + HEADER + sum(lengths) + start, shape, dtype)


class Writer:
    """Makes the file of a Cache, which appears when it is finished.

    In a folder that may only be read, on a full disk, or while another process writes it, there
    will be none, and nobody is told: it only saves time.
    """

    def __init__(self, cache):
        self.cache, self.archive = cache, None
        self.new = cache.file + '.new'
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0)
            self.file = open(os.open(self.new, flags, 0o666), 'r+b')
        except OSError:
            return
        try:
            lock(self.file)
            if not os.path.samestat(os.fstat(self.file.fileno()), os.stat(self.new)):
                raise FileExistsError  # another process has just let its file appear
            self.file.truncate(0)  # what a process that was killed may have left
            self.archive = zipfile.ZipFile(self.file, 'w')
        except OSError:
            self.file.close()

    def add(self, name, arrays):
        """Append what is stored of a matrix."""
        if not self.archive:
            return
        try:
            for i, values in enumerate(arrays):
                info = zipfile.ZipInfo(f'{name}/{i}.npy')
                start = self.file.tell() + HEADER + len(info.filename) + struct.calcsize(FIELD)
                padding = bytes(-start % ALIGNMENT)
                info.extra = struct.pack(FIELD, PADDING_ID, len(padding)) + padding
                with self.archive.open(info, 'w') as member:
                    np.lib.format.write_array(member, values, version=VERSION)
        except OSError:
            self.abandon()

    def finish(self):
        """Let the file appear."""
        if not self.archive:
            return
        try:
            self.archive.writestr(SOURCE, source(self.cache.path))
            self.archive.close()
            self.file.flush()
            if os.name == 'nt':  # where an open file cannot be renamed; elsewhere it stays locked
                self.file.close()
            os.replace(self.new, self.cache.file)
            self.file.close()
        except OSError:
            self.abandon()

    def abandon(self):
        """Leave nothing."""
        if not self.archive:
            return
        for step in (self.archive.close, self.file.close, lambda: os.remove(self.new)):
            with contextlib.suppress(OSError):
                step()
        self.archive = None
