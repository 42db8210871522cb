"""Programs on a disk that becomes full: nothing that was there is lost, and they can go on."""

import hashlib
import json
import shutil

import pytest

from helpers import small_tasks
from helpers.paths import SRC, TESTDATA
from helpers.servers import web_server
from helpers.small_disk import SmallDisk
from support.files import UNFINISHED

pytestmark = pytest.mark.slow

KB = 2**10
STORY = TESTDATA / 'moby_dick_chapters_1_to_19.txt'


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / 'disk'
    folder.mkdir()
    try:
        disk = SmallDisk(folder, megabytes=8)
    except OSError as error:
        pytest.skip(f'no disk can be mounted here: {error}')
    yield disk
    disk.close()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_text(STORY.read_text('utf-8')[:5000], 'utf-8')
    return path


def check_full_disk(disk, run, free, begin=lambda folder: None, content=lambda files: files):
    """Run a program on a disk with less and less room, then with enough.

    run: (folder to write to) -> CompletedProcess.  free: bytes that are free, for each try.
    begin: puts into a folder what is to be there before.
    content: (files) -> what is to be the same as if the disk had not been full.
    """
    begin(disk.seen / 'whole')
    result = run(disk.folder / 'whole')
    assert result.returncode == 0, result.stderr
    expected = content(disk.files('whole'))
    for n in free:
        folder = disk.folder / f'free_{n}'
        begin(disk.seen / folder.name)
        before = disk.files(folder.name)
        disk.fill(n)
        check_refusal(run(folder), disk)
        after = disk.files(folder.name)
        assert all(after[name].startswith(data) for name, data in before.items())
        assert not [name for name in after if UNFINISHED in name]
        disk.make_room()
        result = run(folder)
        assert result.returncode == 0, result.stderr
        assert content(disk.files(folder.name)) == expected
        assert names(disk.files(folder.name)) == names(disk.files('whole'))


def names(files):
    """The names of files, without those that TensorBoard reads: they have the time in them."""
    return {name for name in files if '/events/' not in name}


def check_refusal(result, disk):
    """A program has ended with one line that names a file of the disk."""
    *notes, error = result.stderr.splitlines()
    assert result.returncode == 2, result.stderr
    assert error.startswith('error: ') and str(disk.folder) in error
    assert 'No space left on device' in error or 'disk is full' in error
    assert not [line for line in notes if line.startswith(('error', 'Traceback', ' '))]


def test_samples(disk, byte_models):
    def run(folder):
        flags = ('--model_name', 'bytes', '--models_dir', byte_models, '--seed', 3)
        more = ('--nsamples', 300, '--batch_size', 50, '--output', folder / 'samples.jsonl')
        return disk.run(SRC / 'generate_unconditional_samples.py', *flags, *more)

    def begin(folder):
        folder.mkdir()
        whole = disk.seen / 'whole' / 'samples.jsonl'
        if whole.exists():
            lines = whole.read_bytes().splitlines(keepends=True)
            (folder / 'samples.jsonl').write_bytes(b''.join(lines[:50]))

    check_full_disk(disk, run, [100 * KB], begin)


def test_samples_of_several_processes(disk, byte_models):
    """Of which each may be the one that has no room, or the one that joins their parts."""
    pytest.importorskip('distributed')

    def run(folder):
        flags = ('--model_name', 'bytes', '--models_dir', byte_models, '--seed', 3)
        more = ('--nsamples', 300, '--batch_size', 50, '--output', folder / 'samples.jsonl')
        workers = ('--workers', 2, '--part_size', 50)
        return disk.run(SRC / 'generate_unconditional_samples.py', *flags, *more, *workers)

    check_full_disk(disk, run, [4 * KB, 40 * KB], lambda folder: folder.mkdir())


def test_scores(disk, byte_models, text):
    def run(folder):
        flags = ('--model_name', 'bytes', '--models_dir', byte_models, text)
        outputs = ('--tokens', folder / 'tokens.jsonl', '--html', folder / 'page.html')
        return disk.run(SRC / 'score.py', *flags, *outputs)

    def begin(folder):
        folder.mkdir()
        (folder / 'tokens.jsonl').write_text('of an earlier run\n')
        (folder / 'page.html').write_text('of an earlier run\n')

    check_full_disk(disk, run, [300 * KB], begin)


