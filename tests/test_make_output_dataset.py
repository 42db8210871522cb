import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cluster.parts import make_share
from detection.samplers import samplers_named
from helpers.kills import end_again_and_again
from helpers.paths import ROOT
from make_output_dataset import make_output_dataset
from support.settings import Settings

SCRIPT = ROOT / 'src' / 'make_output_dataset.py'
SIZES = ('--train', 6, '--valid', 2, '--test', 2)
N_CTX = 64  # of the model called `bytes`


@pytest.fixture
def flags(byte_models):
    return ('--model_name', 'bytes', '--models_dir', byte_models)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records_of(folder, source):
    paths = [folder / f'{source}.{split}.jsonl' for split in ('train', 'valid', 'test')]
    return [json.loads(line) for path in paths for line in path.read_text('utf-8').split('\n')[:-1]]


def test_the_files_records_and_ids_of_the_published_data_set(call, fast_start, flags, tmp_path):
    from generation import engine

    status, out, err = call(make_output_dataset, tmp_path, *flags, *SIZES, '--tokens')
    assert (status, out, err) == (0, '', '')
    assert len(files_of(tmp_path)) == 9
    shared = engine.Engine('bytes', str(flags[-1]))
    encoder, start = shared.encoder, shared.encoder.end_of_text
    for sampler in samplers_named('t1,k40,nucleus', (0.8, 1)):
        records = records_of(tmp_path, 'bytes' + sampler.suffix)
        assert [record['id'] for record in records] == list(range(10))
        for record in records:
            tokens = record['tokens']
            assert (
                record['length'] == len(tokens) == (N_CTX if not record['ended'] else len(tokens))
            )
            assert record['text'] == encoder.decode(tokens) and start not in tokens
            assert (record['model'], record['seed'], record['top_k']) == ('bytes', 0, sampler.top_k)
            assert len(record['weights']) == 16
            settings = Settings(
                length=N_CTX, seed=0, top_k=sampler.top_k, top_p=record['top_p'], stop_at_end=True
            )
            assert shared.generate([[start]], settings, record['id']) == [tokens]
    assert len({record['top_p'] for record in records}) == 10  # of nucleus
    assert {record['ended'] for record in records} <= {True, False}


def test_samples_do_not_depend_on_what_else_is_made(call, fast_start, flags, tmp_path):
    few, many = tmp_path / 'few', tmp_path / 'many'
    call(make_output_dataset, few, *flags, *SIZES, '--samplers', 'nucleus', '--batch_size', 1)
    call(make_output_dataset, many, *flags, *SIZES, '--samplers', 'p0.5,nucleus,t1')
    files = files_of(many)
    assert files_of(few).items() <= files.items() and len(files) == 9


def test_files_may_have_another_name_and_texts_another_length(call, fast_start, flags, tmp_path):
    more = ('--length', 20, '--source', 'raw', '--samplers', 'k40')
    call(make_output_dataset, tmp_path, *flags, *SIZES, *more)
    for record in records_of(tmp_path, 'raw-k40'):
        assert record['limit'] == 20 and (record['length'] == 20) != record['ended']
        assert '<|endoftext|>' not in record['text']


def test_what_is_complete_is_left_alone_without_tensorflow(
    call, fast_start, flags, tmp_path, monkeypatch
):
    common = (tmp_path / 'out', *flags, *SIZES, '--samplers', 'k40')
    call(make_output_dataset, *common)
    before = files_of(tmp_path / 'out')
    monkeypatch.setitem(sys.modules, 'generation.engine', None)
    answer = call(make_output_dataset, *common)
    assert answer == (0, '', f'{tmp_path}/out/bytes-k40 is complete\n')
    assert files_of(tmp_path / 'out') == before


def start_script(*flags):
    environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
    streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command = [sys.executable, str(SCRIPT), *map(str, flags)]
    return subprocess.Popen(command, env=environment, encoding='utf-8', **streams)


def lines_in(folder):
    return sum(path.read_bytes().count(b'\n') for path in folder.glob('*.jsonl'))


