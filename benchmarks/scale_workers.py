"""Many Dask workers in one process, whose parts sleep: what benchmarks/scale.py measures with.

python benchmarks/scale_workers.py tcp://127.0.0.1:8786 50
"""

import asyncio
import contextlib
import sys
import tempfile
import time

from cluster import workers
from cluster.parts import Job, Worker


def sleeping(seconds, **settings):
    """A Job whose parts take so many seconds, and no core."""
    return Job('scale_workers:Sleeper', settings, {'seconds': seconds})


class Sleeper(Worker):
    def make(self, part, items, file):
        time.sleep(self.job.resources['seconds'])
        file.write(b'%d\n' % part.first)


class NoTurn(contextlib.nullcontext):
    """A lock that holds nobody up: these workers share a process and no model."""

    def acquire(self, blocking=True):
        return True

    def release(self):
        pass


async def host(address, count):
    """Be so many workers of a scheduler until it ends."""
    from distributed import Worker as DaskWorker

    with tempfile.TemporaryDirectory() as scratch:
        settings = {'nthreads': 1, 'memory_limit': 0, 'local_directory': scratch}
        all_workers = [
            DaskWorker(address, host='127.0.0.1', dashboard=False, **settings) for _ in range(count)
        ]
        await asyncio.gather(*all_workers)
        await asyncio.gather(*(worker.finished() for worker in all_workers))


if __name__ == '__main__':
    workers.Kept.turn = NoTurn()
    workers.take_share_of_worker = lambda n_local: None  # they have no use for cores
    asyncio.run(host(sys.argv[1], int(sys.argv[2])))
