import numpy as np
import pytest

from detection import logistic


def made(n=300, seed=0):
    """Features that overlap, of very different sizes, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    features = random.normal(size=[n, 3]) + labels[:, None] * [1, -0.5, 0]
    return features * [1, 1000, 1e-3] + [5, 0, 0], labels


@pytest.mark.parametrize('strength', [1e-4, 1e-2, 1])
def test_weights_are_those_of_scikit_learn(strength):
    linear_model = pytest.importorskip('sklearn.linear_model')
    features, labels = made()
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    peer = linear_model.LogisticRegression(C=1 / (strength * len(labels)), tol=1e-10)
    peer.fit(standard, labels)
    found = logistic.fit(features, labels, strength)
    new, _ = made(seed=1)
    moved = (new - features.mean(axis=0)) / features.std(axis=0)
    assert found.log_odds(new) == pytest.approx(peer.decision_function(moved), abs=1e-5)


def test_classes_that_a_line_divides_have_finite_weights():
    labels = np.repeat([0, 1], 50)
    found = logistic.fit(labels[:, None] * 2.0 - 1, labels, 1e-6)
    log_odds = found.log_odds(labels[:, None] * 2.0 - 1)
    assert np.isfinite(log_odds).all() and ((log_odds > 0) == labels).all()
    # The minimum: w / (1 + e^w) balances the penalty, (1 - sigmoid(w)) = strength * w.
    w = found.coefficients[0]
    assert logistic.sigmoid(-w) == pytest.approx(1e-6 * w, rel=1e-4)


def test_a_feature_that_never_varies_has_no_weight():
    features, labels = made()
    found = logistic.fit(np.column_stack([features, np.full(len(labels), 0.1)]), labels, 1e-3)
    assert found.coefficients[3] == 0
    assert found.coefficients[:3] == pytest.approx(
        logistic.fit(features, labels, 1e-3).coefficients
    )


def test_cross_entropy_and_probabilities_of_huge_log_odds():
    assert logistic.cross_entropy(np.array([1000.0, -1000.0]), np.array([1, 0])) == 0
    assert logistic.cross_entropy(np.array([1000.0, 0.0]), np.array([0, 0])) == pytest.approx(
        (1000 + np.log(2)) / 2
    )
    assert list(logistic.sigmoid([-1000, 0, 1000])) == [0, 0.5, 1]
