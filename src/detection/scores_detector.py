"""The detector that weighs what a model says of a text: logistic regression on its scores.

OpenAI's report of 2019 named it as the next step ("binning per-token log-probabilities"). The
features are those of features.py, read in one forward pass; TensorFlow is loaded by that alone.
"""

import json
import os

import numpy as np

from detection import features, logistic, metrics
from detection.detector import Detector, check_model, damaged
from loading.model_files import fingerprint
from scoring.start import start_scorer
from support.files import open_named

STRENGTHS = [10.0**power for power in range(-6, 1)]
NAMES, WEIGHTS = 'features.json', 'weights.npz'


class ScoresDetector(Detector):
    """Log-odds of the features of a text under one model.

    weights: logistic.Weights, of features.NAMES.
    scorer: an open Scorer.  owned: whether to close it with the detector.
    """

    kind = 'scores'

    def __init__(self, weights, scorer, owned=False):
        self.weights, self.scorer, self.owned = weights, scorer, owned

    def log_odds(self, values):
        """The scores of texts by their features [texts, len(features.NAMES)]; NaN for NaN."""
        return self.weights.log_odds(np.asarray(values, np.float64))

    def scores(self, texts, progress=None):
        return self.log_odds(features_of_texts(self.scorer, texts, progress))

    def save(self, folder):
        with open_named(os.path.join(folder, NAMES)) as file:
            json.dump(features.NAMES, file)
        np.savez(os.path.join(folder, WEIGHTS), **self.weights._asdict())

    @classmethod
    def load(cls, folder, info, models_dir, scorer):
        with open(os.path.join(folder, NAMES), encoding='utf-8') as file:
            if json.load(file) != list(features.NAMES):
                raise damaged(folder, 'its features are those of another version of this code')
        with np.load(os.path.join(folder, WEIGHTS), allow_pickle=False) as arrays:
            weights = logistic.Weights(**{name: arrays[name] for name in logistic.Weights._fields})
        if scorer is None:
            check_model(folder, info, models_dir)
            return cls(weights, start_scorer(info['model'], models_dir), owned=True)
        if fingerprint(scorer.loaded.folder) != info['fingerprint']:
            raise ValueError(
                f'the detector {folder} was trained with the model {info["model"]!r}, not with '
                f'that in {scorer.loaded.folder}'
            )
        return cls(weights, scorer)

    def close(self):
        if self.owned:
            self.scorer.close()


def features_of_texts(scorer, texts, progress=None):
    """The features of texts, float64 [texts, len(features.NAMES)]; NaN for one without tokens."""
    values = np.full([len(texts), len(features.NAMES)], np.nan)
    for row, (_, scores) in zip(values, features.score_texts(scorer, texts), strict=True):
        if scores is not None:
            row[:] = features.features_of(scores)
        if progress:
            progress(1)
    return values


def fit(scorer, texts, labels, valid_texts, valid_labels, progress=None):
    """Fit a ScoresDetector, which owns the scorer; return it and a dict that says how.

    labels: [texts], 0 human and 1 machine.  progress: called with the number of texts done.
    `valid_texts` choose the strength of regularisation by AUROC, of equals by cross-entropy. So it
    does not count if log-odds are all too high or too low, as where the model has read the human
    texts of training before, and not those of validation. Texts without tokens are left out.
    """
    x, y = with_tokens(features_of_texts(scorer, texts, progress), labels)
    valid_x, valid_y = with_tokens(features_of_texts(scorer, valid_texts, progress), valid_labels)

    def tried(strength):
        weights = logistic.fit(x, y, strength)
        log_odds = weights.log_odds(valid_x)
        auroc = metrics.auroc(log_odds[valid_y == 0], log_odds[valid_y == 1])
        return auroc, -logistic.cross_entropy(log_odds, valid_y), strength, weights

    auroc, _, strength, weights = max(map(tried, STRENGTHS), key=lambda found: found[:2])
    detector = ScoresDetector(weights, scorer, owned=True)
    accuracy = float(((detector.log_odds(valid_x) > 0) == valid_y).mean())
    return detector, {'strength': strength, 'valid_accuracy': accuracy, 'valid_auroc': auroc}


def with_tokens(values, labels):
    """Features and labels of the texts that have tokens."""
    there = ~np.isnan(values[:, 0])
    return values[there], np.asarray(labels)[there]