def test_zero_shot_results(disk, byte_models, tmp_path):
    data = small_tasks.write_all(tmp_path / 'data')

    def run(folder):
        flags = ('--model_name', 'bytes', '--models_dir', byte_models, '--data_dir', data)
        more = ('--tasks', 'ptb,lambada', '--any_size', '--results_dir', folder)
        return disk.run(SRC / 'zero_shot.py', *flags, *more)

    def values(files):
        tasks = json.loads(files['bytes.json'])['tasks']
        return {task: [m['value'] for m in measures.values()] for task, measures in tasks.items()}

    check_full_disk(disk, run, [0, 8 * KB], content=values)


def test_training(disk, byte_models, text):
    def run(folder):
        flags = ('new', text, '--start', 'bytes', '--models_dir', folder, '--steps', 4)
        more = ('--save_every', 2, '--validate_every', 2, '--batch_size', 2, '--warmup', 1)
        return disk.run(SRC / 'train.py', *flags, *more)

    def begin(folder):
        shutil.copytree(byte_models / 'bytes', folder / 'bytes')

    def losses(files):
        records = map(json.loads, files['new/metrics.jsonl'].splitlines())
        return [{k: v for k, v in r.items() if k != 'tokens_per_second'} for r in records]

    check_full_disk(disk, run, [100 * KB, 300 * KB], begin, losses)


def test_a_corpus(disk, byte_models, text):
    def run(folder):
        flags = ('--model_name', 'bytes', '--models_dir', byte_models)
        return disk.run(SRC / 'encode_corpus.py', folder / 'corpus', text, *flags)

    def begin(folder):
        folder.mkdir()

    check_full_disk(disk, run, [0, 4 * KB, 8 * KB, 12 * KB, 16 * KB], begin)


def test_a_vocabulary(disk, text):
    pytest.importorskip('tokenizers')

    def run(folder):
        flags = ('--n_vocab', 2000, '--models_dir', folder)
        return disk.run(SRC / 'train_encoder.py', 'new', text, *flags)

    check_full_disk(disk, run, [0, 4 * KB, 8 * KB, 12 * KB])


def test_a_random_model(disk, byte_models):
    def run(folder):
        sizes = ('--n_ctx', 64, '--n_embd', 32, '--n_head', 2, '--n_layer', 2)
        flags = ('--vocabulary', byte_models / 'bytes', '--models_dir', folder, *sizes)
        return disk.run(SRC / 'make_random_model.py', 'new', *flags)

    check_full_disk(disk, run, [60 * KB])


DOWNLOADER = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from downloads import fetch
from support import command_line

def download(url: str, path: str, sha256: str):
    fetch.fetch(fetch.RemoteFile(url, path, sha256=sha256))

command_line.run(download)
"""


def test_a_download(disk, tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    content = bytes(range(256)) * 4 * 500
    script = tmp_path / 'downloader.py'
    script.write_text(DOWNLOADER)
    served = tmp_path / 'served'
    served.mkdir()
    (served / 'file').write_bytes(content)

    def begin(folder):
        folder.mkdir()
        (folder / 'file').write_bytes(b'an older version')

    with web_server(served) as (address, _):

        def run(folder):
            flags = (f'{address}/file', folder / 'file', hashlib.sha256(content).hexdigest())
            return disk.run(script, SRC, *flags)

        check_full_disk(disk, run, [0, 4 * KB, 100 * KB, 400 * KB], begin)


def test_what_only_saves_time_is_done_without(disk, byte_models):
    """The file of int8 weights beside a checkpoint."""
    shutil.copytree(byte_models / 'bytes', disk.seen / 'models' / 'bytes')
    before = disk.files('models')
    flags = ('--model_name', 'bytes', '--models_dir', disk.folder / 'models', '--dtype', 'int8')
    disk.fill(0)
    result = disk.run(SRC / 'generate_unconditional_samples.py', *flags, '--nsamples', 1)
    assert (result.returncode, result.stderr) == (0, '')
    assert disk.files('models') == before


def test_standard_output(disk, byte_models):
    flags = ('--model_name', 'bytes', '--models_dir', byte_models, '--nsamples', 40)
    disk.fill(4 * KB)
    with open(disk.seen / 'samples.txt', 'wb') as file:
        result = disk.run(SRC / 'generate_unconditional_samples.py', *flags, stdout=file)
    assert result.returncode == 2
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1
    assert 'No space left on device' in result.stderr and 'standard output' in result.stderr
