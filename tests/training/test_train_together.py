"""Several processes that train one model, against one process with all of the batch."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from helpers.paths import ROOT

TEXTS = [f'Document {i}: the quick brown fox jumps over {i * i} lazy dogs.\n' for i in range(40)]
COMMON = ('--n_ctx', 16, '--n_embd', 16, '--n_head', 2, '--n_layer', 2, '--steps', 6)
COMMON += ('--validate_every', 3, '--learning_rate', 0.01, '--dropout', 0)


@pytest.fixture
def encoded(tmp_path, byte_models, run_script):
    """A folder of tokens, and a models folder of one's own with the vocabulary `bytes`."""
    (tmp_path / 'texts.jsonl').write_text(
        ''.join(json.dumps({'text': text}) + '\n' for text in TEXTS), encoding='utf-8'
    )
    vocabulary = ('--model_name', 'bytes', '--models_dir', byte_models)
    done = run_script(
        'src/encode_corpus.py', tmp_path / 'corpus', tmp_path / 'texts.jsonl', *vocabulary
    )
    assert done.returncode == 0, done.stderr
    models = tmp_path / 'models'
    (models / 'bytes').mkdir(parents=True)
    for name in ('encoder.json', 'vocab.bpe'):
        (models / 'bytes' / name).write_bytes((byte_models / 'bytes' / name).read_bytes())
    return tmp_path / 'corpus', models


def free_addresses(n):
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(n)]
    addresses = [f'127.0.0.1:{s.getsockname()[1]}' for s in sockets]
    for s in sockets:
        s.close()
    return ','.join(addresses)


def listens(workers, task):
    """The line that says so."""
    port = workers.split(',')[task].rpartition(':')[2]
    return f'worker {task} listens on port {port}, for this machine alone\n'


def start(name, encoded, *flags, code=(ROOT / 'src' / 'train.py',)):
    corpus, models = encoded
    command = [sys.executable, *code, name, corpus, '--models_dir', models]
    command += ['--vocabulary', 'bytes', *COMMON, *flags]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding='utf-8',
        env={k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'},
    )


def metrics(encoded, name):
    lines = (encoded[1] / name / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def test_two_processes_train_as_one_with_the_doubled_batch(encoded):
    workers = free_addresses(2)
    pair = [
        start('two', encoded, '--batch_size', 2, '--processes', workers, '--task', task)
        for task in (0, 1)
    ]
    outputs = [process.communicate(timeout=200) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert outputs[1] == ('', listens(workers, 1))  # only the first one reports
    alone = start('one', encoded, '--batch_size', 4)
    output, errors = alone.communicate(timeout=200)
    assert (alone.returncode, output) == (0, outputs[0][0]), errors

    two, one = metrics(encoded, 'two'), metrics(encoded, 'one')
    assert [record['step'] for record in two] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    for ours, theirs in zip(two, one, strict=True):
        for key in {'loss', 'norm', 'rate', 'validation'} & set(theirs):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5), (key, ours)
    losses = [record['loss'] for record in one if 'loss' in record]
    assert losses[-1] < 0.95 * losses[0]


# As train.py, but once it has begun a second is four months to what waits for other workers.
SLOW = """
import sys, time, types
sys.path.insert(0, sys.argv[1])
import train
from loading.startup import quiet
from support import command_line
with quiet():
    from cluster import collective
    from training import trainer

validate, step, pace = trainer.Trainer.validate, trainer.Trainer.step, [1]

def slow_validate(self, batches):
    time.sleep(2)
    return validate(self, batches)

def first_step(*arguments):
    pace[0] = 1e7
    return step(*arguments)

collective.PROBE_SECONDS = 0.1
collective.time = types.SimpleNamespace(
    monotonic=lambda: pace[0] * time.monotonic(), sleep=time.sleep
)
trainer.Trainer.validate, trainer.Trainer.step = slow_validate, first_step
command_line.run(train.train, sys.argv[2:])
"""


@pytest.mark.slow
def test_others_wait_for_a_validation_however_long_it_takes(encoded):
    workers = free_addresses(2)
    code = ('-c', SLOW, ROOT / 'src')
    flags = ('--steps', 2, '--validate_every', 1, '--processes', workers)
    pair = [start('slow', encoded, *flags, '--task', task, code=code) for task in (0, 1)]
    outputs = [process.communicate(timeout=200) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert [r['step'] for r in metrics(encoded, 'slow') if 'validation' in r] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='sends signals as POSIX does')
def test_a_signal_to_all_workers_or_to_one_saves_and_all_leave(encoded):
    """And the run then goes on to the losses of one that nobody has stopped."""
    flags = ('--steps', 400, '--batch_size', 2, '--dropout', 0.1, '--save_every', 1000)
    flags += ('--validate_every', 1000)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit SIG_IGN
    try:
        for number, stopped in [(2, (0, 1)), (2, (0,)), (2, (1,)), (15, (0,)), (15, (1,))]:
            workers = ('--processes', free_addresses(2))
            pair = [start('stopped', encoded, *flags, *workers, '--task', t) for t in (0, 1)]
            wait_for_steps(encoded, 'stopped', pair, more=20)
            for task in stopped:
                pair[task].send_signal(number)
            outputs = [process.communicate(timeout=60) for process in pair]
            statuses = [128 + (number if task in stopped else 2) for task in (0, 1)]
            assert [process.returncode for process in pair] == statuses, outputs
            assert 'run the same command again to go on' in outputs[0][1]
            assert 'run the same command' not in outputs[1][1]
            last = metrics(encoded, 'stopped')[-1]['step']
            names = (encoded[1] / 'stopped' / 'checkpoint').read_text(encoding='utf-8')
            assert last < 400 and f'"model-{last}"' in names
    finally:
        signal.signal(signal.SIGINT, before)
    for name in ('stopped', 'whole'):
        workers = ('--processes', free_addresses(2))
        pair = [start(name, encoded, *flags, *workers, '--task', task) for task in (0, 1)]
        outputs = [process.communicate(timeout=200) for process in pair]
        assert [process.returncode for process in pair] == [0, 0], outputs
    stopped, whole = (
        [(r['step'], r['loss'], r['norm']) for r in metrics(encoded, name) if 'loss' in r]
        for name in ('stopped', 'whole')
    )
    assert len(whole) == 400 and stopped == whole


def wait_for_steps(encoded, name, processes, more):
    """Wait until a run has noted some more steps."""
    deadline, first = time.monotonic() + 120, None
    path = encoded[1] / name / 'metrics.jsonl'
    while True:
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None]
        steps = len(path.read_text(encoding='utf-8').splitlines()) if path.exists() else 0
        first = steps if first is None else first
        if steps >= first + more:
            return
        time.sleep(0.01)


def test_settings_that_differ_end_both(encoded):
    workers = free_addresses(2)
    pair = [
        start('two', encoded, '--seed', task, '--processes', workers, '--task', task)
        for task in (0, 1)
    ]
    for process in pair:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 2
        listening, error, end = errors.split('\n')
        assert 'listens' in listening and error.startswith('error: ') and end == '', errors
