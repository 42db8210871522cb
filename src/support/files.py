"""Files and folders that appear whole or not at all, and that have one writer at a time."""

import contextlib
import errno
import os
import shutil
import tempfile

if os.name == 'nt':
    import msvcrt
else:
    import fcntl

UNFINISHED = 'unfinished-'  # begins the names of folders that `building` writes in
HELD = (BlockingIOError, PermissionError)  # what `lock` raises if another process has the file
FAR = 2**31 - 2  # a byte that nobody reads


def expand(path):
    """Return a path with `~` and environment variables replaced by what they stand for."""
    return os.path.expanduser(os.path.expandvars(path))


@contextlib.contextmanager
def replacing(path, binary=False):
    """Open a file for writing that takes the place of `path` when it is complete.

    A link stays, and what it leads to is replaced. What is no file (/dev/null, a pipe) is written
    to as it is. Raises IsADirectoryError for a folder (PermissionError on Windows), at once.
    """
    how = {'mode': 'wb'} if binary else {'mode': 'w', 'encoding': 'utf-8', 'newline': '\n'}
    if os.path.exists(path) and not os.path.isfile(path):  # root could replace /dev/null
        with open(path, **how) as file:
            yield file
        return
    path = os.path.realpath(path)
    new = path + '.new'
    try:
        with open(new, **how) as file:
            yield file
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(new)
        raise


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
    unfinished = tempfile.mkdtemp(prefix=f'{UNFINISHED}{name}-', dir=place_to_build(folder))
    try:
        yield unfinished
        if os.path.isdir(folder):
            move_all(unfinished, folder, last)
        else:
            os.chmod(unfinished, 0o755)  # mkdtemp makes folders that only their owner can read
            os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # it is gone where it was renamed


def place_to_build(folder):
    """Return a folder that is there, on the file system where `folder` is or will be."""
    if os.path.isdir(folder):
        return folder
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    return parent


def move_all(source, folder, last=None):
    """Move the files of one folder into another, `last` last, or none of them."""
    names = sorted(os.listdir(source), key=lambda name: (name == last, name))
    for name in names:
        if os.path.lexists(os.path.join(folder, name)):
            raise ValueError(f'{os.path.join(folder, name)} is there already')
    moved = []
    try:
        for name in names:
            moved.append(os.path.join(folder, name))
            os.replace(os.path.join(source, name), moved[-1])
    except BaseException:
        for path in moved:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        raise


def lock(file, byte=0):
    """Lock an open file until it is closed, or the process ends; raises one of HELD.

    byte: what is locked on Windows, where others cannot read it meanwhile; elsewhere all is, but
        only for those who ask.
    """
    if os.name == 'nt':
        file.seek(byte)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some cluster file systems have no locks: then a file is written without one.
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
