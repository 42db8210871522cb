"""Parts of a job on the workers of Dask distributed: on this machine, or of a running cluster.

Dask decides who makes which part, notices workers that have gone, and has their parts made by
others. What is left to us: a part is a file, and a process loads a model once, on its share of the
machine. This is the only module that knows Dask, and imports it in functions: only who asks for
workers needs it. No TensorFlow.

    with PartsFolder('parts', job, 2000, 64) as folder:
        run(folder, workers=2)
"""

import asyncio
import contextlib
import logging
import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker

from cluster.cores import is_pinned, take_cores, take_gpu, visible_gpus
from cluster.parts import Taking, check_sources, make_part, worker_of
from support.progress import show_progress
from support.provenance import SOURCES

CONNECT_SECONDS = 10
LOOK_SECONDS = 1  # between two looks at how many workers there are
SETTINGS = {
    # A worker that was killed comes back, however often: Dask would give one up that happens to be
    # on its way back so long after an earlier end.
    'distributed.deploy.lost-worker-timeout': '1000 days',
    'distributed.admin.large-graph-warning-threshold': '1 GiB',  # items of a part may take 10 MB
}
LOG = 'DASK_LOGGING__DISTRIBUTED'  # what Dask logs: 'info' in the environment shows more


def run(folder, workers=None, scheduler=None, desc=None, unit='items', taken=None):
    """Make the parts that a folder lacks.

    folder: PartsFolder, which all workers see by the same path.
    workers: how many to start on this machine; they listen on the loopback interface alone.
    scheduler: the address of a running one instead, tcp://host:port or tls://host:port.
    desc, unit: of the progress bar, which counts items.
    taken: called with each Part that is needed and there, in their order, as soon as it can be.
    Raises ValueError or OSError if a part does, or no worker can be had; what was made by then is
    kept. Raises ValueError at the end, when all others are made, for parts that have killed each
    worker that tried to make them.
    """
    taking = Taking(folder, taken)
    missing = folder.missing()
    if not missing:
        return
    killed = []
    left = sum(part.count for part in missing)
    counts = dict(total=folder.n_items, initial=folder.n_items - left, unit=unit)
    if scheduler is None:
        place = embedded(min(workers, len(missing)))
    else:
        place = connected(scheduler, folder.job)
    with place as (client, n_local), show_progress(desc=desc, **counts) as bar:
        for part, error in results(client, folder, missing, n_local):
            if type(error).__name__ == 'KilledWorker':
                killed.append(part)
                continue
            check_result(folder, part, error)
            bar.update(part.count)
            taking.add(part)
    if killed:
        raise ValueError(what_killed(folder, killed, unit))


def results(client, folder, parts, n_local):
    """Have workers make parts, and yield (Part, exception or None) as they end.

    A worker has one part at a time. So no more is under way than there are workers for, and only
    the part that kills a worker is suspected of it.
    """
    waiting, under_way, ended = iter(parts), {}, queue.SimpleQueue()
    name = f'part-{uuid.uuid4().hex}'  # of this run: others may use the scheduler, too
    n_workers, looked = 1, -math.inf
    while True:
        if time.monotonic() - looked >= LOOK_SECONDS:  # it takes 4 ms of 300 workers
            n_workers, looked = max(1, len(client.nthreads())), time.monotonic()
        for _, part in zip(range(n_workers - len(under_way)), waiting, strict=False):
            work = folder.path, folder.job, part, folder.items_of(part), n_local
            future = client.submit(make_here, *work, key=(name, part.first), pure=False)
            under_way[future] = part
            future.add_done_callback(ended.put)
        if not under_way:
            return
        with contextlib.suppress(queue.Empty):
            future = ended.get(timeout=LOOK_SECONDS)
            yield under_way.pop(future), error_of(future)


def error_of(future):
    """What a part has raised, or None."""
    if future.status == 'finished':
        return None
    if future.status == 'error':
        return future.exception()
    return OSError('the scheduler has gone: what was made is kept')


def check_result(folder, part, error):
    """Raise what has ended a part, in words for the user, or ValueError if its file is not here."""
    if isinstance(cause_of(error), ModuleNotFoundError):
        raise ValueError(
            f'{cause_of(error)} on another machine: start the scheduler and the workers with '
            f'PYTHONPATH={SOURCES}, where the machine has it'
        ) from error
    if error is not None:
        raise error
    if not os.path.exists(folder.path_of(part)):
        raise ValueError(
            f'a worker has made {folder.path_of(part)}, which is not here: all machines must see '
            'the same folder by this path'
        )


def cause_of(error):
    """The error that others came from: Dask wraps those of importing."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    return error


def what_killed(folder, killed, unit):
    """Name the items of parts that have killed their workers."""
    killed = sorted(killed)
    named = ', '.join(f'{part.first} to {part.end - 1}' for part in killed[:10])
    more = f' and {len(killed) - 10} parts more' if len(killed) > 10 else ''
    return (
        f'each worker that tried to make them died (of too little memory?): {unit} {named}{more}, '
        f'counted from 0; all others are made, in {folder.path}'
    )


# In the workers


class Kept:
    """What a worker's process keeps from one part to the next: the Worker of a job."""

    turn = threading.Lock()  # a process makes one part at a time, however many threads it has
    job = worker = None