MANY = ('--train', 3000, '--valid', 200, '--test', 200, '--samplers', 'nucleus')


@pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')
def test_a_killed_run_goes_on_to_the_files_of_an_uninterrupted_one(
    call, fast_start, flags, tmp_path
):
    sizes = ('--train', 150, '--valid', 20, '--test', 20, '--samplers', 'nucleus')
    killed, whole = tmp_path / 'killed', tmp_path / 'whole'
    process = start_script(killed, *flags, *sizes, '--batch_size', 2)
    deadline = time.monotonic() + 60
    while lines_in(killed) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.communicate() == ('', '')
    assert 3 <= lines_in(killed) < 190
    assert call(make_output_dataset, killed, *flags, *sizes)[0] == 0
    assert call(make_output_dataset, whole, *flags, *sizes, '--batch_size', 50)[0] == 0
    assert files_of(killed) == files_of(whole) and lines_in(whole) == 190


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')
def test_a_run_that_is_ended_again_and_again_loses_and_repeats_nothing(
    call, fast_start, flags, tmp_path
):
    killed, whole = tmp_path / 'killed', tmp_path / 'whole'
    batch_sizes, seen = itertools.count(3), [0]

    def check(number, errors):
        seen.append(lines_in(killed))
        if number != signal.SIGKILL and errors:
            assert errors.startswith(f'stopped by {number.name}; what was written is kept')

    end_again_and_again(
        start=lambda: start_script(killed, *flags, *MANY, '--batch_size', next(batch_sizes)),
        progress=lambda: lines_in(killed),
        check=check,
    )
    assert seen == sorted(seen) and len(set(seen)) > 3
    call(make_output_dataset, killed, *flags, *MANY, '--batch_size', 80)
    call(make_output_dataset, whole, *flags, *MANY, '--batch_size', 80)
    assert files_of(killed) == files_of(whole)


@pytest.mark.parametrize(
    'wrong, message',
    [
        (['--train', -1], 'train must be'),
        (['--train', 0, '--valid', 0, '--test', 0], 'all 0'),
        (['--samplers', 'greedy'], "unknown sampler 'greedy'"),
        (['--top_p_from', 0.9, '--top_p_to', 0.8], 'top_p_from must be at most top_p_to'),
        (['--length', N_CTX + 1], 'exceed the context'),
        (['--batch_size', 0], 'batch_size must be'),
        (['demo'], "unexpected argument 'demo'"),
        (['--source', '../x'], 'source must be a name'),
        (['--model_name', 'gone'], 'gone'),
        (['--seed', 'x'], 'seed must be'),
    ],
)
def test_bad_input_is_one_line_before_tensorflow(
    call, no_tensorflow, flags, tmp_path, wrong, message
):
    status, out, errors = call(make_output_dataset, tmp_path / 'out', *flags, *SIZES, *wrong)
    assert (status, out) == (2, '') and message in errors and errors.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_other_settings_do_not_go_on_with_a_file(call, fast_start, flags, tmp_path):
    common = (*flags, *SIZES, '--samplers', 'k40')
    call(make_output_dataset, tmp_path, *common)
    before = files_of(tmp_path)
    for change, message in [
        (['--seed', 1], 'seed 0, not 1'),
        (['--tokens'], 'has records with no tokens'),
        (['--train', 5], 'holds more than 5 records'),
        (['--valid', 3], 'id 8, not 9'),
    ]:
        status, _, errors = call(make_output_dataset, tmp_path, *common, *change)
        assert status == 2 and message in errors
        assert files_of(tmp_path) == before


# With others


def shared(call, flags, folder, *more):
    flags = (*flags, *SIZES, '--samplers', 't1,nucleus', '--length', 20, *more)
    return call(make_output_dataset, folder, *flags)


