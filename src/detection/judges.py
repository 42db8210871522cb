"""What gives texts scores: trained detectors, and scores that need no training. No TensorFlow."""

import hashlib
import os
import typing
from collections.abc import Callable

import numpy as np

from detection import features
from detection.detector import open_detector
from detection.scores_detector import features_of_texts

# The scores that need no training, with the sign by which higher is more machine for a truncated
# sampler. Of pure sampling (t1) the log-probability's is the opposite one (OpenAI 2019).
ZERO_SHOT = {
    'mean_logprob': 1,
    'mean_log_rank': -1,
    'lrr': 1,
    'z': 1,
    'outside_top_40': -1,
    'outside_nucleus_0.9': -1,
}


class Judge(typing.NamedTuple):
    """name: of a score, or of a detector's folder.

    kind: a detector's, or zero-shot.  trained_on: names of sources; none for a zero-shot score.
    by_features: (features [n, len(features.NAMES)]) -> float64 [n], of a judge that shares them.
    by_texts: (list of str, progress) -> float64 [n], of one that reads texts itself.
    """

    name: str
    kind: str
    trained_on: tuple = ()
    by_features: Callable | None = None
    by_texts: Callable | None = None


def zero_shot_names(text):
    """The names in a list with commas between; all of ZERO_SHOT, or none."""
    if text in ('all', 'none'):
        return list(ZERO_SHOT) if text == 'all' else []
    names = [name.strip() for name in text.split(',') if name.strip()]
    if wrong := [name for name in names if name not in ZERO_SHOT]:
        raise ValueError(f'unknown score {wrong[0]!r} (there are: {", ".join(ZERO_SHOT)})')
    return names


def zero_shot(name):
    """The Judge of a score that needs no training."""
    column, sign = features.NAMES.index(name), ZERO_SHOT[name]
    return Judge(name, 'zero-shot', by_features=lambda values: sign * values[:, column])


def names_of(folders):
    """What to call the detectors in folders: by these alone, or by their paths if two are alike."""
    names = [os.path.basename(os.path.abspath(folder)) for folder in folders]
    return names if len(set(names)) == len(names) else list(folders)


def trained(name, folder, models_dir, scorer, stack):
    """The Judge of a detector's folder.

    name: of the judge.  scorer: an open Scorer of its model to share, or None.
    stack: ExitStack that closes it.
    """
    detector = stack.enter_context(open_detector(folder, models_dir, scorer))
    judge = Judge(name, detector.kind, tuple(detector.info['trained'].get('machine', ())))
    if scorer is not None:
        return judge._replace(by_features=detector.log_odds)
    return judge._replace(by_texts=detector.scores)


class Panel:
    """Judges that see each text once: the scores of all of them are kept by its digest.

    scorer: an open Scorer, whose features several judges share; None if none needs it.
    passes: how often a text is read.
    """

    def __init__(self, judges, scorer=None):
        self.judges, self.scorer, self.known = judges, scorer, {}
        self.passes = (scorer is not None) + sum(judge.by_texts is not None for judge in judges)

    def scores(self, texts, progress=lambda n: None):
        """float64 [texts, judges].  progress: called with the number of passes that are done."""
        digests = [hashlib.sha256(text.encode('utf-8')).digest() for text in texts]
        new = dict(zip(digests, texts, strict=True))
        new = {digest: text for digest, text in new.items() if digest not in self.known}
        progress((len(texts) - len(new)) * self.passes)
        if new:
            rows = self._judge(list(new.values()), progress)
            self.known.update(zip(new, rows, strict=True))
        return np.array([self.known[digest] for digest in digests]).reshape(-1, len(self.judges))

    def _judge(self, texts, progress):
        values = None
        if self.scorer is not None:
            values = features_of_texts(self.scorer, texts, progress)
        columns = [
            judge.by_features(values) if judge.by_features else judge.by_texts(texts, progress)
            for judge in self.judges
        ]
        rows = np.stack(columns, axis=1)
        # A text in which a detector finds nothing, as one without words, is undecided: log-odds 0.
        return np.where(np.isnan(rows), 0, rows)
