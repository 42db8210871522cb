"""The rows of a task that have been scored so far, in a file that outlives the process.

No TensorFlow.
"""

import math

from evaluation.journal import Journal


class Progress(Journal):
    """The rows of a task that have been scored so far: a Journal with some rows in each line.

    Each line has the seconds that its rows took, too.
    width: the numbers in a row.  most: the rows there are when all is scored.
    rows: list of lists of float.  seconds: how long they took.
    """

    def __init__(self, path, origin, width, most):
        self.width, self.most = width, most
        self.rows, self.seconds = [], 0.0
        super().__init__(path, origin)

    def take(self, content):
        rows, seconds = content['rows'], content['seconds']
        good = math.isfinite(seconds) and all(is_row(row, self.width) for row in rows)
        if not good or len(self.rows) + len(rows) > self.most:
            raise ValueError('these are no rows of the task')
        self.rows += rows
        self.seconds += seconds

    def add(self, rows, seconds):
        """Keep some more rows, and see to it that they outlive this process and a power failure."""
        self.write({'rows': rows, 'seconds': seconds})
        self.rows += rows
        self.seconds += seconds


def is_row(row, width):
    """Whether something that was JSON is a list of so many numbers."""
    return (
        isinstance(row, list)
        and len(row) == width
        and all(isinstance(n, int | float) and math.isfinite(n) for n in row)
    )
