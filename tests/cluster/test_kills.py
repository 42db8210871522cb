"""Workers and drivers that are killed again and again: the samples are those of one process.

All processes are in a network namespace that has nothing but a loopback interface.
"""

import functools
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from helpers import small_tasks
from helpers.kills import end_again_and_again
from helpers.paths import ROOT
from helpers.small_evaluation import without_seconds
from helpers.texts import write_lines
from helpers.toy_parts import whole

psutil = pytest.importorskip('psutil')  # comes with Dask distributed
pytest.importorskip('distributed')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != 'linux', reason='has namespaces'),
]

GENERATE = ROOT / 'src' / 'generate_unconditional_samples.py'
MODEL = ('--model_name', 'demo', '--models_dir', ROOT / 'models')
SAMPLES = (*MODEL, '--nsamples', 800, '--length', 60, '--seed', 3, '--batch_size', 8)
SIZE = ('--part_size', 8)
KILLS = {'toy': 20, 'demo': 5}
# A script whose parts need no model, so that much is killed in little time.
TOY = """
import shutil
from cluster.flags import Spread
from cluster.parts import PartsFolder
from helpers.toy_parts import toy_job
from support import command_line, files

def main(workers: int = None, scheduler: str = None, part_size: int = 8, output: str = None):
    spread = Spread(workers, scheduler)
    job = toy_job(seconds=0.02)
    with PartsFolder(spread.folder(output), job, 2000, part_size) as folder:
        spread.carry_out(folder)
        with files.replacing(output, binary=True) as file:
            for path in folder.joined():
                with open(path, 'rb') as part:
                    shutil.copyfileobj(part, file)
        folder.remove()

command_line.run(main)
"""
ENVIRONMENT = {
    **os.environ,
    'PYTHONPATH': os.pathsep.join([str(ROOT / 'src'), str(ROOT / 'tests')]),
    'DASK_LOGGING__DISTRIBUTED': 'critical',
}
# 20 kills each; the demo model takes minutes for 5 of them.
both = pytest.mark.parametrize('what, seed', [('toy', 0), *(('demo', seed) for seed in range(4))])


@pytest.fixture(scope='module')
def alone():
    """What a command begins with that is to run in the namespace."""
    script = 'ip link set lo up && echo up && exec sleep infinity'
    command = ['unshare', '--map-root-user', '--net', 'sh', '-c', script]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if holder.stdout.readline() != b'up\n':
            pytest.skip('no network namespace can be made here')
        where = ['--target', str(holder.pid), '--user', '--net', '--preserve-credentials']
        yield ['nsenter', *where, '--']
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture
def start(alone, tmp_path):
    """start(*flags) generates samples into tmp_path, which is the process' working directory."""

    def start(*flags, code=(GENERATE, *SAMPLES), output=('--output', 'samples.jsonl')):
        command = [*alone, sys.executable, *code, *flags, *output]
        return subprocess.Popen(
            list(map(str, command)),
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding='utf-8',
            start_new_session=True,
        )

    return start


@pytest.fixture(scope='module')
def serial(tmp_path_factory):
    """serial(*flags): the SHA-256 of what one process writes."""
    found = {}

    def serial(*flags):
        if flags not in found:
            path = tmp_path_factory.mktemp('serial') / 'samples.jsonl'
            command = [sys.executable, GENERATE, *flags, '--output', path]
            subprocess.run(list(map(str, command)), check=True)
            found[flags] = digest(path)
        return found[flags]

    return serial


@pytest.fixture
def code_and_digest(serial):
    """code_and_digest(what): the code of a program, and the SHA-256 of the file that it writes."""

    def code_and_digest(what):
        if what == 'toy':
            return ('-c', TOY), hashlib.sha256(whole(2000)).hexdigest()
        return (GENERATE, *SAMPLES), serial(*SAMPLES)

    return code_and_digest


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(folder):
    """How many samples are made, or somewhat more: a number that grows."""
    path = folder / 'samples.jsonl'
    lines = path.read_bytes().count(b'\n') if path.exists() else 0
    parts = list((folder / 'samples.jsonl.parts').glob('*.part'))
    return lines + 8 * len(parts)


