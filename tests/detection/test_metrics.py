import math

import numpy as np
import pytest

from detection import metrics

RANDOM = np.random.default_rng(0)
# Ten texts with a tie between the classes, counted by hand. Of the 25 pairs the machine's score is
# the higher one in 4 + 4 + 3 + 5 + 0 = 16 and equal in 1 (the 4s).
HUMAN = [1.0, 7.0, 2.0, 4.0, 3.0]
MACHINE = [5.0, 6.0, 4.0, 8.0, 0.0]


def test_auroc_counted_by_hand():
    assert metrics.auroc(HUMAN, MACHINE) == (4 + 4 + 3.5 + 5 + 0) / 25


def test_auroc_of_all_alike_and_of_none():
    assert metrics.auroc([1, 1], [1, 1, 1]) == 0.5
    assert metrics.auroc([0, 1], [2, math.inf]) == 1
    assert metrics.auroc([2, 3], [0, 1, -math.inf]) == 0


def test_auroc_is_that_of_scikit_learn():
    official = pytest.importorskip('sklearn.metrics')
    for rounded in (0, 1, 8):  # many ties, some, none
        human = RANDOM.normal(0.0, 1.0, 300).round(rounded)
        machine = RANDOM.normal(0.5, 2.0, 200).round(rounded)
        labels = [0] * 300 + [1] * 200
        expected = official.roc_auc_score(labels, np.concatenate([human, machine]))
        assert metrics.auroc(human, machine) == pytest.approx(expected, abs=1e-12)


def test_true_positives_at_a_rate_are_those_of_scikit_learn_s_curve():
    official = pytest.importorskip('sklearn.metrics')
    human, machine = RANDOM.normal(0, 1, 400).round(1), RANDOM.normal(1, 1, 300).round(1)
    scores, labels = np.concatenate([human, machine]), [0] * 400 + [1] * 300
    false, true, _ = official.roc_curve(labels, scores, drop_intermediate=False)
    for rate in (0.0025, 0.01, 0.05, 0.29, 0.5):
        ours = metrics.true_positives(machine, metrics.threshold_at(human, rate))
        assert ours == pytest.approx(true[false <= rate].max())


def test_a_threshold_is_the_smallest_that_holds_the_rate():
    human = np.arange(100.0)
    assert metrics.threshold_at(human, 0.01) == 98  # 99 alone is above it
    assert metrics.threshold_at(human, 0.29) == 70
    assert metrics.threshold_at(human, 0.001) == 99
    assert metrics.threshold_at([3, 1, 3, 2], 0.5) == 2  # both 3s are above it
    assert metrics.threshold_at([3, 1, 3, 2], 0.25) == 3  # or none: one of them is no choice
    assert metrics.threshold_at(human, 1) == -np.inf


def test_shares_above_a_threshold():
    assert metrics.true_positives(MACHINE, 4) == 3 / 5  # 4 itself is not above
    assert metrics.accuracy(HUMAN, MACHINE, 4) == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert metrics.accuracy([1] * 98 + [3, 3], [3, 1], 2) == pytest.approx(0.74)  # not 0.975


def test_the_best_threshold_is_found():
    human, machine = RANDOM.normal(0, 1, 40).round(1), RANDOM.normal(1, 1, 30).round(1)
    tried = [metrics.accuracy(human, machine, t) for t in np.arange(-5, 5, 0.05)]
    assert metrics.best_accuracy(human, machine) == pytest.approx(max(tried))
    assert metrics.best_threshold([1, 2], [4, 5]) == 3
    assert metrics.best_threshold([4, 5], [1, 2]) == -np.inf  # nothing is better than half


def test_a_text_without_a_score_is_refused():
    for scores in ([], [1, math.nan]):
        with pytest.raises(ValueError, match='score'):
            metrics.auroc(scores, MACHINE)


def figures(human, machine):
    return [metrics.auroc(human, machine), np.mean(human)]


def test_an_interval_of_a_mean_is_that_of_the_normal_distribution():
    human = RANDOM.exponential(3.0, size=1000)
    low, high = metrics.intervals(figures, human, human)[1]
    error = 1.96 * human.std() / np.sqrt(1000)
    assert low == pytest.approx(human.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(human.mean() + error, abs=0.1 * error)


def test_the_error_of_an_auroc_is_hanley_and_mcneil_s():
    """Their formula for exponential scores (1982); about 1,000 texts."""
    human, machine = RANDOM.exponential(1, 500), RANDOM.exponential(3, 500)
    low, high = metrics.intervals(figures, human, machine)[0]
    area = metrics.auroc(human, machine)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    pairs = area * (1 - area) + 499 * (q1 - area**2) + 499 * (q2 - area**2)
    assert (high - low) / (2 * 1.96) == pytest.approx(math.sqrt(pairs) / 500, rel=0.1)


def test_texts_of_one_document_are_drawn_together():
    """Twenty windows a document, all alike, say no more than one of them."""
    human = np.repeat(RANDOM.normal(size=50), 20)
    documents = np.repeat(np.arange(50), 20).tolist()
    alone = np.diff(metrics.intervals(figures, human, human)[1])
    together = np.diff(metrics.intervals(figures, human, human, (documents, documents))[1])
    assert together / alone == pytest.approx(math.sqrt(20), rel=0.2)


def test_one_document_says_nothing_of_its_spread():
    assert np.isnan(metrics.intervals(figures, [1, 2], [3, 4], (['a', 'a'], ['b', 'c']))).all()


def test_shuffled_labels_are_near_a_half():
    """The control: what tells nothing must measure as nothing, ties or not."""
    for digits in (0, 8):
        scores = RANDOM.normal(size=4000).round(digits)
        assert metrics.auroc(scores[:2000], scores[2000:]) == pytest.approx(0.5, abs=0.03)
