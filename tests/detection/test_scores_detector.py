"""The choice of the strength of regularisation, with features that are made up."""

import numpy as np
import pytest

from detection import features, logistic, scores_detector

N = len(features.NAMES)


def test_validation_texts_choose_the_strength_by_auroc(monkeypatch):
    """Weights of one strength have the right sign; texts without tokens are left out."""

    def features_of_texts(scorer, texts, progress=None):
        return np.array([[np.nan] * N if not text else [len(text)] * N for text in texts], float)

    def fit(x, labels, strength):
        assert len(x) == len(labels) == 3 and not np.isnan(x).any()
        sign = 1 if strength == pytest.approx(1e-2) else -1
        return logistic.Weights(np.zeros(N), np.ones(N), np.full(N, sign / N), -2.5)

    monkeypatch.setattr(scores_detector, 'features_of_texts', features_of_texts)
    monkeypatch.setattr(logistic, 'fit', fit)
    train = ['a', '', 'aaa', 'aaaa'], [0, 0, 1, 1]
    valid = ['a', 'aa', 'aaaa', ''], [0, 0, 1, 1]
    detector, how = scores_detector.fit('a scorer', *train, *valid)
    assert how == {'strength': 1e-2, 'valid_accuracy': 1, 'valid_auroc': 1}
    scores = detector.scores(['aaa', ''])
    assert scores[0] == pytest.approx(0.5) and np.isnan(scores[1])
