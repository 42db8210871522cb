"""The rows of a task that have been scored so far, in a file that outlives the process.

No TensorFlow.
"""

import contextlib
import json
import math
import os

from support.files import sync, sync_folder

# What reading a file of something else can raise.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Progress:
    """The rows of a task that have been scored so far, in a file; use it in a `with` block.

    path: a JSONL file: a line that says what decides the rows (origin), then a line with some rows
      and the seconds they took. What a crash or a power failure left of the last line is dropped.
    width: the numbers in a row.  most: the rows there are when all is scored.
    rows: list of lists of float.  seconds: how long they took.
    Raises ValueError if the file was begun otherwise, or holds anything else.
    """

    def __init__(self, path, origin, width, most):
        self.path, self.width, self.most = path, width, most
        self.rows, self.seconds = [], 0.0
        self.file = open(path, 'a+b')
        try:
            if not self._read(origin):
                self._write(origin)
                sync_folder(os.path.dirname(path) or '.')
        except BaseException:
            self.__exit__()
            raise

    def _read(self, origin):
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
                    self._take(content)
            except DAMAGE as error:
                raise ValueError(f'{self.path} is damaged: begin anew with --restart') from error
            if not complete:
                check_origin(self.path, content, origin)
            complete += len(line)
        self.file.truncate(complete)
        return complete

    def _take(self, content):
        """Take the rows of a line; raises one of DAMAGE if they are none."""
        rows, seconds = content['rows'], content['seconds']
        good = math.isfinite(seconds) and all(is_row(row, self.width) for row in rows)
        if not good or len(self.rows) + len(rows) > self.most:
            raise ValueError('these are no rows of the task')
        self.rows += rows
        self.seconds += seconds

    def _write(self, content):
        try:
            self.file.write(json.dumps(content, allow_nan=False).encode('utf-8') + b'\n')
            sync(self.file)
        except OSError as error:
            raise ValueError(
                f'{self.path} cannot be written ({error.strerror}); what it holds is kept for the '
                'next run'
            ) from error

    def add(self, rows, seconds):
        """Keep some more rows, and see to it that they outlive this process and a power failure."""
        self._write({'rows': rows, 'seconds': seconds})
        self.rows += rows
        self.seconds += seconds

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):  # it would try to write again what could not be written
            self.file.close()


def is_row(row, width):
    """Whether something that was JSON is a list of so many numbers."""
    return (
        isinstance(row, list)
        and len(row) == width
        and all(isinstance(n, int | float) and math.isfinite(n) for n in row)
    )


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
