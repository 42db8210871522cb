import functools
import os
import re
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
        loaded = {
            name: getattr(weight, 'integers', weight) for name, weight in stored.loaded.items()
        }
        return session.run({name: weight.values for name, weight in loaded.items()})


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


def test_what_optimizers_save_beside_a_model_is_passed_over(tmp_path):
    """As TensorFlow names it: slots, powers and a step counter."""
    makers = [
        tf.train.AdamOptimizer,
        tf.train.RMSPropOptimizer,
        tf.train.AdagradOptimizer,
        tf.train.AdadeltaOptimizer,
        tf.train.FtrlOptimizer,
        tf.train.ProximalAdagradOptimizer,
        lambda rate: tf.train.AdagradDAOptimizer(rate, tf.train.get_global_step()),
        functools.partial(tf.train.MomentumOptimizer, momentum=0.9),
    ]
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(f'model/{name}', [3]) for name in ('wte', 'h0/ln_1/g')]
        for make in makers:
            with tf.name_scope('train'):
                gradients = [(tf.ones_like(v), v) for v in variables]
                step = tf.train.get_or_create_global_step()
                make(0.1).apply_gradients(gradients, step)
        session.run(tf.global_variables_initializer())
        checkpoint.save(session, str(tmp_path), tf.global_variables())
        expected = session.run(variables)
        path = str(tmp_path / 'model.ckpt')
        saved = set(tf.train.load_checkpoint(path).get_variable_to_shape_map())
        assert {'global_step', 'train/beta1_power', 'model/wte/Adam', 'model/wte/Ftrl_1'} < saved
        session.run([v.assign(tf.zeros_like(v)) for v in variables])
        checkpoint.restore(session, path, variables)
        np.testing.assert_array_equal(session.run(variables), expected)


@pytest.mark.parametrize(
    'name', ['model/wte/Other', 'model/wte2/Adam', 'model/wte/Adam_b', 'Adam', 'step', 'my_power']
)
def test_other_tensors_than_slots_are_refused(name):
    assert not checkpoint.is_of_training(name, {'model/wte': None})


@pytest.mark.parametrize(
    'name',
    [
        'model/wte/adam_m',
        'train/model/wte/AdamW_1',
        'a/global_step_1',
        'current_loss_scale',
        'model/wte/ExponentialMovingAverage',
    ],
)
def test_slots_of_other_libraries_are_known(name):
    assert checkpoint.is_of_training(name, {'model/wte': None})


@pytest.mark.parametrize('name', ['[ab] *?', os.fsdecode(b'back\\slash \xe9')])
@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such names')
def test_any_name_of_a_folder_will_do(folder, monkeypatch, name):
    """TensorFlow takes paths for patterns, which do not fit themselves."""
    monkeypatch.setattr('fast.restore.WORTH_CACHING', 1)
    reader = tf.train.load_checkpoint(str(folder / 'model.ckpt'))
    values = {key: reader.get_tensor(key) + 1 for key in reader.get_variable_to_shape_map()}
    place = folder.rename(folder.parent / name)
    write(place, values)
    for key, value in restore(place).items():
        np.testing.assert_array_equal(value, values[key])
    restore(place, 'int8')
    assert (place / 'model.ckpt.int8').exists()
    with pytest.raises(ValueError, match=re.escape(f'{place}/model.ckpt holds 40 (')):
        checkpoint.restore(None, f'{place}/model.ckpt', [])


@pytest.mark.parametrize('name', ['model[1]', 'model\\1'])
@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such names')
def test_a_name_of_weights_that_tensorflow_cannot_read_is_refused(folder, name):
    with pytest.raises(ValueError, match=f"because of the {re.escape(repr(name[5]))} in 'model"):
        checkpoint.check_sizes(str(folder / name), read_hparams(folder / 'hparams.json'))


@pytest.mark.parametrize(
    'sizes, message',
    [
        ({'n_layer': 20_000}, 'has 3 layers where the hyperparameters ask for 20000; REMEDY'),
        ({'n_embd': 6 * 10**8}, r'holds nothing as large as n_embd 600000000 of the model; REMEDY'),
        ({'n_vocab': 10**9}, r'nothing as large as n_vocab 1000000000 .*; REMEDY'),
        ({'n_ctx': 10**15}, r'nothing as large as n_ctx 1000000000000000 .*; REMEDY'),
    ],
)
def test_sizes_are_compared_before_a_graph_is_built(folder, sizes, message):
    path, hparams = weights(str(folder)), read_hparams(folder / 'hparams.json')
    checkpoint.check_sizes(path, hparams)
    hparams.override_from_dict(sizes)
    with pytest.raises(ValueError, match=message):
        checkpoint.check_sizes(path, hparams, 'REMEDY')


def test_sizes_of_an_edited_model_are_not_guessed(folder):
    """It may factor an embedding, have none of positions, or share one layer's weights."""
    for values in (
        {'model/embedding': np.zeros([2, 2], np.float32)},
        {
            'model/wte': np.zeros([97, 8], np.float32),
            'model/h0/mlp/c_fc/w': np.zeros([1, 24, 96], np.float32),
        },
    ):
        write(folder, values)
        checkpoint.check_sizes(weights(str(folder)), read_hparams(folder / 'hparams.json'))


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
    # Less than a second copy of the weights; the rest is mostly the graph. Less than one where what
    # importing took and gave back is used again.
    assert 0.6 * weights <= kilobytes * 1024 < 1.5 * weights


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
