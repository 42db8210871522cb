"""Files that appear whole or not at all. No TensorFlow."""

import contextlib
import os


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
