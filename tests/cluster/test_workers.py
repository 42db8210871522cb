import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types

import pytest

from cluster import workers
from cluster.parts import PartsFolder
from helpers.paths import ROOT, SRC
from helpers.toy_parts import toy_job, whole

pytest.importorskip('distributed')
psutil = pytest.importorskip('psutil')  # comes with it
pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')

ENVIRONMENT = os.environ | {'PYTHONPATH': os.pathsep.join([str(SRC), str(ROOT / 'tests')])}
LOCAL = '127.0.0.1'


@pytest.fixture
def log(tmp_path):
    (tmp_path / 'log').mkdir()
    return tmp_path / 'log'


def told_in(log):
    """What each Toy has written, in the order of their starts."""
    files = sorted(log.iterdir(), key=lambda path: int(path.name.split('-')[1]))
    return [json.loads(text) for file in files if (text := file.read_text())]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Driver:
    """A toy_driver that runs, and the processes that it has started.

    path: its folder.
    """

    def __init__(self, path, *flags, n_items=40):
        self.path, self.n_items = path, n_items
        flags = (path, '--n_items', n_items, '--log', path / 'log', *flags)
        command = [sys.executable, '-m', 'helpers.toy_driver', *map(str, flags)]
        self.process = subprocess.Popen(
            command,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding='utf-8',
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in a terminal
        )
        self.workers = []

    def at_work(self, parts=1):
        """Wait until two workers have begun and some parts are there."""
        wait_until(lambda: len(told_in(self.path / 'log')) >= 2 and self.parts() >= parts)
        self.workers = [psutil.Process(told['pid']) for told in told_in(self.path / 'log')[-2:]]
        return self

    def parts(self):
        with contextlib.suppress(FileNotFoundError):
            return len([n for n in os.listdir(self.path / 'whole.parts') if n.endswith('.part')])
        return 0

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, status=0):
        """Wait for its end, and return what it has said, but for how far it was."""
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == status, errors
        lines = errors.splitlines(keepends=True)
        return ''.join(line for line in lines if not line.startswith('items '))

    def check_whole(self):
        assert self.end() == ''
        assert (self.path / 'whole').read_bytes() == whole(self.n_items)
        assert not (self.path / 'whole.parts').exists()


# On this machine


def test_workers_make_all_with_their_items_each_on_its_cores(tmp_path, log):
    items, taken = [f'item {i}' for i in range(23)], []
    with PartsFolder(
        tmp_path / 'parts', toy_job(log=str(log), seconds=0.02), 23, 3, items
    ) as folder:
        workers.run(folder, workers=2, taken=taken.append)
        assert taken == folder.parts()
        content = b''.join(pathlib.Path(path).read_bytes() for path in folder.joined())
    assert content == whole(23, items)
    first, second = told_in(log)  # a process loads what it needs once
    cores = sorted(os.sched_getaffinity(0))
    assert sorted({*first['cores'], *second['cores']}) == cores
    assert len(cores) == 1 or not set(first['cores']) & set(second['cores'])


def test_a_part_that_kills_its_workers_is_named_when_all_others_are_made(tmp_path):
    import dask

    with PartsFolder(tmp_path / 'parts', toy_job(kills=[7]), 24, 2) as folder:
        with (
            dask.config.set({'distributed.scheduler.allowed-failures': 1}),  # 3 take a while
            pytest.raises(ValueError, match='items 6 to 7, counted from 0; all others are made'),
        ):
            workers.run(folder, workers=2)
        assert [part.first for part in folder.missing()] == [6]
    assert not [name for name in os.listdir(tmp_path / 'parts') if 'unfinished' in name]


def test_not_more_than_ten_parts_that_kill_are_named(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 100, 2) as folder:
        text = workers.what_killed(folder, folder.parts()[11::-1], 'samples')
    assert 'samples 0 to 1, 2 to 3, ' in text and '18 to 19 and 2 parts more, counted' in text


