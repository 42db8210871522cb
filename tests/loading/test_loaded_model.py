import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from generation.continuous import Request
from generation.engine import Engine
from helpers import numpy_gpt2
from hparams import read_hparams
from loading import checkpoint
from loading.loaded_model import LoadedModel
from loading.session import SessionOwner
from scoring.scorer import Scorer
from support.settings import Settings


class Logits(SessionOwner):
    """The smallest session of a model: tokens in, logits out."""

    def __init__(self, model_name, models_dir, encoder=None):
        loaded = LoadedModel(model_name, models_dir, encoder)
        self.hparams, self.encoder = loaded.hparams, loaded.encoder
        with tf.Graph().as_default():
            self.tokens = tf.placeholder(tf.int32, [None, None])
            self.logits = model.model(self.hparams, self.tokens)['logits']
            self.session = tf.Session()
            loaded.restore(self.session)


def test_the_weights_are_those_of_the_folder(models_dir):
    tokens = [15, 95, 464]
    with Logits('demo', str(models_dir)) as session:
        [logits] = session.session.run(session.logits, {session.tokens: [tokens]})
        assert session.hparams == read_hparams(models_dir / 'demo' / 'hparams.json')
        assert session.encoder.n_vocab == session.hparams.n_vocab
    weights = numpy_gpt2.load_weights(models_dir / 'demo' / 'model.ckpt')
    expected = numpy_gpt2.logits(weights, tokens, n_head=6)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_a_tokenizer_that_has_been_loaded_is_not_loaded_again(models_dir, monkeypatch):
    with Logits('demo', str(models_dir)) as session:
        encoder = session.encoder
    monkeypatch.setattr('loading.model_files.load_encoder', None)
    with Logits('demo', str(models_dir), encoder) as session:
        assert session.encoder is encoder


def test_a_model_that_is_not_there_is_refused(models_dir):
    with pytest.raises(ValueError, match="there is no model 'nothing'"):
        Logits('nothing', str(models_dir))


def test_a_vocabulary_of_another_size_is_refused(models_dir, tmp_path):
    shutil.copytree(models_dir / 'tiny', tmp_path / 'odd')
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(models_dir / 'demo' / name, tmp_path / 'odd')
    message = '4096 tokens in encoder.json but n_vocab=50257 in hparams.json; there is no other;'
    with pytest.raises(ValueError, match=message):
        Logits('odd', str(tmp_path))


@pytest.fixture(scope='module')
def spoilt(byte_models, tmp_path_factory):
    """A models folder: {name: (tensor, number)}, models each with one weight that is no number."""
    folder = tmp_path_factory.mktemp('spoilt')
    reader = tf.train.load_checkpoint(str(byte_models / 'bytes' / 'model.ckpt'))
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for name, (tensor, number) in SPOILT.items():
        shutil.copytree(byte_models / 'bytes', folder / name)
        with tf.Graph().as_default(), tf.Session() as session:
            for other, value in values.items():
                value = value.copy()
                if other == tensor:
                    value.flat[-1] = number
                tf.get_variable(other, initializer=value)
            session.run(tf.global_variables_initializer())
            checkpoint.save(session, str(folder / name), tf.global_variables())
    return folder


SPOILT = {
    'embedding': ('model/wte', -np.inf),
    'attention': ('model/h1/attn/c_attn/w', np.nan),
}
KINDS = {
    'whole': {'n_shards': 1},
    'shards': {'n_shards': 2},
    'bfloat16': {'dtype': 'bfloat16'},
    'int8': {'dtype': 'int8'},
    'plain': {'fast': False},
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', SPOILT)
def test_weights_that_are_no_numbers_generate_nothing(spoilt, name, kind):
    message = f'{name}/model.ckpt holds NaN or infinity in {SPOILT[name][0]}; there are: '
    with Engine(name, str(spoilt), **KINDS[kind]) as engine:
        with pytest.raises(ValueError, match=message):
            engine.generate([[1, 2]], Settings(length=3))


@pytest.mark.parametrize('name', SPOILT)
def test_nor_do_rows_that_join_and_leave(spoilt, name):
    with Engine(name, str(spoilt), n_shards=1) as engine:
        with pytest.raises(ValueError, match=f'NaN or infinity in {SPOILT[name][0]}; there are: '):
            list(engine.complete([Request([1, 2])], Settings(length=3)))


@pytest.mark.parametrize('kind', ['whole', 'int8'])
@pytest.mark.parametrize('name', SPOILT)
def test_weights_that_are_no_numbers_score_nothing(spoilt, name, kind):
    how = {key: value for key, value in KINDS[kind].items() if key != 'n_shards'}
    with Scorer(name, str(spoilt), **how) as scorer:
        with pytest.raises(ValueError, match=f'NaN or infinity in {SPOILT[name][0]}; there are: '):
            scorer.score_document([1, 2, 3])


@pytest.mark.slow
@pytest.mark.skipif(not tf.test.is_built_with_xla(), reason='this TensorFlow has no XLA')
def test_compiled_steps_notice_it_too(spoilt):
    with Engine('attention', str(spoilt)) as engine:
        engine.compiled = True
        with pytest.raises(ValueError, match='holds NaN or infinity in'):
            engine.generate([[1]], Settings(length=3))


def test_logits_that_overflow_are_not_blamed_on_a_weight(models_dir):
    with Scorer('demo', str(models_dir), fast=False) as scorer:
        wte = [v for v in scorer.graph.get_collection('trainable_variables') if 'wte' in v.name]
        wte[0].load(np.full(wte[0].shape, 3e38, np.float32), scorer.session)
        with pytest.raises(ValueError, match='logits are NaN or infinite: the weights are too'):
            scorer.score_document([1, 2, 3])


def test_damaged_weights_leave_no_session_open(models_dir, tmp_path, monkeypatch):
    shutil.copytree(models_dir / 'demo', tmp_path / 'torn')
    with open(tmp_path / 'torn' / 'model.ckpt.data-00000-of-00001', 'r+b') as file:
        file.truncate(1000)
    sessions, session = [], tf.Session
    monkeypatch.setattr(tf, 'Session', lambda: sessions.append(session()) or sessions[-1])
    with pytest.raises(ValueError, match='truncated.*; there is no other;'):
        Logits('torn', str(tmp_path))
    with pytest.raises(RuntimeError, match='closed'):
        sessions[0].run([])
