"""Unpack chosen members of an archive that nobody vouches for, each whole or not at all.

What is wanted is named beforehand, and so is where it goes: no name in an archive is ever used as
a path. How much is written is limited by the caller, whatever the archive says of its sizes.
"""

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import os
import struct
import tarfile
import zipfile
import zlib

from downloads.fetch import DISK_BLOCK, DownloadError, exclusive, length, progress, release
from support.files import FULL, put_in_place

BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,  # zipfile, of a member that is encrypted or compressed in a way it does not know
)


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of an archive: where it goes, and what is known of it beforehand."""

    name: str  # in the archive
    path: str  # where it goes
    size: int | None = None  # bytes, published
    max_size: int | None = None  # bytes, where the size is not known
    sha256: str | None = None  # hexadecimal
    md5: str | None = None  # hexadecimal

    @property
    def limit(self):
        return self.max_size if self.size is None else self.size


def unpack(archive, members, record):
    """Write the members of a .zip, .tar.gz or .tgz file to their paths, in place of what is there.

    archive: path. members: list of Member. record: called as record(member, size, sha256) when a
    member is whole, before it has its final name.
    Raises DownloadError, in whose message the archive is named, if it is damaged, lacks a member,
    has a link or a device in place of one, or has more bytes than the member's limit.
    """
    wanted = {member.name: member for member in members}
    try:
        with opened(archive) as found:
            for name, source in found:
                member = wanted.pop(name.removeprefix('./'), None)
                if member is not None:
                    write(archive, member, source, record)
                if not wanted:
                    return
    except DownloadError:
        raise
    except (*BROKEN, OSError) as error:
        # EINVAL is about an offset that no file has, which a damaged table has sent zipfile to.
        if not isinstance(error, BROKEN) and error.errno != errno.EINVAL:
            raise
        raise DownloadError(
            f'{archive} is damaged: {str(error) or type(error).__name__}'
        ) from error
    raise DownloadError(f'{archive} has no member {", ".join(wanted)}')


@contextlib.contextmanager
def opened(archive):
    """Yield an iterator of (name, function that opens it; None for what is no plain file)."""
    with open(archive, 'rb') as file, progress(f'unpacking {archive}', length(file)) as bar:
        if archive.endswith('.zip'):
            with zipfile.ZipFile(Watched(file, bar)) as zipped:
                yield zip_members(zipped)
        else:
            # tarfile's own 'r|gz' ends in an AttributeError for some damage before Python 3.12.
            with (
                gzip.GzipFile(fileobj=Watched(file, bar)) as unzipped,
                tarfile.open(fileobj=unzipped, mode='r|') as tar,
            ):
                yield tar_members(tar)


def zip_members(zipped):
    for info in zipped.infolist():
        kind = info.external_attr >> 16 & 0o170000  # of a file system of Unix; 0 elsewhere
        plain = not info.is_dir() and kind in (0, 0o100000)
        yield info.filename, (lambda info=info: zipped.open(info)) if plain else None


def tar_members(tar):
    for info in tar:
        plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        yield info.name, (lambda info=info: tar.extractfile(info)) if plain else None


class Watched:
    """A file opened for reading, which moves a progress bar."""

    def __init__(self, file, bar):
        self.file, self.bar = file, bar

    def read(self, size=-1):
        data = self.file.read(size)
        self.bar.update(len(data))
        return data

    def __getattr__(self, name):
        return getattr(self.file, name)


def write(archive, member, source, record):
    """Copy a member to PATH.part, check it there, record it, and rename it to its path."""
    if source is None:
        raise DownloadError(f'{archive}: {member.name} is not a plain file')
    os.makedirs(os.path.dirname(member.path) or '.', exist_ok=True)
    with exclusive(member.path + '.part') as part:
        try:
            part.truncate(0)
            with source() as stream:
                size, digests = copy(stream, part, member, archive)
            check(archive, member, size, digests)
            os.fsync(part.fileno())
        except BaseException as error:
            part.truncate(0)  # then `exclusive` removes it
            if getattr(error, 'errno', None) in FULL:
                raise DownloadError(
                    f'the disk is full, and {member.path} not unpacked; {archive} is kept: '
                    'free some space and run again'
                ) from error
            raise
        record(member, size, digests['sha256'])
        release(part)
        put_in_place(part.name, member.path)


def copy(stream, part, member, archive):
    """Copy at most the member's limit; returns (bytes, {algorithm: hexadecimal digest})."""
    states = {name: hashlib.new(name, usedforsecurity=False) for name in ('sha256', 'md5')}
    size = 0
    while block := stream.read(DISK_BLOCK):
        size += len(block)
        if size > member.limit:
            raise DownloadError(
                f'{archive}: {member.name} has more than the {member.limit:,} bytes expected'
            )
        for state in states.values():
            state.update(block)
        while block:  # an unbuffered write may take only some of it
            block = block[part.write(block) :]
    return size, {name: state.hexdigest() for name, state in states.items()}


def check(archive, member, size, digests):
    if member.size not in (None, size):
        reason = f'has {size:,} bytes instead of {member.size:,}'
        raise DownloadError(f'{archive}: {member.name} {reason}')
    for algorithm, actual in digests.items():
        expected = getattr(member, algorithm)
        if expected not in (None, actual):
            raise DownloadError(
                f'{archive}: {member.name} has {algorithm} {actual} instead of {expected}'
            )
