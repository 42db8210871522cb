"""Parts made in the test's process, one worker for all, as if they had gone to another machine."""

import contextlib
import json
import os

from cluster.flags import Spread
from cluster.parts import Job, Part, PartsFolder, make_part, worker_of


def make_missing(folder, most=None):
    """Make the missing parts of a PartsFolder, last ones first; most: only so many."""
    missing = folder.missing()
    if not missing:
        return
    job = Job(*json.loads(json.dumps(folder.job)))
    with elsewhere(), contextlib.closing(worker_of(job)) as worker:
        for part in missing[::-1][:most]:
            part = Part(*json.loads(json.dumps(part)))
            items = json.loads(json.dumps(folder.items_of(part)))
            make_part(folder.path, job, part, items, worker)


@contextlib.contextmanager
def elsewhere():
    """Another working folder, as that of a worker which somebody else has started."""
    before = os.getcwd()
    os.chdir(os.sep)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def made(path, job, items, part_size=3, done=0):
    """A PartsFolder all of whose parts are made."""
    with PartsFolder(str(path), job, len(items), part_size, items, done) as folder:
        make_missing(folder)
        yield folder


class InProcess:
    """Has scripts that ask for workers make parts in the test's process.

    stops_after: so many parts are made before the driver is stopped, as by Ctrl-C; None: all are.
    missing: how many parts were missing each time.
    """

    def __init__(self, monkeypatch):
        self.stops_after, self.missing = None, []
        monkeypatch.setattr(Spread, 'carry_out', self.carry_out)

    def carry_out(self, folder, desc=None, unit='it', taken=None):
        self.missing.append(len(folder.missing()))
        make_missing(folder, self.stops_after)
        if folder.missing():
            raise KeyboardInterrupt
        return True
