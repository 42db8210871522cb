"""Samples that others make: the file is that of one process, whoever made what."""

import json
import os
import pathlib
import shutil

import pytest

from cluster.flags import Spread
from cluster.parts import PartsFolder, make_share
from generate_unconditional_samples import sample_model
from generation import parts
from loading.model_files import find_model, fingerprint
from support.settings import Settings

N = 23


@pytest.fixture
def flags(byte_models):
    sampling = ('--top_k', 50, '--temperature', 0.9, '--stop_at_end')
    return ('--model_name', 'bytes', '--models_dir', byte_models, '--length', 20, *sampling)


@pytest.fixture
def serial(call, fast_start, flags, tmp_path):
    """The bytes that one process writes, with seed 5."""

    def bytes_of(n=N):
        path = tmp_path / f'serial_{n}.jsonl'
        assert call(sample_model, *flags, '--seed', 5, '--nsamples', n, '--output', path)[0] == 0
        return path.read_bytes()

    return bytes_of


@pytest.fixture
def shared(call, flags, tmp_path):
    """Run the script with --workers 0, which writes a folder and joins what others have made."""

    def run(*more, n=N, seed=('--seed', 5)):
        output = ('--output', tmp_path / 'out.jsonl', '--workers', 0)
        return call(sample_model, *flags, *seed, '--nsamples', n, *output, *more)

    return run


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def here(tmp_path):
    return tmp_path / 'out.jsonl', tmp_path / 'out.jsonl.parts'


@pytest.mark.parametrize('size, batch_size, of', [(1, 1, 1), (4, 1, 3), (5, 3, 2), (64, 16, 1)])
def test_the_file_is_that_of_one_process(serial, shared, tmp_path, size, batch_size, of):
    path, folder = here(tmp_path)
    status, _, errors = shared('--part_size', size, '--batch_size', batch_size)
    assert status == 0 and 'parts are to be made, by src/make_parts.py' in errors
    for share in reversed(range(of)):
        make_share(folder, share, of)
    assert shared() == (0, '', '')  # it keeps the size
    assert path.read_bytes() == serial() and not folder.exists()
    assert shared() == (0, '', f'{path} holds {N} samples already\n')


def test_a_file_of_one_process_is_continued_and_continues(call, flags, serial, shared, tmp_path):
    """Its samples are not made again, and what was joined so far is not either."""
    path, folder = here(tmp_path)
    whole = serial()
    path.write_bytes(b''.join(whole.splitlines(keepends=True)[:7]) + b'{"sample": 8, "te')
    shared('--part_size', 4)
    assert make_share(folder, 0, 3) == 1  # 12 to 15; 0 to 3 are in the file
    assert make_share(folder, 1, 3) == 2  # 4 to 7 and 16 to 19
    shared()
    assert path.read_bytes() == b''.join(whole.splitlines(keepends=True)[:8])
    assert sorted(os.listdir(folder)) == [
        '000000012-4.part',
        '000000016-4.part',
        'job.json',
        'lock',
    ]
    kept = files_in(tmp_path)
    status, _, errors = call(sample_model, *flags, '--output', path, '--nsamples', 14)  # by itself
    assert status == 2 and errors.startswith(f'error: {folder} holds parts that workers have made')
    assert files_in(tmp_path) == kept
    make_share(folder, 0, 1)
    assert shared() == (0, '', '')
    assert path.read_bytes() == whole and not folder.exists()


@pytest.mark.parametrize('name', ['hparams.json', 'encoder.json', 'vocab.bpe'])
def test_a_model_with_the_same_weights_that_reads_otherwise_is_refused(
    call, flags, byte_models, shared, tmp_path, name
):
    _, folder = here(tmp_path)
    models = shutil.copytree(byte_models, tmp_path / 'models')
    more = ('--models_dir', models)
    shared(*more)
    make_share(folder, 0, 2)
    before = files_in(folder)
    file = models / 'bytes' / name
    file.write_bytes(file.read_bytes() + b'\n')
    status, _, errors = shared(*more)
    assert status == 2 and errors.startswith(f"error: {folder} was begun with {name}='")
    assert files_in(folder) == before
    with pytest.raises(ValueError, match=f'{name} in .* is .*, not '):
        make_share(folder, 1, 2)


