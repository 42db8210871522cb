import os
import shutil
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from fast import DTYPES, Stored
from helpers.paths import REFERENCE, ROOT
from hparams import HParams, read_hparams
from loading import checkpoint
from loading.model_files import weights


@pytest.fixture
def folder(tmp_path):
    """A copy of the micro model that a test may damage."""
    return shutil.copytree(REFERENCE / 'micro', tmp_path / 'micro')


def restore(folder, dtype='float32', **changes):
    """Build the folder's model, with changed sizes if any, and restore it."""
    sizes = read_hparams(folder / 'hparams.json').values() | changes
    with tf.Graph().as_default(), tf.Session() as session:
        stored = Stored(dtype)
        with seam.carried_out_by(stored):
            model.model(HParams(**sizes), tf.zeros([1, 1], tf.int32))
        checkpoint.restore(session, weights(str(folder)), [], 'REMEDY', stored)
        return session.run({name: weight.values for name, weight in stored.loaded.items()})


def write(folder, values):
    """Overwrite the folder's checkpoint by one that holds these arrays."""
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=value)
        session.run(tf.global_variables_initializer())
        checkpoint.save(session, str(folder), tf.global_variables())


def test_a_checkpoint_of_2019_restores_whole(folder):
    values = restore(folder)
    reader = tf.train.load_checkpoint(str(folder / 'model.ckpt'))
    assert values.keys() == reader.get_variable_to_shape_map().keys()
    for name, value in values.items():
        np.testing.assert_array_equal(value, reader.get_tensor(name))


def test_what_is_saved_restores_in_the_released_layout(folder):
    values = {name: value + 1 for name, value in restore(folder).items()}
    for file in folder.glob('model.ckpt.*'):
        file.unlink()
    write(folder, values)
    names = {path.name for path in folder.glob('*')}
    assert names >= {'checkpoint', 'model.ckpt.index', 'model.ckpt.data-00000-of-00001'}
    state = (folder / 'checkpoint').read_text()
    assert state == (REFERENCE / 'micro' / 'checkpoint').read_text()
    for name, value in restore(folder).items():
        np.testing.assert_array_equal(value, values[name])


def test_a_missing_tensor_is_named(folder):
    values = restore(folder)
    del values['model/h1/ln_2/g']
    write(folder, values)
    with pytest.raises(ValueError, match=r'lacks 1 \(model/h1/ln_2/g\) of 40 tensors; REMEDY'):
        restore(folder)


def test_an_extra_tensor_is_named(folder):
    with pytest.raises(
        ValueError, match=r'holds 12 \(model/h2/attn/c_attn/b, .*\.\.\.\) tensors .*; REMEDY'
    ):
        restore(folder, n_layer=2)


def test_a_misshapen_tensor_is_named_with_both_shapes(folder):
    with pytest.raises(ValueError, match=r'wte with shape \[97, 24\] .* \[98, 24\]; REMEDY'):
        restore(folder, n_vocab=98)


def test_another_type_is_refused(folder):
    values = restore(folder)
    values['model/wpe'] = values['model/wpe'].astype(np.float16)
    write(folder, values)
    with pytest.raises(ValueError, match='wpe as float16, not float32'):
        restore(folder)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('kept', [0, 1000, -1])
def test_a_truncated_file_is_one_line_with_the_remedy(folder, kept, dtype):
    data = folder / 'model.ckpt.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(ValueError, match='truncated.*REMEDY') as caught:
        restore(folder, dtype)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_flipped_bit_is_noticed(folder, dtype):
    data = folder / 'model.ckpt.data-00000-of-00001'
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(ValueError, match='damaged.*REMEDY'):
        restore(folder, dtype)


def test_too_little_memory_is_not_called_damage(folder, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')

    monkeypatch.setattr('fast.restore.read', exhausted)
    with pytest.raises(ValueError, match='not enough memory') as caught:
        restore(folder)
    assert 'REMEDY' not in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'\xff' * 500])
def test_a_damaged_index_is_noticed(folder, content):
    (folder / 'model.ckpt.index').write_bytes(content)
    with pytest.raises(ValueError, match='REMEDY'):
        restore(folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='ru_maxrss has another unit elsewhere')
def test_loading_a_full_size_124m_takes_little_more_memory_than_its_weights(
    tmp_path, run_script, gpt2_vocabulary
):
    flags = ['--vocabulary', gpt2_vocabulary, '--models_dir', tmp_path]
    run_script('src/make_random_model.py', '124M', *flags).check_returncode()
    program = tmp_path / 'load.py'
    program.write_text(LOAD.format(src=str(ROOT / 'src'), models_dir=str(tmp_path)))
    kilobytes = int(run_script(program).stdout)
    weights = os.path.getsize(tmp_path / '124M' / 'model.ckpt.data-00000-of-00001')
    # Less than a second copy of the weights; the rest is mostly the graph. A little less than one
    # where what importing took and gave back is used again.
    assert 0.8 * weights <= kilobytes * 1024 < 1.5 * weights


LOAD = """
import resource, sys
sys.path.insert(0, {src!r})
from generation.engine import Engine
from support.settings import Settings
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with Engine('124M', {models_dir!r}) as engine:
    engine.generate([[1]], Settings(length=2))
print(peak() - before)
"""


def test_a_full_disk_is_not_taken_for_lack_of_memory():
    message = (
        "Graph execution error:\n\nDetected at node 'save/SaveV2' defined at:\n"
        "Node: 'save/SaveV2'\nx.data-00000-of-00001.tempstate99; No space left on device\n"
        '\t [[{{node save/SaveV2}}]]\nHint: If you want to see a list of allocated tensors when '
        'OOM happens, add report_tensor_allocations_upon_oom to RunOptions.'
    )
    error = tf.errors.ResourceExhaustedError(None, None, message)
    assert checkpoint.reason(error) == 'No space left on device'
