"""A detector whose scores are known."""

import numpy as np

from detection.detector import Detector


class StubDetector(Detector):
    """Gives a text its first feature, the mean log-probability, plus 5; or its length, by 100.

    read: the texts that it was given as such.
    """

    human_scores = np.arange(-3.0, 1, 0.5)  # 8 texts
    threshold = 0.4
    most_tokens = None

    def __init__(self, kind='scores'):
        self.kind, self.read = kind, []

    def log_odds(self, values):
        assert self.kind == 'scores'
        return values[:, 0] + 5

    def scores(self, texts, progress=None):
        assert self.kind != 'scores'
        self.read += texts
        return np.array([len(text) / 100 for text in texts])

    save = load = None
