"""What it costs to spread independent parts over many workers, by workers that sleep.

    python benchmarks/scale.py [--workers 1,10,100,300] [--seconds 1,3,10,30] [--parts 3]

First comes the memory of a worker that has loaded nothing, and of the nanny that starts it. Then
the scheduler, the driver and the files are real; hundreds of workers share a few processes, and a
part sleeps in place of generating. For each number of workers it prints how fast parts without any
work pass, the scheduler's memory, the bytes that a part sends, and the share of its time that a
worker spends in its parts, beside what the formula of src/cluster/README.md predicts.
"""

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
from cluster.parts import PartsFolder  # noqa: E402
from cluster.workers import load_dask, run  # noqa: E402

sys.path.append(str(ROOT / 'benchmarks'))
from scale_workers import sleeping  # noqa: E402

IN_A_PROCESS = 100  # workers


def numbers(text):
    return [float(number) if '.' in number else int(number) for number in text.split(',')]


def pss(pid):
    """The memory of a process in bytes, its share of what it shares with others."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='ascii')
    return 1024 * int(re.search(r'^Pss: +(\d+)', text, re.MULTILINE)[1])


def bytes_of(port):
    """What a port of this machine has sent and received, by the connections that are there."""
    command = ['ss', '-Htin', 'sport', '=', f':{port}']
    text = subprocess.run(command, capture_output=True, encoding='ascii', check=True).stdout
    return sum(map(int, re.findall(r'bytes_(?:sent|received):(\d+)', text)))


def python(*command):
    """Start a Python process that finds src and benchmarks, and says nothing."""
    path = os.pathsep.join([str(ROOT / 'src'), str(ROOT / 'benchmarks')])
    environment = {**os.environ, 'PYTHONPATH': path}
    environment['DASK_LOGGING__DISTRIBUTED'] = 'critical'
    return subprocess.Popen([sys.executable, *command], env=environment)


@contextlib.contextmanager
def scheduler(folder):
    """Yield (address, process) of a scheduler on the loopback interface."""
    file = Path(folder) / 'scheduler.json'
    flags = ['--host', '127.0.0.1', '--port', '0', '--no-dashboard', '--scheduler-file', str(file)]
    process = python('-m', 'dask', 'scheduler', *flags)
    try:
        while not file.exists():
            if process.poll() is not None:
                raise ValueError('the scheduler has not started')
            time.sleep(0.02)
        yield json.loads(file.read_text(encoding='utf-8'))['address'], process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def hosted(address, count):
    """Start so many workers, and yield the seconds until the scheduler knows all."""
    start = time.perf_counter()
    starts = range(0, count, IN_A_PROCESS)
    sizes = [min(IN_A_PROCESS, count - first) for first in starts]
    script = str(ROOT / 'benchmarks' / 'scale_workers.py')
    processes = [python(script, address, str(size)) for size in sizes]
    try:
        with load_dask().Client(address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)
        yield time.perf_counter() - start
    finally:
        for process in processes:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def idle(address, folder):
    """Start a worker with its nanny, as on another machine; yields their process ids."""
    flags = ['--host', '127.0.0.1', '--nthreads', '1', '--memory-limit', '0', '--no-dashboard']
    nanny = python('-m', 'dask', 'worker', address, *flags, '--local-directory', folder)
    try:
        with load_dask().Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            [worker] = client.run(os.getpid).values()
        time.sleep(2)  # what the start needs for a moment is gone
        yield worker, nanny.pid
    finally:
        nanny.terminate()
        nanny.wait()


def made(address, n_parts, seconds):
    """Have all workers make parts of so many seconds.

    Returns seconds, and how many bytes the scheduler has sent and received for them.
    """
    port = address.rpartition(':')[2]
    counts = [bytes_of(port)]

    def take(part):
        if part.first == n_parts - 1:  # before the connection of this client is closed
            counts.append(bytes_of(port))

    with tempfile.TemporaryDirectory() as path:
        job = sleeping(seconds, n_parts=n_parts)
        with PartsFolder(path, job, n_parts, 1) as folder:
            start = time.perf_counter()
            run(folder, scheduler=address, taken=take)
            return time.perf_counter() - start, counts[1] - counts[0]


def predicted(n_workers, n_parts, seconds, rate, constant):
    """The formula: seconds until so many parts are made.

    rate: parts a second that pass without work.  constant: seconds to begin and to end.
    """
    turns = math.ceil(n_parts / n_workers)
    return constant + turns * (seconds + n_workers / rate)


def measure(n_workers, lengths, turns):
    """Print what n_workers do with parts of some lengths, `turns` parts each."""
    with (
        tempfile.TemporaryDirectory() as folder,
        scheduler(folder) as (address, process),
        hosted(address, n_workers) as started,
    ):
        made(address, n_workers, 0)  # the workers import what they need
        constant, _ = made(address, 1, 0)
        few = max(200, 3 * n_workers)
        spent, sent = min(made(address, few, 0) for _ in range(3))
        rate = few / max(1e-3, spent - constant)
        print(
            f'{n_workers:5} workers, there after {started:.1f} s; empty parts: {rate:,.0f} a '
            f'second, {sent / few / 1e3:,.1f} kB each; scheduler {pss(process.pid) / 1e6:,.0f} MB; '
            f'{constant:.2f} s to begin and end'
        )
        for seconds in lengths:
            n_parts = turns * n_workers
            spent, _ = made(address, n_parts, seconds)
            ideal = turns * seconds
            formula = predicted(n_workers, n_parts, seconds, rate, constant)
            print(
                f'{n_workers:5} workers, {n_parts:5} parts of {seconds:4} s: {spent:7.2f} s, '
                f'predicted {formula:7.2f}; at work {ideal / spent:6.1%}, '
                f'predicted {ideal / formula:6.1%}',
                flush=True,
            )


def measure_memory():
    """Print what a worker that has loaded nothing needs."""
    with tempfile.TemporaryDirectory() as folder, scheduler(folder) as (address, _):
        with idle(address, folder) as pids:
            worker, nanny = (pss(pid) / 1e6 for pid in pids)
    print(f'a worker that has loaded nothing: {worker:,.0f} MB, and its nanny {nanny:,.0f} MB')


def main(workers, seconds, parts):
    measure_memory()
    for n_workers in numbers(workers):
        measure(n_workers, numbers(seconds), parts)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workers', default='1,10,100,300')
    parser.add_argument('--seconds', default='1,3,10,30')
    parser.add_argument('--parts', type=int, default=3)
    main(**vars(parser.parse_args()))
