"""The int8 weights of a checkpoint in a file beside it, so that they are made only once.

PATH.int8 for the checkpoint PATH: a zip archive of NumPy arrays, not compressed, a quarter of the
checkpoint's size; reading it compares checksums. It names the checkpoint it was made of by the hash
of PATH.index, where TensorFlow keeps a checksum of each tensor: other weights have another hash.
The file may be deleted at any time.
"""

import contextlib
import hashlib
import os
import zipfile
import zlib

import numpy as np

from file_lock import lock

SUFFIX = '.int8'
FORMAT = 1  # to be raised when weights are quantized in another way
SOURCE = 'source'  # the member that says what the others were made of
# What damage at different places ends in; RuntimeError is for a "password" or another version.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def source(path):
    """What the file of a checkpoint says it was made of."""
    with open(path + '.index', 'rb') as file:
        return f'{FORMAT} {hashlib.sha256(file.read()).hexdigest()}'


@contextlib.contextmanager
def reading(path):
    """Open the file of a checkpoint: yields a function from a matrix's name to its arrays.

    It raises one of UNREADABLE, as the function does, if there is no file, or if it is damaged or
    was made of other weights.
    """
    with zipfile.ZipFile(path + SUFFIX) as archive:
        if archive.read(SOURCE).decode() != source(path):
            raise ValueError('made of other weights')

        def arrays(name):
            count = sum(member.startswith(name + '/') for member in archive.namelist())
            return [array(archive, f'{name}/{i}.npy') for i in range(count)]

        yield arrays


def array(archive, name):
    with archive.open(name) as member:
        return np.lib.format.read_array(member)  # at whose end checksums are compared


class Writer:
    """Makes the file of a checkpoint, which appears when it is finished.

    In a folder that may only be read, on a full disk, or while another process writes it, there
    will be none, and nobody is told: it only saves time.
    """

    def __init__(self, path):
        self.path, self.archive = path, None
        self.new = path + SUFFIX + '.new'
        try:
            self.file = open(os.open(self.new, os.O_RDWR | os.O_CREAT, 0o666), 'r+b')
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
                with self.archive.open(f'{name}/{i}.npy', 'w') as member:
                    np.lib.format.write_array(member, values)
        except OSError:
            self.abandon()

    def finish(self):
        """Let the file appear."""
        if not self.archive:
            return
        try:
            self.archive.writestr(SOURCE, source(self.path))
            self.archive.close()
            self.file.flush()
            if os.name == 'nt':  # where an open file cannot be renamed; elsewhere it stays locked
                self.file.close()
            os.replace(self.new, self.path + SUFFIX)
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
