"""int8 weights kept in a file: made once, and again where the file is not right."""

import functools
import os
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from fast import int8, int8_file, restore
from fast.session import session_config
from helpers.int8 import NAMES, load, write_checkpoint
from helpers.paths import ROOT
from support.files import lock


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(restore, 'WORTH_CACHING', 1)
    path = str(tmp_path / 'model.ckpt')
    write_checkpoint(path, seed=0)
    return path


@pytest.fixture
def made(monkeypatch):
    """The shapes that are quantized, as it happens."""
    made = []
    real = int8.quantize

    def quantize(values):
        made.append(values.shape)
        return real(values)

    monkeypatch.setattr(int8, 'quantize', quantize)
    return made


def same(some, others):
    return all(
        np.array_equal(one, other)
        for pair in zip(some, others, strict=True)
        for one, other in zip(*pair, strict=True)
    )


def kept(path):
    return sorted(name for name in os.listdir(os.path.dirname(path)) if '.int8' in name)


def test_weights_are_quantized_once(path, made):
    first = load(path)
    assert made == [(32, 24)] * 2 and kept(path) == ['model.ckpt.int8']
    assert same(first, load(path)) and len(made) == 2


def test_shards_have_a_file_of_their_own(path, made):
    """Else scoring and generating with the same model would replace each other's."""

    shards = functools.partial(int8.ShardedInt8Matrix, heads=[1, 1])
    whole, by_shards = load(path), load(path, shards)
    assert kept(path) == ['model.ckpt.int8', 'model.ckpt.int8-1+1']
    n_made = len(made)
    assert same(whole, load(path)) and same(by_shards, load(path, shards))
    assert len(made) == n_made


def test_other_weights_are_quantized_again(path, made):
    first = load(path)
    write_checkpoint(path, seed=1)
    second = load(path)
    assert len(made) == 4 and not same(first, second)
    assert same(second, load(path)) and len(made) == 4


def test_weights_that_another_version_quantized_are_quantized_again(path, made, monkeypatch):
    load(path)
    monkeypatch.setattr(int8_file, 'FORMAT', int8_file.FORMAT + 1)
    load(path)
    assert len(made) == 4


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: b'',
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: flip(content, 300),
        lambda content: flip(content, len(content) // 2),
        lambda content: flip(content, content.rindex(b'PK\x01\x02') + 8),  # "encrypted"
        lambda content: flip(content, content.rindex(b'PK\x01\x02') + 10),  # "compressed"
        lambda content: content.replace(b'PK\x01\x02\x14\x03\x14', b'PK\x01\x02\x14\x03\x54'),
        lambda content: content.replace(b'c_proj/w/1.npy', b'c_proj/w/2.npy'),
        lambda content: content.replace(b'b/c_proj/w/', b'c/c_proj/w/'),
    ],
    ids=[
        'empty',
        'half',
        'short',
        'array',
        'middle',
        'encrypted',
        'method',
        'version',
        'number',
        'name',
    ],
)
def test_a_damaged_file_is_made_again(path, made, damage):
    first = load(path)
    with open(path + '.int8', 'rb') as file:
        content = file.read()
    damaged = damage(content)
    assert damaged != content
    with open(path + '.int8', 'wb') as file:
        file.write(damaged)
    assert same(first, load(path)) and len(made) == 4
    with open(path + '.int8', 'rb') as file:
        assert file.read() != damaged
    assert same(first, load(path)) and len(made) == 4


@pytest.mark.skipif(not os.path.exists('/proc/self/maps'), reason='Linux tells what is mapped')
def test_values_stay_in_the_file_which_may_be_deleted(path):
    first = load(path)
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        loaded = [int8.Int8Matrix(name, [1, 24, 32]) for name in NAMES]
        restore.load(session, path, tf.train.load_checkpoint(path), loaded)
        assert path + '.int8' in mapped()
        os.remove(path + '.int8')
        assert same(first, [session.run(matrix.variables) for matrix in loaded])
        assert path + '.int8 (deleted)' in mapped()
    assert path + '.int8' not in mapped()


def mapped():
    with open('/proc/self/maps', encoding='utf-8') as file:
        return file.read()


def test_arrays_begin_where_tensorflow_can_use_them(path):
    load(path)
    with int8_file.Cache(path).reading() as places:
        offsets = [place.offset for name in NAMES for place in places(name)]
    assert len(offsets) == 4 and not any(offset % 64 for offset in offsets)
    with zipfile.ZipFile(path + '.int8') as archive:
        assert archive.testzip() is None


def test_a_large_array_is_compared_to_its_end(tmp_path):
    path = str(tmp_path / 'model.ckpt')
    write_checkpoint(path, seed=0)
    writer = int8_file.Writer(int8_file.Cache(path))
    writer.add('large', [np.zeros(100_000, np.int8)])
    writer.finish()
    with int8_file.Cache(path).reading() as places:
        (place,) = places('large')
        assert not int8_file.Cache(path).array(place).any()
    with open(path + '.int8', 'r+b') as file:
        file.seek(place.offset + 99_999)
        file.write(b'x')
    with pytest.raises(zipfile.BadZipFile), int8_file.Cache(path).reading() as places:
        places('large')