@pytest.mark.parametrize(
    'size, rows, dtype', [(1, 1, 'float32'), (3, 2, 'float32'), (64, 16, 'float32'), (3, 2, 'int8')]
)
def test_parts_that_others_make_are_the_files_of_one_process(
    call, fast_start, flags, tmp_path, size, rows, dtype
):
    flags = (*flags, '--dtype', dtype)  # in int8 the text depends on the number of shards
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    more = ('--workers', 0, '--part_size', size, '--batch_size', rows, '--tokens')
    assert shared(call, flags, alone, '--tokens')[0] == 0
    status, _, errors = shared(call, flags, together, *more)
    assert status == 0 and errors.count('parts are to be made') == 2
    folders = together / 'bytes.parts', together / 'bytes-nucleus.parts'
    for folder in folders:
        for share in (2, 0, 1):
            make_share(folder, share, 3)
    assert shared(call, flags, together, *more) == (0, '', '')
    assert files_of(together) == files_of(alone)
    assert set(fast_start) == {1 if dtype == 'int8' else None}


@pytest.mark.parametrize('damage', [lambda lines: lines[:1], lambda lines: [*lines[:3], b'{"id']])
def test_a_damaged_part_of_others_is_one_line(call, fast_start, flags, tmp_path, damage):
    more = ('--workers', 0, '--part_size', 4)
    shared(call, flags, tmp_path, *more)
    make_share(tmp_path / 'bytes.parts', 0, 1)
    part = tmp_path / 'bytes.parts' / '000000004-4.part'
    part.write_bytes(b''.join(damage(part.read_bytes().splitlines(keepends=True))))
    status, _, errors = shared(call, flags, tmp_path, *more)
    assert (status, errors) == (
        2,
        f'error: {part} is damaged: remove it, and run the same command again\n',
    )


def test_a_worker_with_other_weights_is_refused(call, fast_start, flags, tmp_path, monkeypatch):
    shared(call, flags, tmp_path, '--workers', 0)
    monkeypatch.setattr('loading.model_files.fingerprint', lambda folder: 16 * 'f')
    with pytest.raises(ValueError, match='the weights in .* are f+, not'):
        make_share(tmp_path / 'bytes.parts', 0, 1)


def test_a_worker_with_another_vocabulary_is_refused(call, flags, tmp_path):
    shared(call, flags, tmp_path, '--workers', 0)
    file = tmp_path / 'bytes.parts' / 'job.json'
    description = json.loads(file.read_text())
    description['settings']['vocab.bpe'] = 'other'
    file.write_text(json.dumps(description))
    with pytest.raises(ValueError, match='vocab.bpe in .* is .*, not other'):
        make_share(tmp_path / 'bytes.parts', 0, 1)


def test_files_of_one_process_are_continued_and_continue(call, fast_start, flags, tmp_path):
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    shared(call, flags, alone)
    together.mkdir()
    whole = files_of(alone)
    lines = whole['bytes.train.jsonl'].splitlines(keepends=True)
    (together / 'bytes.train.jsonl').write_bytes(b''.join(lines[:4]) + b'{"id": 4, "en')
    shared(call, flags, together, '--workers', 0, '--part_size', 3)
    assert make_share(together / 'bytes.parts', 0, 2) == 1  # 6 to 8; 0 to 2 are there
    assert make_share(together / 'bytes.parts', 1, 4) == 1  # 3 to 5
    shared(call, flags, together, '--workers', 0)
    assert (together / 'bytes.train.jsonl').read_bytes() == whole['bytes.train.jsonl']
    assert (together / 'bytes.valid.jsonl').read_bytes() == whole['bytes.valid.jsonl']
    half = whole['bytes.test.jsonl'].splitlines(keepends=True)[:1]
    assert (together / 'bytes.test.jsonl').read_bytes() == b''.join(half)
    shutil.rmtree(together / 'bytes.parts')
    status, _, errors = shared(call, flags, together)  # by itself
    assert status == 2 and f'{together}/bytes-nucleus.parts holds parts' in errors
    shutil.rmtree(together / 'bytes-nucleus.parts')
    assert shared(call, flags, together)[0] == 0
    assert files_of(together) == whole
