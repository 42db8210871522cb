"""A job without a model: what engines do with it is seen in its files, in no time."""

import json
import os
import signal
import threading
import time

from cluster.parts import Job, Worker


def toy_job(**resources):
    """A Job of `Toy`, whose parts hold a line for each item.

    resources: seconds (each item takes so long), kills (items whose part kills its process),
      fails (an item whose part raises ValueError), full (an item at which the disk is full),
      log (a folder in which each Toy says what its process id, cores and GPUs are).
    """
    return Job('helpers.toy_parts:Toy', {'seed': 7}, resources)


class Unsendable(Exception):
    """An error as TensorFlow's, which cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()


class Toy(Worker):
    def __init__(self, job):
        super().__init__(job)
        self.closed = False
        if log := job.resources.get('log'):
            told = {'pid': os.getpid(), 'cores': sorted(os.sched_getaffinity(0))}
            told['gpus'] = os.environ.get('CUDA_VISIBLE_DEVICES')
            with open(os.path.join(log, f'{os.getpid()}-{time.time_ns()}'), 'x') as file:
                json.dump(told, file)

    def make(self, part, items, file):
        for number in range(part.first, part.end):
            time.sleep(self.job.resources.get('seconds', 0))
            if number in self.job.resources.get('kills', ()):
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.job.resources.get('fails'):
                raise ValueError(f'item {number} cannot be made') from Unsendable
            if number == self.job.resources.get('full'):
                os.dup2(os.open('/dev/full', os.O_WRONLY), file.fileno())
            file.write(line_of(number, items and items[number - part.first]))

    def close(self):
        self.closed = True


def line_of(number, item=None):
    return json.dumps({'item': number, 'of': item, 'square': number**2}).encode() + b'\n'


def whole(n_items, items=None):
    """What all parts together hold: bytes."""
    return b''.join(line_of(n, items and items[n]) for n in range(n_items))