def test_a_folder_goes_on_with_more_samples(serial, shared, tmp_path):
    path, folder = here(tmp_path)
    shared('--part_size', 4, n=10)
    make_share(folder, 0, 1)
    shared(n=N)
    make_share(folder, 0, 1)
    assert shared(n=N) == (0, '', '')
    assert path.read_bytes() == serial() and not folder.exists()


def test_joining_that_is_killed_loses_nothing(serial, shared, tmp_path, monkeypatch):
    """After each write: what the file has on the disk decides what comes next."""
    path, folder = here(tmp_path)
    shared('--part_size', 6)
    make_share(folder, 0, 1)
    made = shutil.copytree(folder, tmp_path / 'made')
    whole = serial()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
        path.write_bytes(whole[:cut])
        assert shared() == (0, '', '')
        assert path.read_bytes() == whole


def test_a_part_is_in_the_file_before_it_goes(serial, shared, tmp_path, monkeypatch):
    path, folder = here(tmp_path)
    shared('--part_size', 6)
    make_share(folder, 0, 1)
    content = []

    def drop(_, part):
        content.append(path.read_bytes())

    monkeypatch.setattr(PartsFolder, 'drop', drop)
    shared()
    lines = serial().splitlines(keepends=True)
    assert content == [b''.join(lines[:n]) for n in (6, 12, 18, 23)]


def test_without_a_seed_the_folder_has_it(shared, tmp_path):
    """A driver that was lost before the first part goes on by the same command."""
    path, folder = here(tmp_path)
    assert shared(seed=())[0] == 0
    assert shared(seed=())[0] == 0
    make_share(folder, 0, 1)
    assert shared(seed=()) == (0, '', '')
    assert len(path.read_bytes().splitlines()) == N


@pytest.mark.parametrize('other', [('--seed', 6), ('--length', 19), ('--top_k', 40)])
def test_a_folder_of_other_settings_is_refused_untouched(shared, tmp_path, other):
    path, folder = here(tmp_path)
    shared()
    make_share(folder, 0, 1)
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    status, _, errors = shared(*other, seed=() if '--seed' in other else ('--seed', 5))
    assert status == 2 and errors.startswith(f'error: {folder} was begun with')
    assert before == {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    assert path.read_bytes() == b''


def test_a_worker_with_other_weights_is_refused(shared, tmp_path):
    _, folder = here(tmp_path)
    shared()
    description = json.loads((folder / 'job.json').read_text())
    description['settings']['weights'] = '0' * 16
    (folder / 'job.json').write_text(json.dumps(description))
    with pytest.raises(ValueError, match='the weights in .* are .*, not 0000000000000000'):
        make_share(folder, 0, 1)


@pytest.mark.parametrize(
    'wrong, message',
    [
        (['--workers', 2], '--workers and --scheduler need --output and --nsamples'),
        (['--workers', 2, '--nsamples', 3], '--workers and --scheduler need'),
        (['--scheduler', 'tcp://a:1', '--output', 'x'], '--workers and --scheduler need'),
        (['--workers', -1], 'workers must be'),
        (['--part_size', 2], '--parts and --part_size need'),
    ],
)
def test_what_is_wrong_is_refused_without_tensorflow(call, no_tensorflow, flags, wrong, message):
    status, output, errors = call(sample_model, *flags, *wrong)
    assert (status, output) == (2, '') and errors.startswith(f'error: {message}')


def test_a_full_disk_while_joining_is_one_line(shared, tmp_path, monkeypatch):
    path, folder = here(tmp_path)
    shared()
    make_share(folder, 0, 1)

    def full(file):
        raise OSError(28, 'No space left on device', file.name)

    with monkeypatch.context() as patch:
        patch.setattr('generation.sample_file.sync', full)
        status, _, errors = shared()
    assert (status, errors) == (2, f"error: [Errno 28] No space left on device: '{path}'\n")
    assert '000000000-1.part' in os.listdir(folder)
    assert shared() == (0, '', '')


@pytest.mark.parametrize(
    'damage',
    [
        lambda lines: lines[:3],
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:5], lines[5][:-20]],  # at the end of a whole number of lines
        lambda lines: [*lines[:5], lines[5].rstrip()],
        lambda lines: [*lines[:2], lines[2].replace(b'"tokens": [', b'"tokens": ('), *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, bytes(10)],
    ],
)
def test_a_damaged_part_is_one_line(serial, shared, tmp_path, damage):
    path, folder = here(tmp_path)
    shared('--part_size', 6)
    make_share(folder, 0, 1)
    part = folder / '000000006-6.part'
    part.write_bytes(b''.join(damage(part.read_bytes().splitlines(keepends=True))))
    assert shared() == (
        2,
        '',
        f'error: {part} is damaged: remove it, and run the same command again\n',
    )
    assert len(path.read_bytes().splitlines()) == 6  # none of it is in the file
    part.unlink()
    shared()
    make_share(folder, 0, 1)
    assert shared() == (0, '', '')
    assert path.read_bytes() == serial()


