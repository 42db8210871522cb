"""How far long work is, on standard error: a bar in a terminal, elsewhere a line now and then."""

import sys
import time

from tqdm import tqdm

SECONDS = 30  # the time between two lines: a day of work is 3,000 lines of a log file


def show_progress(**options):
    """A tqdm bar, or `Lines` where standard error is no terminal; both take the same options."""
    return tqdm(**options) if sys.stderr.isatty() else Lines(**options)


class Lines:
    """Prints how far the work is every SECONDS; work that ends sooner prints nothing.

        step 230/1000 in 01:20, 04:27 left, loss 3.412
        encoding: 12.3M/45.6MB in 00:30, 01:21 left

    total, desc, initial, unit, unit_scale: as tqdm has them.  leave: whether a last line tells
    that the work has ended, if lines were printed before.
    """

    def __init__(
        self, *, total=None, desc=None, initial=0, unit='it', unit_scale=False, leave=True
    ):
        self.total, self.n, self.initial = total, initial, initial
        self.start = f'{desc}: ' if desc else ''
        self.unit, self.unit_scale, self.leave = unit, unit_scale, leave
        self.remark = ''
        self.began = self.printed = time.monotonic()
        self.due = False  # a last line

    def set_postfix_str(self, remark, refresh=False):
        """What the next lines end with."""
        self.remark = f', {remark}'

    def update(self, n=1):
        """Count n more as done."""
        self.n += n
        if time.monotonic() - self.printed >= SECONDS:
            self._print()
            self.due = False
        elif self.printed > self.began:
            self.due = self.leave

    def _print(self):
        self.printed = time.monotonic()
        seconds = self.printed - self.began
        left = ''
        if self.total is not None:
            rest = seconds * (self.total - self.n) / max(self.n - self.initial, 1)
            left = f', {tqdm.format_interval(max(rest, 0))} left'
        done = f'{self.start}{self._amount()} in {tqdm.format_interval(seconds)}'
        print(f'{done}{left}{self.remark}', file=sys.stderr, flush=True)

    def _amount(self):
        numbers = [self.n] if self.total is None else [self.n, self.total]
        if self.unit_scale:
            return '/'.join(map(tqdm.format_sizeof, numbers)) + self.unit
        return f'{self.unit} ' + '/'.join(map(str, numbers))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.due:
            self._print()