def workers_of(process):
    """The worker processes that Dask has started in a process' name."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if 'spawn_main' in ' '.join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def gone(processes, seconds):
    """Whether processes that nobody waits for end within some seconds."""
    deadline = time.monotonic() + seconds
    while any(is_there(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_there(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until_random_moment(moments, progress, process):
    """Wait for a moment: often of work, sometimes of a start."""
    if moments.random() < 0.7:
        before = progress()
        while progress() <= before and process.poll() is None:
            time.sleep(0.01)
    time.sleep(moments.uniform(0, 1.5))


def kill_and_go_on(start, progress, kill, times, seed):
    """Run a command, again if it ends in vain, and call `kill` so many times while it runs."""
    moments, kills, process = random.Random(seed), 0, start()
    while process.poll() is None or process.returncode:
        if process.poll() is not None:
            errors = process.communicate()[1]
            # A part that was made by four workers that were killed by chance.
            assert process.returncode == 2 and 'worker that tried to make them' in errors, errors
            process = start()
        if kills == times:
            process.wait()
            continue
        until_random_moment(moments, progress, process)
        kills += kill(process, moments)
    _, errors = process.communicate()
    assert 'Traceback' not in errors
    assert kills == times, 'the samples were made before'


def check_result(folder, expected):
    assert digest(folder / 'samples.jsonl') == expected
    assert os.listdir(folder) == ['samples.jsonl']


@both
def test_a_worker_is_killed(start, code_and_digest, tmp_path, what, seed):
    def kill(process, moments):
        if not (workers := workers_of(process)):
            return 0
        moments.choice(workers).kill()
        return 1

    code, expected = code_and_digest(what)
    begin = functools.partial(start, '--workers', 2, *SIZE, code=code)
    kill_and_go_on(begin, lambda: made(tmp_path), kill, KILLS[what], seed)
    check_result(tmp_path, expected)


@both
def test_a_worker_is_killed_with_its_nanny(start, code_and_digest, alone, tmp_path, what, seed):
    code, expected = code_and_digest(what)
    with Cluster(alone) as cluster:

        def kill(process, moments):
            cluster.replace(moments.randrange(2))
            return 1

        begin = functools.partial(start, '--scheduler', cluster.address, *SIZE, code=code)
        kill_and_go_on(begin, lambda: made(tmp_path), kill, KILLS[what], seed)
    check_result(tmp_path, expected)


class Cluster:
    """A scheduler and two workers as on two machines: each has a core of its own."""

    address = 'tcp://127.0.0.1:8786'

    def __init__(self, alone):
        self.begin = [*alone, sys.executable, '-m', 'dask']
        self.scheduler = self._start('scheduler', '--host', '127.0.0.1', '--port', '8786')
        self.workers = [self._start_worker(0), self._start_worker(1)]

    def _start(self, *command, before=()):
        command = [*before, *self.begin, *command, '--no-dashboard']
        return subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True)

    def _start_worker(self, number):
        cores = sorted(os.sched_getaffinity(0))
        pinned = ['taskset', '--cpu-list', str(cores[number % len(cores)])]
        flags = ['--nthreads', '1', '--memory-limit', '0', '--local-directory', '/tmp']
        return self._start('worker', self.address, *flags, before=pinned)

    def replace(self, number):
        """Kill a worker and its nanny, and start another in their place."""
        kill_tree(self.workers[number])
        self.workers[number] = self._start_worker(number)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in [*self.workers, self.scheduler]:
            kill_tree(process)


def kill_tree(process):
    ours = psutil.Process(process.pid)
    for each in [ours, *ours.children(recursive=True)]:
        each.kill()
    process.wait()


@both
def test_the_driver_is_killed(start, code_and_digest, tmp_path, what, seed):
    """Its workers end by themselves, and the same command goes on."""
    code, expected = code_and_digest(what)
    begin = functools.partial(start, '--workers', 2, *SIZE, code=code)
    workers, ends = [], []

    def before(process):
        workers[:] = workers_of(process)

    def check(number, errors):
        ends.append(number)
        assert gone(workers, 10)

    progress = functools.partial(made, tmp_path)
    numbers = [signal.SIGKILL]
    end_again_and_again(begin, progress, check, KILLS[what], seed, numbers, before)
    assert len(ends) == KILLS[what], 'the samples were made before'
    process = begin()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    check_result(tmp_path, expected)


FEW = (*MODEL, '--nsamples', 100, '--length', 30, '--seed', 1)


@pytest.mark.parametrize('workers', [1, 2, 3])
@pytest.mark.parametrize('part_size', [16, 48])
@pytest.mark.parametrize('batch_size', [5, 16])
def test_the_file_is_that_of_one_process(start, serial, tmp_path, workers, part_size, batch_size):
    flags = ('--workers', workers, '--part_size', part_size, '--batch_size', batch_size)
    process = start(*flags, code=(GENERATE, *FEW))
    assert process.wait() == 0, process.communicate()[1]
    check_result(tmp_path, serial(*FEW, '--batch_size', 10))


@pytest.mark.parametrize('when', ['start', 'work'])
def test_ctrl_c_leaves_no_process(start, tmp_path, when):
    process = start('--workers', 2, *SIZE)
    while not workers_of(process):
        time.sleep(0.05)
    while when == 'work' and not made(tmp_path):
        time.sleep(0.05)
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    pressed = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert gone(workers, pressed + 5 - time.monotonic())
    assert process.returncode == 130 and 'Traceback' not in errors
    if when == 'work':
        assert 'run the same command again to go on' in errors


def test_two_kills_and_the_same_command_end_with_the_file_of_one_process(start, serial, tmp_path):
    """Without a seed: what was drawn at first stays."""
    samples = (*MODEL, '--nsamples', 2000, '--length', 100, '--batch_size', 16)
    for share in (0.2, 0.6):
        process = start('--workers', 2, code=(GENERATE, *samples))
        while made(tmp_path) < share * 2000:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.kill()
        process.communicate()
    process = start('--workers', 2, code=(GENERATE, *samples))
    assert process.wait() == 0, process.communicate()[1]
    with open(tmp_path / 'samples.jsonl', encoding='utf-8') as file:
        seed = json.loads(file.readline())['seed']
    check_result(tmp_path, serial(*samples, '--seed', seed))


# The flags of scripts that take texts, in a folder where `write_texts` has been.
TEXTS = {
    'score': ['texts.jsonl', '--tokens=out.jsonl', '--part_size=20'],
    'detect': ['texts.jsonl', '--output=out.jsonl', '--part_size=20'],
    'overlap': [
        *('train', 'texts.jsonl', '--filter=out.filter', '--results=out.json'),
        *('--capacity=100_000', '--part_size=1'),
    ],
    'zero_shot': ['--tasks=ptb', '--any_size', '--stride=256', '--results_dir=.', '--part_size=1'],
}


def write_texts(folder):
    write_lines(folder / 'texts.jsonl', [f'Of year {n}. {small_tasks.STORY}' for n in range(600)])
    (folder / 'train').mkdir()
    for number in range(40):
        (folder / 'train' / f'{number}.txt').write_text(small_tasks.STORY * 600)
    (folder / 'data' / 'ptb').mkdir(parents=True)
    (folder / 'data' / 'ptb' / 'ptb.test.txt').write_text(''.join(small_tasks.PTB) * 4500)


def outputs_of(folder, printed):
    """What a script has written and printed; without seconds, which differ from run to run."""
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    if 'demo.json' in files:
        return sorted(files), without_seconds(json.loads(files['demo.json']))
    return files, printed


@pytest.mark.parametrize('name', TEXTS)
def test_what_other_scripts_find_is_that_of_one_process(start, alone, tmp_path, name):
    """A worker is killed with its nanny, then the driver; the same command goes on."""

    def made():
        return len(list(tmp_path.glob('**/*.part')))

    def wait_for(parts, process):
        while made() < parts:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)

    write_texts(tmp_path)
    code, moments = (ROOT / 'src' / f'{name}.py', *MODEL, *TEXTS[name]), random.Random(name)
    with Cluster(alone) as cluster:
        begin = functools.partial(start, code=code, output=('--scheduler', cluster.address))
        process = begin()
        wait_for(1, process)
        time.sleep(moments.uniform(0, 0.5))
        cluster.replace(moments.randrange(2))
        wait_for(made() + 1, process)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob('**/*.part')}
        process = begin()
        wait_for(len(kept) + 3, process)  # two may have been under way
        assert all(file.stat().st_mtime_ns == changed for file, changed in kept.items())
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
    assert not list(tmp_path.glob('*.parts'))
    found = outputs_of(tmp_path, printed)
    for file in tmp_path.glob('*.*'):
        if file.name.startswith(('out', 'demo')):
            file.unlink()
    process = start(code=[flag for flag in code if 'part_size' not in str(flag)], output=())
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert outputs_of(tmp_path, printed) == found
