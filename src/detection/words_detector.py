"""The detector of 2019's baseline: TF-IDF of words and pairs of words. No TensorFlow.

The protocol is that of baseline.py in openai/gpt-2-output-dataset, to the letter. It is fitted by
scikit-learn; a fitted detector scores in NumPy, where scikit-learn need not be.
"""

import collections
import itertools
import json
import os
import re
import warnings

import numpy as np

from detection.detector import Detector, damaged
from support.files import open_named

WORD = re.compile(r'\b\w\w+\b')  # the default of TfidfVectorizer: punctuation and letters are lost
STRENGTHS = [2.0**power for power in range(-6, 7)]  # C, the inverse of regularisation
VECTORIZER = dict(ngram_range=(1, 2), min_df=5, max_features=2**21)
TERMS, WEIGHTS = 'terms.json', 'weights.npz'


class WordsDetector(Detector):
    """Log-odds of the words and pairs of words of a text.

    terms: list of str, words and pairs with a space between.
    idf, coefficients: float64 [terms].  intercept: float.
    """

    kind = 'words'

    def __init__(self, terms, idf, coefficients, intercept):
        self.terms, self.idf = terms, idf
        self.coefficients, self.intercept = coefficients, intercept
        self.places = {term: place for place, term in enumerate(terms)}

    def scores(self, texts, progress=None):
        scores = np.empty(len(texts))
        for n, text in enumerate(texts):
            scores[n] = self._score(text)
            if progress:
                progress(1)
        return scores

    def _score(self, text):
        if not text:
            return np.nan
        terms = terms_of(text)
        counts = collections.Counter(self.places[term] for term in terms if term in self.places)
        if not counts:
            return self.intercept
        places = np.fromiter(counts.keys(), int)
        values = np.fromiter(counts.values(), float) * self.idf[places]
        return values @ self.coefficients[places] / np.linalg.norm(values) + self.intercept

    def save(self, folder):
        with open_named(os.path.join(folder, TERMS)) as file:
            json.dump(self.terms, file)
        np.savez(
            os.path.join(folder, WEIGHTS),
            idf=self.idf,
            coefficients=self.coefficients,
            intercept=self.intercept,
        )

    @classmethod
    def load(cls, folder, info, models_dir, scorer):
        with open(os.path.join(folder, TERMS), encoding='utf-8') as file:
            terms = json.load(file)
        with np.load(os.path.join(folder, WEIGHTS), allow_pickle=False) as arrays:
            idf, coefficients = arrays['idf'], arrays['coefficients']
            intercept = float(arrays['intercept'])
        if not len(terms) == len(idf) == len(coefficients):
            raise damaged(folder, f'{TERMS} and {WEIGHTS} are of different lengths')
        return cls(terms, idf, coefficients, intercept)


def terms_of(text):
    """The words of a text, in lower case, and all pairs of neighbours: as TfidfVectorizer's."""
    words = WORD.findall(text.lower())
    return words + [f'{a} {b}' for a, b in itertools.pairwise(words)]


def check_scikit_learn():
    """Raise ValueError, with what to install, if scikit-learn is not there."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ValueError(
            'the detector of words is fitted by scikit-learn: pip install -r '
            'requirements-detection.txt'
        ) from error


def fit(texts, labels, valid_texts, valid_labels, progress=None):
    """Fit a WordsDetector as in 2019; return it and a dict that says how.

    labels: [texts], 0 human and 1 machine.
    The vocabulary, its frequencies and the weights are those of `texts` alone; `valid_texts` choose
    C by accuracy, of equals the smallest.
    progress: called with 1 for each of the STRENGTHS.
    Raises ValueError if no term is in five texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(**VECTORIZER)
    try:
        x = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise ValueError(
            f'there are too few texts to learn words from ({len(texts)} texts: {error})'
        ) from error
    valid_x, valid_labels = vectorizer.transform(valid_texts), np.asarray(valid_labels)
    best, best_accuracy = None, -1
    for strength in STRENGTHS:
        model = LogisticRegression(solver='liblinear', C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            model.fit(x, labels)
        accuracy = float((model.predict(valid_x) == valid_labels).mean())
        if accuracy > best_accuracy:
            best, best_accuracy = model, accuracy
        if progress:
            progress(1)
    detector = WordsDetector(
        list(map(str, vectorizer.get_feature_names_out())),
        vectorizer.idf_,
        best.coef_[0],
        float(best.intercept_[0]),
    )
    return detector, {'C': best.C, 'terms': len(detector.terms), 'valid_accuracy': best_accuracy}
