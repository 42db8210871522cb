"""Several processes that train one model, against one process with all of the batch."""

import json
import os
import socket
import subprocess
import sys

import pytest
from conftest import ROOT

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


def start(name, encoded, *flags):
    corpus, models = encoded
    command = [sys.executable, ROOT / 'src' / 'train.py', name, corpus, '--models_dir', models]
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
        start('two', encoded, '--batch_size', 2, '--workers', workers, '--task', task)
        for task in (0, 1)
    ]
    outputs = [process.communicate(timeout=200) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert outputs[1] == ('', '')  # only the first one reports
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


def test_settings_that_differ_end_both(encoded):
    workers = free_addresses(2)
    pair = [
        start('two', encoded, '--seed', task, '--workers', workers, '--task', task)
        for task in (0, 1)
    ]
    for process in pair:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 2
        assert errors.startswith('error: ') and errors.count('\n') == 1, errors
