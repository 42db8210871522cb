"""Files and folders that appear whole or not at all, and that have one writer at a time.

What is written gets its name when all of it is on the disk, so that neither a killed process nor
a power failure leaves the name of a file without its bytes, or takes what was there before.
"""

import contextlib
import errno
import glob
import io
import os
import re
import secrets
import shutil
import time

if os.name == 'nt':
    import msvcrt
else:
    import fcntl

UNFINISHED = 'unfinished-'  # begins the names of what is not complete yet
HELD = (BlockingIOError, PermissionError)  # what `lock` raises if another process has the file
FAR = 2**31 - 2  # a byte that nobody reads
FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or what a user may have of it
ABANDONED_SECONDS = 24 * 3600  # where other hosts' locks are not seen, their files change by then
UNSHOWN = re.compile('[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
LOCKLESS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # what some cluster file systems answer


def expand(path):
    """Return a path with `~` and environment variables replaced by what they stand for."""
    return os.path.expanduser(os.path.expandvars(path))


def shown(text):
    """Return text for terminals and files, which some of it would break or command: escaped.

    Escaped are control characters, what turns the direction of writing, and bytes that are not
    UTF-8, which Python has as surrogates: a name, or what a server says, may hold all of them.
    """
    return UNSHOWN.sub(lambda c: ascii(c[0])[1:-1], text)


def check_is_file(path):
    """Raise ValueError for what is there but no file: a pipe or a device may never end."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f'{path} is not a file')


@contextlib.contextmanager
def replacing(path, binary=False):
    """Open a file for writing that takes the place of `path` when it is complete.

    It has a name of its own until then, so two processes can do this at once: the last one's file
    stays. A link stays, and what it leads to is replaced. What is no file (/dev/null, a pipe) is
    written to as it is. Raises IsADirectoryError for a folder (PermissionError on Windows), at
    once. A process that is killed leaves unfinished-NAME-..., which a later one removes.
    """
    mode = 'b' if binary else ''
    if os.path.exists(path) and not os.path.isfile(path):  # root could replace /dev/null
        with open_named(path, 'w' + mode) as file:
            yield file
        return
    path = os.path.realpath(path)
    remove_abandoned(path)
    new = unfinished_name(path)
    try:
        with open_named(new, 'x' + mode) as file:
            lock(file, FAR)
            yield file
            sync(file)
            if os.name == 'nt':  # where an open file cannot be renamed; elsewhere it stays locked
                file.close()
            put_in_place(new, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)
        if getattr(error, 'filename', None) == new:
            error.filename = path  # the name that the user knows
        raise


def unfinished_name(path):
    """A name that nothing has, in the same folder: no other process can guess or take it."""
    return unfinished_prefix(path) + secrets.token_hex(4)


def unfinished_prefix(path):
    folder, name = os.path.split(path)
    return os.path.join(folder, f'{UNFINISHED}{name[:50]}-')  # a name has at most 255 bytes


def remove_abandoned(path):
    """Remove the files of killed processes that were to become `path`: nobody has locked them."""
    pattern = glob.escape(unfinished_prefix(path)) + '[0-9a-f]' * 8
    remove_leftovers(pattern, ABANDONED_SECONDS)


def remove_leftovers(pattern, seconds=0):
    """Remove the unfinished files of killed processes that match a pattern.

    seconds: how long a file has not changed that is removed, where other hosts' locks are not seen.
    """
    for leftover in glob.glob(pattern):
        with contextlib.suppress(OSError):  # it is locked, or another user's, or a folder
            if time.time() - os.lstat(leftover).st_mtime >= seconds:
                with open(leftover, 'r+b') as file:
                    if lock(file, FAR):
                        os.remove(leftover)


class NamedFile(io.FileIO):
    """A file whose errors of writing name it; the system's do not."""

    def write(self, data):
        with naming(self.name):
            return super().write(data)


def open_named(path, mode='w'):
    """Open a file as `open` does, as UTF-8 if as text, for writing with errors that name it."""
    file = NamedFile(os.fspath(path), mode.replace('b', ''))
    file = io.BufferedRandom(file) if '+' in mode else io.BufferedWriter(file)
    return file if 'b' in mode else io.TextIOWrapper(file, encoding='utf-8', newline='\n')


@contextlib.contextmanager
def naming(path):
    """Have the system's errors in the block name a file, those that name none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = path
        raise


def sync(file):
    """Have all that was written to an open file on the disk: a power failure may come."""
    file.flush()
    with naming(file.name):
        os.fsync(file.fileno())


def sync_folder(folder):
    """Have the names in a folder on the disk, on systems where one can ask for that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # so it is on Windows, and where one may write but not read
        return
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(new, path):
    """Give a synced file its name, in place of what has it, so that no power failure undoes it."""
    os.replace(new, path)
    sync_folder(os.path.dirname(path) or '.')


@contextlib.contextmanager
def building(folder, last=None):
    """Make a folder to write files in, which are in `folder` when the block is complete.

    A new folder appears at once, with all its files. Where it is there already they are moved into
    it one by one, or none of them is; nothing is replaced.

    last: the name of the file that tells readers that all are there: it is moved last.
    Raises ValueError for a file that is there already. A process that is killed leaves a folder
    unfinished-NAME-... in `folder`, or beside it where it is not there.
    """
    name = os.path.basename(os.path.abspath(folder))
    unfinished = unfinished_name(os.path.join(place_to_build(folder), name))
    os.mkdir(unfinished)
    try:
        yield unfinished
        sync_files(unfinished)
        if os.path.isdir(folder):
            move_all(unfinished, folder, last)
        else:
            os.rename(unfinished, folder)
            sync_folder(os.path.dirname(os.path.abspath(folder)))
    except OSError as error:
        if os.path.dirname(str(error.filename)) == unfinished:
            error.filename = os.path.join(folder, os.path.basename(error.filename))
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # it is gone where it was renamed


def place_to_build(folder):
    """Return a folder that is there, on the file system where `folder` is or will be."""
    if os.path.isdir(folder):
        return folder
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    return parent


def sync_files(folder):
    """Have the files in a folder, and their names, on the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), 'rb+') as file:
                sync(file)
        sync_folder(place)


def move_all(source, folder, last=None):
    """Move the files of one folder into another, `last` last, or none of them."""
    names = sorted(os.listdir(source), key=lambda name: (name == last, name))
    for name in names:
        if os.path.lexists(os.path.join(folder, name)):
            raise ValueError(f'{os.path.join(folder, name)} is there already')
    moved = []
    try:
        for name in names:
            if name == last:
                sync_folder(folder)  # those before it
            moved.append(os.path.join(folder, name))
            os.replace(os.path.join(source, name), moved[-1])
    except BaseException:
        for path in moved:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        raise
    sync_folder(folder)


def lock(file, byte=0):
    """Lock an open file until it is closed, or the process ends; raises one of HELD.

    Returns whether it is locked: where the file system has no locks, files are written without.
    byte: what is locked on Windows, where others cannot read it meanwhile; elsewhere all is, but
        only for those who ask.
    """
    if os.name == 'nt':
        place = file.tell()
        file.seek(byte)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(place)
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        return False
    return True
