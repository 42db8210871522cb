import json
import shutil

import numpy as np
import pytest

from detection.detector import open_detector, save_detector
from detection.labelled import Pairs
from detection.network import Network
from detection.network_detector import NetworkDetector, batches
from encoder import get_encoder
from helpers import numpy_gpt2
from hparams import read_hparams

TEXTS = ['The whale swims.', 'x', '', 'A longer text, which ' * 10, 'Another one of some length']


@pytest.fixture(scope='module')
def trained(byte_models, tmp_path_factory):
    """A folder of a detector whose head has random weights."""
    import tensorflow.compat.v1 as tf

    from detection.network import log_odds
    from training.classifier import Classifier
    from training.plan import TrainingPlan

    start = byte_models / 'bytes'
    hparams = read_hparams(str(start / 'hparams.json'))
    plan = TrainingPlan.classifying(2, 64, epochs=1, batch_size=2, learning_rate=1e-3, seed=0)
    out = tmp_path_factory.mktemp('detectors') / 'network'
    with Classifier(hparams, plan, log_odds, str(start / 'model.ckpt')) as classifier:
        head = {v.op.name: v for v in classifier.variables if v.op.name.startswith('detector/')}
        assert {name: v.shape.as_list() for name, v in head.items()} == {
            'detector/w': [16],
            'detector/b': [],
        }
        random = np.random.default_rng(0)
        head['detector/w'].load(random.normal(size=16), classifier.session)
        head['detector/b'].load(0.25, classifier.session)
        encoder = get_encoder('bytes', str(byte_models))
        detector = NetworkDetector(classifier, hparams, encoder, str(start))
        pairs = [Pairs('m', TEXTS[:2], TEXTS[3:])]
        description = {'model': 'bytes', 'fingerprint': 'f', 'trained': {}}
        save_detector(detector, str(out), TEXTS, pairs, description)
        scores = detector.scores(TEXTS)
    assert tf.trainable_variables() == []  # all in graphs of their own
    return out, scores


def oracle(weights, tokens, n_head=2):
    """The log-odds of tokens in NumPy: the logits of the tied head give the hidden state."""
    wte = np.asarray(weights['model/wte'], np.float64)
    model = {k: v for k, v in weights.items() if k.startswith('model/')}
    logits = numpy_gpt2.logits(model, tokens, n_head)[-1]
    hidden = np.linalg.lstsq(wte, logits, rcond=None)[0]  # 257 equations for 16 numbers
    return hidden @ weights['detector/w'] + weights['detector/b']


def test_scores_are_those_of_numpy_as_far_as_the_context_reaches(trained, byte_models):
    folder, scores = trained
    encoder = get_encoder('bytes', str(byte_models))
    weights = numpy_gpt2.load_weights(folder / 'network')
    for text, score in zip(TEXTS, scores, strict=True):
        tokens = [encoder.end_of_text, *encoder.encode(text)][:64]
        expected = oracle(weights, tokens) if text else np.nan
        assert score == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_a_saved_network_scores_the_same(trained):
    folder, scores = trained
    with open_detector(str(folder)) as detector:
        assert detector.scores(TEXTS) == pytest.approx(scores, abs=1e-6, nan_ok=True)
        assert detector.most_tokens == 63 and detector.kind == 'network'
        alone = [detector.scores([text])[0] for text in TEXTS]
        assert alone == pytest.approx(list(scores), abs=1e-5, nan_ok=True)
        done = []
        detector.scores(TEXTS, progress=done.append)
        assert sum(done) == len(TEXTS)


def test_damaged_weights_are_refused(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / 'copy')
    data = folder / 'network.data-00000-of-00001'
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(ValueError, match='data-00000-of-00001 is not what was written'):
        open_detector(str(folder))
    hparams = json.loads((folder / 'hparams.json').read_text()) | {'n_layer': 3}
    path = tmp_path / 'hparams.json'
    path.write_text(json.dumps(hparams))
    with pytest.raises(ValueError, match='has 2 layers .*; train it again'):
        Network(read_hparams(str(path)), str(trained[0] / 'network'))


def test_rows_that_are_read_together_are_of_about_one_length():
    parts = list(batches([5, 4000, 100, 3000, 5]))
    assert [list(part) for part in parts][:2] == [[1], [3]]
    assert sorted(np.concatenate(parts)) == [0, 1, 2, 3, 4]
