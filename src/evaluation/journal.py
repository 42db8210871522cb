"""A file of work that is done so far, a line for each piece, which outlives the process.

No TensorFlow.
"""

import abc
import contextlib
import json
import os

from support.files import sync, sync_folder

# What reading a file of something else can raise.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Journal(abc.ABC):
    """A JSONL file that is continued; use it in a `with` block.

    path: of the file. Its first line says what decides the others (origin). What a crash or a power
      failure left of the last line is dropped.
    Raises ValueError if the file was begun otherwise, or holds anything else.
    """

    def __init__(self, path, origin):
        self.path, self.origin = path, origin
        self.file = open(path, 'a+b')
        try:
            if not self._read():
                self.write(origin)
                sync_folder(os.path.dirname(path) or '.')
        except BaseException:
            self.__exit__()
            raise

    def check(self, theirs):
        """Raise ValueError if the origin of the file is not that of what is to be added."""
        check_origin(self.path, theirs, self.origin)

    @abc.abstractmethod
    def take(self, content):
        """Take the content of a line that is there; raises one of DAMAGE for what is none."""

    def _read(self):
        """Take what is there, and cut off what is no whole line; how many bytes stay."""
        complete = 0
        self.file.seek(0)
        for line in self.file:
            # A power failure leaves zeros, but not in the first line, which was on the disk before.
            if not line.endswith(b'\n') or (complete and b'\0' in line):
                break
            try:
                content = dict(json.loads(line))
                if complete:
                    self.take(content)
            except DAMAGE as error:
                raise ValueError(f'{self.path} is damaged: begin anew with --restart') from error
            if not complete:
                self.check(content)
            complete += len(line)
        self.file.truncate(complete)
        return complete

    def write(self, content, durable=True):
        """Add a line, which outlives this process; if durable a power failure, too."""
        line = json.dumps(content, ensure_ascii=False, allow_nan=False) + '\n'
        try:
            # A model's folder may have a name that is not UTF-8: then JSON has an escape for it.
            self.file.write(line.encode('utf-8', errors='backslashreplace'))
            self.file.flush()
            if durable:
                sync(self.file)
        except OSError as error:
            raise ValueError(
                f'{self.path} cannot be written ({error.strerror}); what it holds is kept for the '
                'next run'
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):  # it would try to write again what could not be written
            self.file.close()


def check_origin(path, theirs, ours):
    """Raise ValueError if a file was made otherwise than it is to be continued."""
    for name, value in ours.items():
        if theirs.get(name) != value:
            remedy = 'choose another --results_dir, or forget it with --restart'
            if name == 'sources':
                remedy = f'another version of this code made it: {remedy}'
            else:
                remedy = f'repeat its settings to go on, {remedy}'
            raise ValueError(
                f'{path} was made with {name}={theirs.get(name)!r}, not {value!r}: {remedy}'
            )
