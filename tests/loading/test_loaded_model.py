import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from helpers import numpy_gpt2
from hparams import read_hparams
from loading.loaded_model import LoadedModel
from loading.session import SessionOwner


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