@pytest.mark.parametrize('how', [dict(fails=9), dict(full=9)])
def test_what_fails_in_a_worker_ends_all_in_its_words(tmp_path, how):
    before = psutil.Process().children(recursive=True)
    with PartsFolder(tmp_path / 'parts', toy_job(**how), 200, 2) as folder:
        with pytest.raises((ValueError, OSError)) as caught:
            workers.run(folder, workers=1)
        if 'fails' in how:
            assert str(caught.value) == 'item 9 cannot be made'
        else:
            assert 'No space left on device' in str(caught.value)
        assert [part.first for part in folder.missing()] == list(range(8, 200, 2))
    new = [p for p in psutil.Process().children(recursive=True) if p not in before]
    assert not [p for p in new if 'multiprocessing.spawn' in ' '.join(p.cmdline())]


def test_a_run_survives_its_worker_and_then_its_driver(tmp_path, log):
    """Killed; and meanwhile nobody but this machine can connect."""
    flags = ('--workers', 2, '--seconds', 0.05)
    driver = Driver(tmp_path, *flags, n_items=100).at_work()
    everyone = [psutil.Process(driver.process.pid), *driver.children()]
    listening = [
        connection.laddr.ip
        for process in everyone
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3 and set(listening) == {LOCAL}
    n = driver.parts()
    driver.workers[0].kill()
    wait_until(lambda: driver.parts() > n + 2)
    children = driver.children()
    driver.process.kill()
    driver.end(-signal.SIGKILL)
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert n < driver.parts() < 50
    before = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / 'whole.parts').glob('*.part')
    }
    again = Driver(tmp_path, *flags, n_items=100)
    wait_until(lambda: again.parts() > len(before))
    for name, changed in before.items():
        assert (tmp_path / 'whole.parts' / name).stat().st_mtime_ns == changed
    again.check_whole()


