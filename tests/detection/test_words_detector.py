import sys

import numpy as np
import pytest

from detection import words_detector
from detection.words_detector import STRENGTHS, VECTORIZER, WordsDetector, fit, terms_of

PEOPLE = 'whale ship sea captain harpoon sailor wave deck storm mate'.split()
MACHINE = 'whale ship sea captain harpoon sailor wave deck storm model'.split()


def texts_of(words, n, seed):
    random = np.random.default_rng(seed)
    return [' '.join(random.choice(words, 6)) for _ in range(n)]


def made(n, seed):
    """Texts of two classes that share words, and labels."""
    texts = texts_of(PEOPLE, n, seed) + texts_of(MACHINE, n, seed + 100)
    return texts, np.repeat([0, 1], n)


def fit_as_in_2019(texts, labels, valid_texts, valid_labels):
    """The grid search of baseline.py with scikit-learn's own means: (vectorizer, model)."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, PredefinedSplit

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=5, max_features=2**21)
    train, valid = vectorizer.fit_transform(texts), vectorizer.transform(valid_texts)
    split = PredefinedSplit([-1] * train.shape[0] + [0] * valid.shape[0])
    search = GridSearchCV(
        LogisticRegression(solver='liblinear'),
        {'C': [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32, 64]},
        cv=split,
        refit=False,
    )
    search.fit(sparse.vstack([train, valid]), np.append(labels, valid_labels))
    model = LogisticRegression(solver='liblinear', **search.best_params_)
    return vectorizer, model.fit(train, labels)


@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_scores_are_those_of_the_2019_protocol():
    pytest.importorskip('sklearn')
    train, valid = made(100, 3), made(30, 4)
    detector, how = fit(*train, *valid)
    vectorizer, model = fit_as_in_2019(*train, *valid)
    assert how['C'] == model.C and 1 / 64 < how['C'] < 64
    texts = [*made(20, 3)[0], 'Whale-ship: the WHALE, the ship!', 'nothing known', 'sea']
    expected = model.decision_function(vectorizer.transform(texts))
    assert detector.scores(texts) == pytest.approx(expected, abs=1e-12)


def test_rows_of_validation_are_not_learnt_from():
    pytest.importorskip('sklearn')
    train, (valid, labels) = made(60, 1), made(20, 2)
    detector, _ = fit(*train, valid, labels)
    other, _ = fit(*train, [f'{text} unheard of' for text in valid], labels)
    assert 'unheard' not in other.places and list(detector.idf) == list(other.idf)


def test_of_equals_the_smallest_c_is_taken():
    pytest.importorskip('sklearn')
    _, how = fit(*made(100, 3), ['mate and mate', 'model and model'], [0, 1])
    assert (how['valid_accuracy'], how['C']) == (1, STRENGTHS[0])


def test_words_are_those_of_the_vectorizer():
    text = pytest.importorskip('sklearn.feature_extraction.text')
    analyze = text.TfidfVectorizer(**VECTORIZER).build_analyzer()
    for text in ["It's 3 o'clock — ÉTÉ café_noir x1", 'naïve\u0301 İstanbul ǅ 北京 市', '', 'a b']:
        assert terms_of(text) == analyze(text)


def test_an_empty_text_has_no_score_and_one_without_known_words_the_intercept():
    detector = WordsDetector(['sea'], np.array([2.0]), np.array([3.0]), -0.5)
    scores = detector.scores(['', '!? a', 'unheard of', 'the sea', 'Sea, sea'])
    assert np.isnan(scores[0])
    assert list(scores[1:]) == [-0.5, -0.5, 2.5, 2.5]


def test_a_saved_detector_needs_no_scikit_learn(tmp_path, monkeypatch):
    detector = WordsDetector(
        ['sea', 'deep sea', 'café'], np.array([2.0, 1.5, 1]), np.array([3.0, -1, 0.25]), -0.5
    )
    detector.save(tmp_path)
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    loaded = WordsDetector.load(tmp_path, {}, 'models', None)
    texts = ['the deep sea', 'a deep sea café', 'sea sea']
    assert list(loaded.scores(texts)) == list(detector.scores(texts))
    with pytest.raises(ValueError, match='pip install -r requirements-detection.txt'):
        words_detector.check_scikit_learn()


def test_too_few_texts_are_refused():
    pytest.importorskip('sklearn')
    with pytest.raises(ValueError, match='too few texts to learn words from .2 texts'):
        fit(['whale ship', 'token text'], [0, 1], ['whale', 'text'], [0, 1])


def test_progress_counts_the_strengths():
    pytest.importorskip('sklearn')
    done = []
    fit(*made(20, 1), *made(5, 2), progress=done.append)
    assert done == [1] * len(STRENGTHS)