@pytest.mark.parametrize('method', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_compressed_file_is_made_again(path, made, method):
    first = load(path)
    with zipfile.ZipFile(path + '.int8') as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path + '.int8', 'w', method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert same(first, load(path)) and len(made) == 4


def test_a_file_that_is_replaced_meanwhile_is_not_used(path, made, monkeypatch):
    """By that of other weights, between checking and mapping."""
    first = load(path)
    write_checkpoint(path, seed=1)
    second = load(path)
    os.replace(path + '.int8', path + '.other')
    write_checkpoint(path, seed=0)
    assert same(first, load(path)) and len(made) == 6
    real = restore.map_values

    def map_values(*arguments):
        if os.path.exists(path + '.other'):
            os.replace(path + '.other', path + '.int8')
        real(*arguments)

    monkeypatch.setattr(restore, 'map_values', map_values)
    assert same(first, load(path)) and not same(first, second)


@pytest.mark.parametrize('fault', ['deleted', 'mapping'])
def test_what_cannot_be_mapped_is_in_memory(path, monkeypatch, fault):
    first = load(path)
    real = restore.map_values

    def map_values(session, name, pairs):
        if fault == 'deleted':
            os.remove(name)
            with open(name, 'wb'):
                pass
        real(session, name if fault == 'deleted' else os.path.dirname(path), pairs)

    monkeypatch.setattr(restore, 'map_values', map_values)
    assert same(first, load(path))


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such files')
@pytest.mark.parametrize('make', [os.mkfifo, lambda path: os.symlink('/dev/zero', path)])
def test_what_never_ends_is_not_read(path, made, make):
    make(path + '.int8')
    first = load(path)
    assert os.path.isfile(path + '.int8') and same(first, load(path)) and len(made) == 2


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such files')
def test_a_link_at_the_unfinished_file_is_not_followed(path, tmp_path):
    (tmp_path / 'precious').write_bytes(b'whole')
    os.symlink(tmp_path / 'precious', path + '.int8.new')
    load(path)
    assert (tmp_path / 'precious').read_bytes() == b'whole' and not os.path.exists(path + '.int8')


def test_small_models_keep_nothing(path, monkeypatch):
    monkeypatch.setattr(restore, 'WORTH_CACHING', 2 * 24 * 32 + 1)
    load(path)
    assert kept(path) == []


def test_only_one_process_writes(path, made):
    with open(path + '.int8.new', 'wb') as other:
        lock(other)
        other.write(bytes(100_000))
        other.flush()
        load(path)
        assert os.path.getsize(other.name) == 100_000 and not os.path.exists(path + '.int8')
    load(path)  # after it was killed
    assert kept(path) == ['model.ckpt.int8'] and len(made) == 4
    load(path)
    assert len(made) == 4


def test_where_nothing_can_be_written_nothing_is(path):
    os.mkdir(path + '.int8.new')
    first = load(path)
    os.rmdir(path + '.int8.new')
    assert kept(path) == [] and same(first, load(path))


@pytest.mark.parametrize('writable', [True, False])
def test_an_interruption_leaves_nothing(path, monkeypatch, writable):
    def interrupted(values):
        raise KeyboardInterrupt

    if not writable:
        os.mkdir(path + '.int8.new')
    monkeypatch.setattr(int8, 'quantize', interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(path)
    assert kept(path) == [] if writable else ['model.ckpt.int8.new']


def test_a_file_that_appears_meanwhile_is_not_written_to(path, monkeypatch):
    """Another process lets go of the lock between our opening and locking the same file."""
    new = open(path + '.int8.new', 'wb')
    new.write(b'whole')
    new.close()
    monkeypatch.setattr(int8_file, 'lock', lambda file: os.replace(new.name, path + '.int8'))
    load(path)
    with open(path + '.int8', 'rb') as file:
        assert file.read() == b'whole'


@pytest.mark.skipif(os.name == 'nt', reason='limits on files are of POSIX')
@pytest.mark.parametrize('limit', [100, 2500])
def test_a_full_disk_is_not_the_models_fault(path, limit):
    """Files may grow to `limit` bytes only, which ends writing at different places."""
    code = f"""
        import resource, signal
        from fast import restore
        from helpers.int8 import load
        restore.WORTH_CACHING = 1
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        print(len(load({path!r})))
    """
    answer = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, (ROOT / 'src', ROOT / 'tests')))},
        stdout=subprocess.PIPE,
        encoding='utf-8',
        check=True,
    )
    assert answer.stdout == '2\n'
    assert kept(path) == []