def make_here(path, job, part, items, n_local):
    """Make a part in this process, which loads what the job needs before its first part.

    n_local: how many workers were started on this machine; None where somebody else did so.
    """
    with Kept.turn, errors_alone():
        if Kept.job != job:
            let_go()
            check_sources(job)
            take_share_of_worker(n_local)
            Kept.worker = worker_of(job)
            Kept.job = job
        make_part(path, job, part, items, Kept.worker)


@contextlib.contextmanager
def errors_alone():
    """Have errors for the user say nothing of those that they came from.

    TensorFlow's cannot be sent, and Dask would send no more than the text of the user's.
    """
    try:
        yield
    except (ValueError, OSError, MemoryError) as error:
        error.__cause__ = error.__context__ = None
        raise


def let_go():
    worker, Kept.job, Kept.worker = Kept.worker, None, None
    if worker is not None:
        worker.close()


def let_go_of(job):
    """Free the memory that a job took, in a process that goes on, unless it is at work."""
    if Kept.turn.acquire(blocking=False):
        try:
            if Kept.job == job:
                let_go()
        finally:
            Kept.turn.release()


def take_share_of_worker(n_local):
    """Have this process use its share of the machine's cores, and one GPU."""
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    index, count = int(worker.name) if n_local else 0, n_local
    if n_local is None:
        host = host_of(worker.address)
        addresses = sync(worker.loop, worker.scheduler.ncores)
        here = sorted(address for address in addresses if host_of(address) == host)
        index, count = here.index(worker.address), len(here)
    if n_local or not is_pinned():
        take_cores(index, count)
    take_gpu(index)


def host_of(address):
    return address.rpartition(':')[0]


# Where they are


@contextlib.contextmanager
def embedded(n_workers):
    """Start workers on this machine, and yield (client, how many).

    They end with this process, however it ends: each watches a pipe to the one that started it.
    """
    distributed = load_dask()
    if (gpus := visible_gpus()) and n_workers > len(gpus):
        print(f'note: {n_workers} workers share {len(gpus)} GPU(s)', file=sys.stderr)
    with (
        start(distributed, n_workers) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        try:
            yield client, n_workers
        except BaseException:
            kill(cluster)
            raise


def start(distributed, n_workers):
    """A cluster of workers on this machine.

    It takes seconds on a busy machine. It is started in a thread, so that Ctrl-C can end it.
    """
    options = dict(
        n_workers=n_workers,
        threads_per_worker=1,
        host='127.0.0.1',
        dashboard_address=None,
        memory_limit=0,  # else one is killed that takes most of its share of the memory
        processes=True,
        silence_logs=False,
        scheduler_kwargs={'dashboard_address': '127.0.0.1:0'},  # of its small web server
    )
    others = multiprocessing.active_children()
    with ThreadPoolExecutor(1) as thread:
        try:
            with interrupts_held():
                starting = thread.submit(distributed.LocalCluster, **options)
            return starting.result()
        except RuntimeError as error:
            raise ValueError(f'workers cannot be started: {cause_of(error)}') from error
        except BaseException:
            give_up(starting, others)
            raise


def give_up(starting, others):
    """End a start, a Future, and the processes that it has started; there are others before."""
    while not starting.done():
        for process in multiprocessing.active_children():
            if process not in others:
                process.kill()
        time.sleep(0.02)
    if starting.exception() is None:
        kill(starting.result())
        starting.result().close()


@contextlib.contextmanager
def interrupts_held():
    """Have no thread that is started in the block, and no process of theirs, hear of Ctrl-C.

    A terminal sends it to the workers, too, which this process ends by itself.
    """
    if not hasattr(signal, 'pthread_sigmask'):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would let interrupts through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill(cluster):
    """End the workers that a cluster has started, in the midst of their parts."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # it starts no other worker then
        if nanny.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(nanny.pid, getattr(signal, 'SIGKILL', signal.SIGTERM))  # or Windows'


@contextlib.contextmanager
def connected(address, job):
    """Yield (client, None) of the scheduler that runs at an address."""
    distributed = load_dask()
    try:
        asyncio.run(reach(address))
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        what = str(error)
        if isinstance(error, TypeError):
            what = 'it asks for certificates, which DASK_DISTRIBUTED__COMM__TLS__... must name'
        raise ValueError(f'no scheduler answers at {address}: {what}') from error
    client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    with client:
        if not client.nthreads():
            print(f'note: {address} has no worker yet: waiting for one', file=sys.stderr)
        yield client, None
        client.run(let_go_of, job, on_error='ignore')


async def reach(address):
    """Raise an error, as Dask has them, unless something answers at an address."""
    from distributed import Security
    from distributed.comm import connect

    comm = await connect(address, CONNECT_SECONDS, **Security().get_connection_args('client'))
    await comm.close()


def load_dask():
    quiet = os.environ.setdefault(LOG, 'critical') == 'critical'  # for the workers, too
    try:
        import dask
        import distributed
    except ImportError:
        raise ValueError(
            'workers need Dask distributed: pip install -r requirements-cluster.txt'
        ) from None
    dask.config.set(SETTINGS)
    if quiet:
        logging.getLogger('distributed.client').setLevel(logging.CRITICAL)  # it has its own
    return distributed
