"""The rows of a task that have been scored so far, in a file that outlives the process.

No TensorFlow.
"""

import contextlib
import json
import math


class Progress:
    """The rows of a task that have been scored so far, in a file; use it in a `with` block.

    path: a JSONL file: a line that says what decides the rows (origin), then a line with some rows
      and the seconds they took. A last line that was cut off by a crash is dropped.
    width: the numbers in a row.  most: the rows there are when all is scored.
    rows: list of lists of float.  seconds: how long they took.
    Raises ValueError if the file was begun otherwise, or holds anything else.
    """

    def __init__(self, path, origin, width, most):
        self.path, self.rows, self.seconds = path, [], 0.0
        self.file = open(path, 'a+b')
        try:
            if not self._read(origin):
                self._write(origin)
            if len(self.rows) > most or not all(is_row(row, width) for row in self.rows):
                raise self._damaged()
        except BaseException:
            self.__exit__()
            raise

    def _read(self, origin):
        """Take what is there, and cut off what is no whole line; how many bytes stay."""
        complete = 0
        self.file.seek(0)
        for line in self.file:
            if not line.endswith(b'\n'):
                break
            try:
                content = dict(json.loads(line))
                if complete:
                    self.rows += content['rows']
                    self.seconds += content['seconds']
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise self._damaged() from error
            if not complete:
                check_origin(self.path, content, origin)
            complete += len(line)
        self.file.truncate(complete)
        return complete

    def _damaged(self):
        return ValueError(f'{self.path} is damaged: begin anew with --restart')

    def _write(self, content):
        try:
            self.file.write(json.dumps(content).encode('utf-8') + b'\n')
            self.file.flush()
        except OSError as error:
            raise ValueError(
                f'{self.path} cannot be written ({error.strerror}); what it holds is kept for the '
                'next run'
            ) from error

    def add(self, rows, seconds):
        """Keep some more rows, and see to it that they outlive this process."""
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
