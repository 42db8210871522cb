"""A trained detector: the folder that it is, and what all kinds have in common. No TensorFlow.

    detector.json       the kind, how it was trained, its threshold, its test table, its files
    human_scores.npy    the scores of the human texts of the validation set, sorted
    …                   what the kind needs: JSON, arrays, a checkpoint; nothing is pickled

Scores are log-odds that a text is the machine's: 0 is undecided, higher is more machine.
"""

import abc
import hashlib
import importlib
import json
import os

import numpy as np

from detection import metrics, own_test
from detection.logistic import sigmoid
from loading.model_files import find_model, fingerprint
from support.files import building, open_named, shown
from support.provenance import source_version

DESCRIPTION = 'detector.json'
HUMAN_SCORES = 'human_scores.npy'
FORMAT = 1
BLOCK_BYTES = 2**20
FALSE_POSITIVE_RATE = 0.01  # of the threshold
KINDS = {
    'scores': 'scores_detector.ScoresDetector',
    'words': 'words_detector.WordsDetector',
    'network': 'network_detector.NetworkDetector',
}
NAME = (str, type(None))
TYPES = {'model': NAME, 'fingerprint': NAME, 'threshold': (int, float)}
TYPES |= {'trained': dict, 'test': list}


class Detector(abc.ABC):
    """Gives texts scores; use it in a `with` block, or close() it.

    kind: a name in KINDS.
    threshold: what is above it is called machine: 1 % of the human texts of the validation set.
    human_scores: of these texts, float64, sorted.  info: detector.json, a dict.
    most_tokens: how many of a text it reads, the first; None: all.
    """

    kind = None
    most_tokens = None
    threshold, human_scores, info = None, None, None

    @abc.abstractmethod
    def scores(self, texts, progress=None):
        """The log-odds that texts are the machine's: float64 [texts], NaN for one without tokens.

        texts: list of str.  progress: called with the number of texts that are newly done.
        """

    @abc.abstractmethod
    def save(self, folder):
        """Write what `load` needs into a folder."""

    @classmethod
    @abc.abstractmethod
    def load(cls, folder, info, models_dir, scorer):
        """The detector that was saved in a folder; the arguments are those of `open_detector`."""

    @staticmethod
    def probabilities(scores):
        """That a text is the machine's, if as many texts are the machine's as people's."""
        return sigmoid(scores)

    def share_of_humans_above(self, scores):
        """The shares of the validation set's human texts with higher scores than these: [n].

        NaN for NaN.
        """
        scores = np.asarray(scores, np.float64)
        above = len(self.human_scores) - np.searchsorted(self.human_scores, scores, side='right')
        return np.where(np.isnan(scores), np.nan, above / len(self.human_scores))

    def close(self):  # noqa: B027 (most have nothing to close)
        """Let go of what was opened for this detector."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def open_detector(folder, models_dir='models', scorer=None):
    """The Detector in a folder.

    models_dir: where the model is that it was trained with.
    scorer: an open Scorer of that model, to share; None opens one where it is needed.
    Raises ValueError, in one line, for a folder that is damaged, and where the model is not there
    or is another one under its name.
    """
    info = read_description(folder)
    check_files(folder, info)
    detector = class_of(info['kind']).load(folder, info, models_dir, scorer)
    detector.info, detector.threshold = info, info['threshold']
    detector.human_scores = np.load(os.path.join(folder, HUMAN_SCORES), allow_pickle=False)
    return detector


def class_of(kind):
    """The class of a kind; its module, and what that needs, is imported only now."""
    module, name = KINDS[kind].split('.')
    return getattr(importlib.import_module(f'detection.{module}'), name)


def check_kind(kind):
    """Raise ValueError unless a name is one in KINDS."""
    if kind not in KINDS:
        raise ValueError(f'kind must be {", ".join(KINDS)}, not {kind!r}')


def read_description(folder):
    """The content of detector.json, checked; ValueError for a folder that holds no detector."""
    path = os.path.join(folder, DESCRIPTION)
    if not os.path.isfile(path):
        raise ValueError(f'{shown(folder)} is no detector: there is no {DESCRIPTION} in it')
    try:
        with open(path, encoding='utf-8') as file:
            info = json.load(file)
        if info['format'] != FORMAT:
            raise ValueError(f'its format is {info["format"]!r}, and this code knows {FORMAT}')
        check_kind(info['kind'])
        wrong = [name for name, types in TYPES.items() if not isinstance(info[name], types)]
        if wrong or not all(isinstance(name, str) for name in info['files'].values()):
            raise ValueError(f'{", ".join(wrong or ["files"])} is not what it should be')
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(folder, f'{DESCRIPTION}: {error}') from error
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, f'{DESCRIPTION} lacks {error}') from error
    return info


def damaged(folder, what):
    """A ValueError for a folder whose files are not those that were written."""
    return ValueError(f'the detector {shown(folder)} is damaged ({what}): train it again')


def check_files(folder, info):
    """Raise ValueError unless all files of a detector are there as they were written."""
    for name, digest in info['files'].items():
        path = os.path.join(folder, os.path.basename(name))
        if not os.path.isfile(path):
            raise damaged(folder, f'{name} is missing')
        if digest_of(path) != digest:
            raise damaged(folder, f'{name} is not what was written')
    if HUMAN_SCORES not in info['files']:
        raise damaged(folder, f'{DESCRIPTION} does not name {HUMAN_SCORES}')


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_model(folder, info, models_dir):
    """Raise ValueError unless the model that a detector was trained with is there, unchanged."""
    found = fingerprint(find_model(info['model'], models_dir))
    if found != info['fingerprint']:
        raise ValueError(
            f'the detector {shown(folder)} was trained with another model {info["model"]!r} than '
            f'that in {models_dir} (its weights are {found}, not {info["fingerprint"]})'
        )


def check_new(folder):
    """Raise ValueError if a folder cannot be made, or holds a detector: none is ever replaced."""
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ValueError(f'{shown(folder)} is there already, and no folder: choose another name')
    if os.path.lexists(os.path.join(folder, DESCRIPTION)):
        raise ValueError(f'{shown(folder)} holds a detector already: choose another folder')


def save_detector(detector, folder, people, test_pairs, description, progress=None):
    """Write a detector's folder, which appears whole; returns detector.json, a dict.

    people: the human texts of the validation set, whose scores decide the threshold.
    test_pairs: labelled.Pairs of the test set, for the table.
    description: dict of model, fingerprint (both None if there is none) and trained, a dict: how.
    progress: called with the number of texts that are newly scored.
    Sets the detector's threshold, human_scores and info.
    """
    human_scores = np.sort(own_test.without_nan(detector.scores(people, progress)))
    threshold = metrics.threshold_at(human_scores, FALSE_POSITIVE_RATE)
    test = own_test.measure(detector, test_pairs, threshold, progress)
    check_new(folder)
    with building(folder, last=DESCRIPTION) as unfinished:
        detector.save(unfinished)
        np.save(os.path.join(unfinished, HUMAN_SCORES), human_scores)
        names = sorted(os.listdir(unfinished))
        info = {
            'format': FORMAT,
            'kind': detector.kind,
            **description,
            'false_positive_rate': FALSE_POSITIVE_RATE,
            'threshold': threshold,
            'test': test,
            'code': source_version(),
            'files': {name: digest_of(os.path.join(unfinished, name)) for name in names},
        }
        with open_named(os.path.join(unfinished, DESCRIPTION)) as file:
            json.dump(info, file, indent=1)
            file.write('\n')
    detector.threshold, detector.human_scores, detector.info = threshold, human_scores, info
    return info