@pytest.mark.parametrize('number, group', [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_who_stops_it_is_rid_of_all_processes_in_five_seconds(tmp_path, log, number, group):
    """Ctrl-C in a terminal reaches the workers, too; and they are in the midst of long parts."""
    driver = Driver(tmp_path, '--workers', 2, '--seconds', 30).at_work(parts=0)
    children, begin = driver.children(), time.monotonic()
    (os.killpg if group else os.kill)(driver.process.pid, number)
    errors = driver.end(128 + number)
    assert not psutil.wait_procs(children, timeout=5 - (time.monotonic() - begin))[1]
    assert errors.strip() == ('' if group else 'stopped by SIGTERM')
    assert sorted(os.listdir(tmp_path / 'whole.parts')) == ['job.json', 'lock']


def test_ctrl_c_ends_workers_that_start(tmp_path, log):
    driver = Driver(tmp_path, '--workers', 2)
    wait_until(lambda: sum('spawn_main' in ' '.join(c.cmdline()) for c in driver.children()) == 2)
    children, begin = driver.children(), time.monotonic()
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal does
    assert driver.end(128 + signal.SIGINT).strip() == ''
    assert not psutil.wait_procs(children, timeout=5 - (time.monotonic() - begin))[1]
    assert not told_in(log)


def test_a_start_that_is_given_up_leaves_no_worker(monkeypatch):
    """Whether it still goes on, or ends as the interrupt comes."""
    cluster, ended = types.SimpleNamespace(workers={}, close=lambda: ended.append('closed')), []
    others, child = ([types.SimpleNamespace(kill=lambda n=n: ended.append(n))] for n in range(2))
    starting = Future(None, None)
    starting.done = lambda: bool(ended)
    starting.exception = lambda: None
    starting.result = lambda: cluster
    monkeypatch.setattr(workers.multiprocessing, 'active_children', lambda: others + child)
    workers.give_up(starting, others)
    assert ended == [1, 'closed']


def test_workers_start_where_nothing_hears_of_ctrl_c_and_no_memory_is_too_much():
    told = {}

    def cluster(**options):
        told.update(options, blocked=signal.pthread_sigmask(signal.SIG_BLOCK, []))

    workers.start(types.SimpleNamespace(LocalCluster=cluster), 3)
    assert signal.SIGINT in told['blocked']
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert told['n_workers'] == 3 and told['memory_limit'] == 0 and told['host'] == LOCAL


def test_workers_that_do_not_start_are_one_line():
    def cluster(**options):
        raise RuntimeError('no more processes')

    with pytest.raises(ValueError, match='workers cannot be started: no more processes'):
        workers.start(types.SimpleNamespace(LocalCluster=cluster), 3)


@pytest.mark.parametrize('n_parts, n_workers', [(2, 2), (9, 3)])
def test_no_more_workers_start_than_there_are_parts(tmp_path, monkeypatch, n_parts, n_workers):
    started = []

    def embedded(count):
        started.append(count)
        raise ValueError

    monkeypatch.setattr(workers, 'embedded', embedded)
    with PartsFolder(tmp_path / 'parts', toy_job(), n_parts, 1) as folder:
        with pytest.raises(ValueError):
            workers.run(folder, workers=3)
    assert started == [n_workers]


# Of a cluster


@contextlib.contextmanager
def cluster(tmp_path, n_workers, path=ENVIRONMENT['PYTHONPATH']):
    """`dask scheduler` and `dask worker`s: yields (address, their processes)."""
    environment = ENVIRONMENT | {'PYTHONPATH': path}
    file = tmp_path / 'scheduler.json'
    dask = [sys.executable, '-m', 'dask']
    options = ['--host', LOCAL, '--port', '0', '--no-dashboard', '--scheduler-file', str(file)]
    commands = [[*dask, 'scheduler', *options]]
    here = ['--host', LOCAL, '--nthreads', '1', '--no-dashboard', '--memory-limit', '0']
    here += ['--local-directory', str(tmp_path / 'scratch'), '--scheduler-file', str(file)]
    commands += [[*dask, 'worker', *here]] * n_workers
    quiet = dict(env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        wait_until(lambda: file.exists() and file.read_text().endswith('}'))
        yield json.loads(file.read_text())['address'], processes
    finally:
        everyone = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                everyone += psutil.Process(process.pid).children(recursive=True)
            process.kill()
        psutil.wait_procs(everyone, timeout=10)
        for process in processes:
            process.wait()


def test_a_cluster_makes_all_though_a_worker_and_its_nanny_are_killed(tmp_path, log):
    with cluster(tmp_path, 2) as (address, processes):
        driver = Driver(tmp_path, '--scheduler', address, '--seconds', 0.05, n_items=60)
        driver.at_work(parts=2)
        processes[1].kill()  # its worker ends with it
        everyone = [psutil.Process(process.pid) for process in processes]
        errors = driver.end()
        assert errors == '' or re.fullmatch(r'note: .* has no worker yet: waiting.*\n', errors)
        assert processes[0].poll() is None and everyone[2].is_running()
    assert (tmp_path / 'whole').read_bytes() == whole(60)
    cores = [told['cores'] for told in told_in(log)]
    assert len(cores) == 2 and max(map(len, cores)) <= len(os.sched_getaffinity(0))


def test_workers_that_lack_the_code_are_told_of_in_one_line(tmp_path, log):
    with cluster(tmp_path, 1, path='') as (address, _):
        driver = Driver(tmp_path, '--scheduler', address)
        error = driver.end(2).splitlines()[-1]
    assert error.startswith("error: No module named 'cluster' on another machine: start the")
    assert f'PYTHONPATH={SRC}' in error


@pytest.mark.parametrize(
    'address, error',
    [
        ('tcp://127.0.0.1:1', 'Timed out'),
        ('tls://127.0.0.1:1', 'certificates'),
        ('head', 'missing port'),
        ('http://head:80', 'unknown address scheme'),
    ],
)
def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path, monkeypatch, address, error):
    monkeypatch.setattr(workers, 'CONNECT_SECONDS', 1)
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 2) as folder:
        with pytest.raises(ValueError, match=f'no scheduler answers at {address}: .*{error}'):
            workers.run(folder, scheduler=address)


# Without Dask


class Client:
    """Makes parts one after another, when there is nothing else to do."""

    n_workers, most = 3, 0

    def __init__(self):
        self.under_way = []

    def nthreads(self):
        return dict.fromkeys(range(self.n_workers), 8)  # threads

    def submit(self, function, path, job, part, items, n_local, key, pure):
        self.under_way.append(Future(part, items))
        self.most = max(self.most, len(self.under_way))
        return self.under_way[-1]


class Future:
    def __init__(self, part, items):
        self.part, self.items = part, items

    status = 'finished'

    def add_done_callback(self, call):
        pass


def test_no_more_is_under_way_than_there_are_workers_for(tmp_path, monkeypatch):
    client = Client()

    class Ended:
        put = None

        def get(self, timeout):
            if len(sent) > 5:
                client.n_workers = 5  # more have come
            future = client.under_way.pop()
            sent.append((future.part.first, future.items))
            return future

    sent = []
    monkeypatch.setattr(workers.queue, 'SimpleQueue', Ended)
    monkeypatch.setattr(workers, 'LOOK_SECONDS', 0)
    with PartsFolder(tmp_path / 'parts', toy_job(), 40, 2, list(range(40))) as folder:
        parts = [part for part, _ in workers.results(client, folder, folder.missing(), 2)]
        assert sorted(parts) == folder.parts()
    assert client.most == 5
    assert sorted(sent) == [(n, [n, n + 1]) for n in range(0, 40, 2)]


@pytest.mark.parametrize('status', ['lost', 'cancelled'])
def test_a_scheduler_that_has_gone_is_told_of(status):
    future = Future(None, None)
    future.status = status
    assert str(workers.error_of(future)) == 'the scheduler has gone: what was made is kept'


def test_a_part_that_others_do_not_see_here_is_told_of(tmp_path):
    with PartsFolder(tmp_path / 'parts', toy_job(), 10, 2) as folder:
        with pytest.raises(ValueError, match='which is not here: all machines must see'):
            workers.check_result(folder, folder.parts()[0], None)


def test_a_process_keeps_one_worker_until_another_job_comes_or_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, 'take_share_of_worker', lambda n_local: None)
    with PartsFolder(tmp_path / 'parts', toy_job(), 8, 2) as folder:
        first, second, third, fourth = folder.parts()
        workers.make_here(folder.path, folder.job, first, None, 1)
        toy = workers.Kept.worker
        workers.make_here(folder.path, folder.job, second, None, 1)
        assert workers.Kept.worker is toy and not toy.closed
        other = folder.job._replace(resources={'seconds': 0})
        workers.make_here(folder.path, other, third, None, 1)
        assert toy.closed
        toy = workers.Kept.worker
        workers.let_go_of(folder.job)
        assert not toy.closed  # it is of another job
        with workers.Kept.turn:
            workers.let_go_of(other)
        assert not toy.closed  # it is at work
        workers.let_go_of(other)
        assert toy.closed and workers.Kept.worker is None
        with pytest.raises(ValueError, match='need the same version of src'):
            job = folder.job._replace(settings={'seed': 7, 'sources': 'others'})
            workers.make_here(folder.path, job, fourth, None, 1)


