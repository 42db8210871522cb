"""One writer at a time: a lock on an open file that ends with it, or with the process."""

import errno
import os

if os.name == 'nt':
    import msvcrt
else:
    import fcntl

HELD = (BlockingIOError, PermissionError)  # what `lock` raises if another process has it
FAR = 2**31 - 2  # a byte that nobody reads


def lock(file, byte=0):
    """Lock an open file; raises one of HELD.

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
