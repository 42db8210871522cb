"""A loop of disks that are full a little later each time, under everything that scripts write."""

import shutil
import subprocess

import pytest

from helpers import small_tasks
from helpers.paths import ROOT

DISK = 1 << 20  # bytes
FREE = (0, 1, 2, 3, 5, 9, 17, 40, 120)  # pages of 4096 bytes that are left
PAGE = 4096


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own, of 1 MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={DISK}', 'tmpfs', str(folder)]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('mounting a file system is not allowed here')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / 'text.txt'
    words = (ROOT / 'tests' / 'testdata' / 'moby_dick_chapters_1_to_19.txt').read_bytes()
    path.write_bytes(words[:60_000])
    return path


def encode_corpus(disk, text, models, tmp_path):
    from encode_corpus import encode_corpus

    return encode_corpus, [disk / 'corpus', text, '--model_name=bytes', f'--models_dir={models}']


def train_encoder(disk, text, models, tmp_path):
    from train_encoder import train_encoder

    return train_encoder, ['new', text, '--n_vocab=1000', f'--models_dir={disk}']


def make_random_model(disk, text, models, tmp_path):
    from make_random_model import make_random_model

    sizes = ['--n_merges=200', '--n_ctx=64', '--n_embd=16', '--n_head=2', '--n_layer=2']
    return make_random_model, ['new', models / 'bytes', f'--models_dir={disk}', *sizes]


def generate(disk, text, models, tmp_path):
    from generate_unconditional_samples import sample_model

    flags = ['--nsamples=40', '--batch_size=10', '--length=60', '--seed=1']
    where = ['--model_name=bytes', f'--models_dir={models}', f'--output={disk / "samples.jsonl"}']
    return sample_model, flags + where


def score(disk, text, models, tmp_path):
    from score import score

    short = tmp_path / 'short.txt'
    short.write_bytes(text.read_bytes()[:1500])
    outputs = [f'--tokens={disk / "tokens.jsonl"}', f'--html={disk / "page.html"}']
    return score, [short, '--model_name=bytes', f'--models_dir={models}', *outputs]


def zero_shot(disk, text, models, tmp_path):
    from zero_shot import evaluate

    data = small_tasks.write_all(tmp_path / 'data')
    where = [f'--data_dir={data}', f'--results_dir={disk}', f'--models_dir={models}']
    return evaluate, ['--model_name=long', '--tasks=ptb,cbt_cn', '--any_size', *where]


def train(disk, text, models, tmp_path):
    from train import train

    (disk / 'bytes').mkdir()
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(models / 'bytes' / name, disk / 'bytes')
    sizes = ['--vocabulary=bytes', '--n_ctx=32', '--n_embd=8', '--n_head=1', '--n_layer=1']
    steps = ['--steps=6', '--save_every=2', '--validate_every=2', '--batch_size=1', '--window=32']
    return train, ['new', text, f'--models_dir={disk}', *sizes, *steps]


SCRIPTS = [encode_corpus, train_encoder, make_random_model, generate, score, zero_shot, train]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize('script', SCRIPTS, ids=lambda script: script.__name__)
def test_a_full_disk_is_one_line_that_names_a_file(script, disk, text, byte_models, tmp_path, call):
    """Whatever it hits; with more room the same command then does all of it."""
    failed = 0
    for pages in FREE:
        function, flags = script(disk, text, byte_models, tmp_path)
        full(disk, pages)
        status, output, errors = call(function, *flags)
        (disk / 'filler').unlink()
        if status:
            failed += 1
            assert status == 2 and 'Traceback' not in errors, errors
            error = errors.splitlines()[-1]
            assert error.startswith('error: ') and str(disk) in error, error
            assert '[Errno' not in error or 'unfinished-' not in error, error  # a name that is gone
            assert not list(disk.rglob('unfinished-*'))
            status, _, errors = call(function, *flags)
            assert status == 0, errors
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert 0 < failed < len(FREE)


def full(disk, pages):
    """Fill a disk but for some pages."""
    with open(disk / 'filler', 'wb', buffering=0) as filler:
        free = shutil.disk_usage(disk).free - pages * PAGE
        filler.write(bytes(free))
