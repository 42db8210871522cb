"""Many independent parts of one job: the unit of work of any engine. No TensorFlow, no engine.

A job has items, such as samples or documents, and a part is some that follow each other. Making a
part is pure: the job's settings and the part's items alone decide its bytes, so to make it twice is
harmless, and whoever finds its file need not make it. A folder of parts:

    parts/job.json              what is made: worker, settings, how many items, in parts of how many
    parts/000000064-64.part     items 64 to 127; a part appears whole, or not at all
    parts/000000064-64.items    what they are made from, where a job without an engine needs it
    parts/unfinished-...        a part that is being made, or that a killed process has left

Joined in their order, the parts are what one process would have written.
"""

import abc
import collections
import contextlib
import glob
import importlib
import json
import os
from typing import NamedTuple

from support.checks import check_whole
from support.files import FAR, HELD, UNFINISHED, lock, open_named, remove_leftovers, replacing
from support.provenance import source_digest

JOB, LOCK = 'job.json', 'lock'
PART, ITEMS = '.part', '.items'  # endings
SIZES = ('n_items', 'part_size', 'done')


class Job(NamedTuple):
    """What is to be made.

    worker: 'package.module:Class' of the Worker, for any machine with src on its path.
    settings: dict, as JSON has it, of all that decides the result: the model, the fingerprint of
      its weights, the seed, a digest of what its items are made from, ...
    resources: dict, as JSON has it, of what changes no result: where the models are, batch_size.
    """

    worker: str
    settings: dict
    resources: dict


class Part(NamedTuple):
    """Items first, ..., first + count - 1 of a job."""

    first: int
    count: int

    @property
    def end(self):
        return self.first + self.count

    @property
    def name(self):
        """The name of its file, without the ending; in the order of the parts."""
        return f'{self.first:09}-{self.count}'


class Worker(abc.ABC):
    """Makes parts of a job: what a Job's class is to be like.  It is made once in a process.

    job: Job.  Loads what all parts need, such as a model; raises ValueError where this machine
      cannot make the job's parts, because its weights are others, for example.
    """

    def __init__(self, job):
        self.job = job

    @abc.abstractmethod
    def make(self, part, items, file):
        """Write a part to a binary file.

        items: list, what the part's items are made from; None where the job has no such list.
        Raises ValueError or OSError, which ends the job.
        """

    def close(self):  # noqa: B027 (there may be nothing to let go of)
        """Let go of what __init__ has loaded."""


def worker_of(job):
    """The Worker of a job, which loads a model, for example."""
    module, _, name = job.worker.partition(':')
    return getattr(importlib.import_module(module), name)(job)


def make_part(folder, job, part, items, worker):
    """Make a part, unless its file is there.

    folder: path of a PartsFolder.  worker: the Worker of the job.
    """
    path = os.path.join(folder, part.name + PART)
    if not os.path.exists(path):
        with replacing(path, binary=True) as file:
            worker.make(part, items, file)


class PartsFolder:
    """The parts of a job, which one driver at a time continues; use it in a `with` block.

    job: Job.  n_items: how many items are to be made; a folder may go on with more.
    part_size: items of a part, the last of which may have fewer; None takes that of the folder.
    items: sequence of what each item is made from, as JSON has it; None if there is no such list.
    done: so many items are not needed, because their results have been taken already.
    Raises ValueError if another driver is at work on the folder, or it is of another job, or made
    by other code: nothing is changed then.
    """

    def __init__(self, path, job, n_items, part_size=None, items=None, done=0):
        self.path, self.n_items, self.items, self.done = path, n_items, items, done
        self._read()  # it may be somebody else's folder, where nothing is to be changed
        self.lock = self._lock()
        try:
            theirs = self._read()
            self.part_size = part_size or theirs.get('part_size')
            check_whole('part_size', self.part_size, least=1)
            self.job = sourced(job)
            ours = self._description()
            if theirs:
                check_same(path, theirs, ours)
            if theirs != ours:  # in what changes no result
                with replacing(os.path.join(path, JOB)) as file:
                    json.dump(ours, file, indent=1)
            self.sweep()
        except BaseException:
            self.close()
            raise

    def _lock(self):
        os.makedirs(self.path, exist_ok=True)
        file = open_named(os.path.join(self.path, LOCK), 'ab')
        try:
            lock(file, FAR)
        except HELD as error:
            file.close()
            raise ValueError(f'another process is at work on {self.path}') from error
        return file

    def _read(self):
        """What job.json says; {} in a new folder."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return {}
        if JOB in names:
            return read_description(self.path)
        if any(name != LOCK and not name.startswith(UNFINISHED) for name in names):
            raise ValueError(f'{self.path} has no {JOB}: it is no folder of parts')
        return {}

    def _description(self):
        sizes = {name: getattr(self, name) for name in SIZES}
        return json.loads(json.dumps(self.job._asdict() | sizes))

    def parts(self):
        """All parts, in their order."""
        return list(map(self.part_at, range(0, self.n_items, self.part_size)))

    def part_at(self, item):
        """The part that an item belongs to."""
        first = item - item % self.part_size
        return Part(first, min(self.part_size, self.n_items - first))

    def missing(self):
        """The parts that are needed and are not there, in their order."""
        there = set(os.listdir(self.path))
        return [p for p in self.parts() if p.end > self.done and p.name + PART not in there]

    def path_of(self, part):
        return os.path.join(self.path, part.name + PART)

    def items_of(self, part):
        """What a part's items are made from: a list, or None."""
        return None if self.items is None else list(self.items[part.first : part.end])

    def joined(self):
        """Yield the paths of all parts in their order; none may be missing."""
        for part in self.parts():
            yield self.path_of(part)

    def write_items(self):
        """Have what missing parts are made from in the folder, for `make_share`."""
        for part in self.missing() if self.items is not None else []:
            with replacing(os.path.join(self.path, part.name + ITEMS)) as file:
                json.dump(self.items_of(part), file)

    def drop(self, part):
        """Remove a part whose items have been taken."""
        self.done = max(self.done, part.end)
        for ending in (PART, ITEMS):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.path, part.name + ending))

    def remove(self):
        """Remove the folder with all that belongs to it: everything has been taken."""
        names = os.listdir(self.path)
        for name in names:
            if name.endswith((PART, ITEMS)) or name.startswith(UNFINISHED):
                os.remove(os.path.join(self.path, name))
        for name in (JOB, LOCK):
            os.remove(os.path.join(self.path, name))
        with contextlib.suppress(OSError):  # somebody has put a file of their own there
            os.rmdir(self.path)

    def sweep(self):
        """Remove what killed processes have left half made."""
        remove_leftovers(os.path.join(glob.escape(self.path), f'{UNFINISHED}*'))

    def close(self):  # noqa: B027 (there may be nothing to let go of)
        self.lock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.sweep()
        self.close()