@pytest.mark.parametrize(
    'pinned, n_local, name, taken',
    [
        (False, None, 'a', [('cores', 1, 3), ('gpu', 1)]),
        (True, None, 'a', [('gpu', 1)]),
        (False, 2, 1, [('cores', 1, 2), ('gpu', 1)]),
        (True, 2, 0, [('cores', 0, 2), ('gpu', 0)]),
    ],
)
def test_workers_of_a_machine_share_it(monkeypatch, pinned, n_local, name, taken):
    """Those of a cluster that were pinned, by Slurm for example, stay as they are."""
    import distributed
    from distributed import utils

    class OfDask:
        address, loop, scheduler = 'tcp://10.0.0.2:41000', None, None

    addresses = ['tcp://10.0.0.2:42000', 'tcp://10.0.0.1:40000', 'tcp://10.0.0.2:40000']
    OfDask.name, OfDask.scheduler = name, type('', (), {'ncores': None})
    calls = []
    monkeypatch.setattr(distributed, 'get_worker', OfDask)
    monkeypatch.setattr(utils, 'sync', lambda *_: [*addresses, OfDask.address])
    monkeypatch.setattr(workers, 'is_pinned', lambda: pinned)
    monkeypatch.setattr(workers, 'take_cores', lambda *share: calls.append(('cores', *share)))
    monkeypatch.setattr(workers, 'take_gpu', lambda index: calls.append(('gpu', index)))
    workers.take_share_of_worker(n_local)
    assert calls == taken