def test_a_folder_that_was_about_to_be_removed_goes(shared, tmp_path, monkeypatch):
    path, folder = here(tmp_path)
    shared()
    make_share(folder, 0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(PartsFolder, 'remove', lambda self: None)
        shared()
    assert folder.exists() and len(path.read_bytes().splitlines()) == N
    assert shared() == (0, '', '')
    assert not folder.exists()


def test_models_are_found_from_any_folder(byte_models, monkeypatch):
    monkeypatch.chdir(byte_models.parent)
    relative = byte_models.name
    origin = {'model': 'bytes', 'weights': fingerprint(find_model('bytes', relative))}
    settings = Settings(length=2, seed=1)
    job = parts.job_of(origin | {'dtype': 'float32'}, settings, relative, 1, None, 2, None)
    assert pathlib.Path(job.resources['models_dir']) == byte_models
    assert Spread(0).folder('out') == str(byte_models.parent / 'out.parts')


@pytest.mark.parametrize('dtype', ['int8', 'bfloat16'])
def test_in_a_dtype_that_rounds_the_number_of_shards_is_not_that_of_the_cores(
    call, fast_start, flags, shared, tmp_path, dtype
):
    """Of the demo model int8 writes other text in two shards in three of four samples."""
    path, folder = here(tmp_path)
    whole, halves = tmp_path / 'whole.jsonl', tmp_path / 'halves.jsonl'
    alone = (*flags, '--dtype', dtype, '--seed', 5, '--nsamples', N, '--batch_size', N)
    call(sample_model, *alone, '--output', whole)
    call(sample_model, *alone, '--output', halves, '--shards', 2)
    for more, expected, other in [((), whole, 2), (('--shards', 2), halves, 1)]:
        shared('--dtype', dtype, '--batch_size', N, *more)
        of_other = ('--dtype', dtype, '--shards', other)
        assert f'with shards={3 - other}, not {other}' in shared(*of_other)[2]
        make_share(folder, 0, 1)
        assert shared('--dtype', dtype, *more) == (0, '', '')
        assert path.read_bytes() == expected.read_bytes()
        assert f'with shards={3 - other}, not {other}' in shared(*of_other)[2]
        path.unlink()
    assert fast_start == [1, 2, 1, 2]
    for made, n in [(whole, 1), (halves, 2)]:
        assert json.loads(made.read_text('utf-8').splitlines()[0])['shards'] == n


def test_in_float32_a_machine_takes_as_many_shards_as_it_likes(fast_start, shared, tmp_path):
    path, folder = here(tmp_path)
    shared()
    make_share(folder, 0, 2)
    shared('--shards', 2)
    make_share(folder, 0, 1)
    shared()
    assert fast_start == [None, 2]
    assert b'"shards"' not in path.read_bytes()