class Taking:
    """Has the parts of a folder taken in their order, whatever the order in which they are made.

    take: called with each Part that is needed and is there, when all before it were taken; None
      takes none.
    """

    def __init__(self, folder, take):
        self.take, missing = take, set(folder.missing())
        self.rest = collections.deque(part for part in folder.parts() if part.end > folder.done)
        self.there = set(self.rest) - missing
        self._go_on()

    def add(self, part):
        """Tell that a part was made."""
        self.there.add(part)
        self._go_on()

    def _go_on(self):
        while self.take and self.rest and self.rest[0] in self.there:
            self.take(self.rest.popleft())


def sourced(job):
    """A job whose settings say which code makes it, too."""
    return job._replace(settings=job.settings | {'sources': source_digest()})


def check_sources(job):
    """Raise ValueError if this machine has other code than the one that began a job."""
    if job.settings.get('sources') != (ours := source_digest()):
        raise ValueError(
            f'the job is of sources={job.settings.get("sources")!r} and this code is {ours!r}: '
            'all machines need the same version of src'
        )


def read_description(path):
    """The dict in the job.json of a folder; ValueError if it has none."""
    name = os.path.join(path, JOB)
    try:
        with open(name, encoding='utf-8') as file:
            description = json.load(file)
        dict(description['settings']), [description[n] for n in (*Job._fields, *SIZES)]
    except FileNotFoundError:
        raise ValueError(f'{path} has no {JOB}: it is no folder of parts') from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f'{name} describes no job') from error
    return description


def check_same(path, theirs, ours):
    """Raise ValueError, with what differs, if a folder was begun for another job."""
    theirs, ours = ({**d, **d['settings']} for d in (theirs, ours))
    for name in [*ours, *theirs]:
        decides = name not in ('settings', 'resources', 'n_items', 'done')
        if decides and theirs.get(name) != ours.get(name):
            remedy = 'repeat its settings to go on'
            if name == 'sources':
                remedy = 'go on with that version of this code'
            raise ValueError(
                f'{path} was begun with {name}={theirs.get(name)!r}, not {ours.get(name)!r}: '
                f'{remedy}, or remove the folder'
            )


def make_share(path, share, of):
    """Make each `of`-th missing part of a folder, from number `share` on, without an engine.

    Others may do this at the same time with other shares; the driver joins the parts.
    Returns how many it has made.  Raises ValueError for a folder without a job, and for other code.
    """
    description = read_description(path)
    job = Job(*(description[name] for name in Job._fields))
    check_sources(job)
    n_items, size, done = (description[name] for name in SIZES)
    firsts = range(0, n_items, size)[share::of]
    parts = [Part(first, min(size, n_items - first)) for first in firsts]
    there = set(os.listdir(path))
    parts = [part for part in parts if part.end > done and part.name + PART not in there]
    if parts:
        worker = worker_of(job)
        try:
            for part in parts:
                make_part(path, job, part, read_items(path, part), worker)
        finally:
            worker.close()
    return len(parts)


def read_items(path, part):
    """What `PartsFolder.write_items` has written for a part, or None."""
    with (
        contextlib.suppress(FileNotFoundError),
        open(os.path.join(path, part.name + ITEMS), encoding='utf-8') as file,
    ):
        return json.load(file)
