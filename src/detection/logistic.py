"""Logistic regression in NumPy, for a few features of many texts. No TensorFlow.

Shapes: N texts, F features.
"""

from typing import NamedTuple

import numpy as np

STEPS = 100  # Newton's method takes about ten; a fit that takes more is no better for it
ENOUGH = 1e-10  # of the largest part of the gradient


class Weights(NamedTuple):
    """What makes log-odds of features: standardise each, weigh it, add a constant.

    mean, scale, coefficients: float64 [F].  intercept: float.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    intercept: float

    def log_odds(self, features):
        """Of label 1 against label 0, by features [N, F]: float64 [N]."""
        return (features - self.mean) / self.scale @ self.coefficients + self.intercept


def fit(features, labels, strength):
    """The Weights with the least mean cross-entropy plus strength / 2 times their squares' sum.

    features: [N, F]; they are standardised by their mean and deviation, so that one strength suits
      all. One that never varies gets the weight 0.
    labels: [N], 0 or 1.  strength: above 0; the intercept is not penalised.
    The method is Newton's with a line search (iteratively re-weighted least squares; Hastie,
    Tibshirani and Friedman 2009, section 4.4.1).
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    constant = scale <= 1e-12 * (1 + abs(mean))
    scale = np.where(constant, 1, scale)
    x = np.column_stack([np.where(constant, 0, (features - mean) / scale), np.ones(len(features))])
    penalty = np.append(np.full(features.shape[1], strength), 0)
    w = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = sigmoid(x @ w)
        gradient = x.T @ (p - labels) / len(x) + penalty * w
        if abs(gradient).max() < ENOUGH:
            break
        curvature = (x.T * (p * (1 - p))) @ x / len(x) + np.diag(penalty + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        w = w - shorter(step, lambda w: objective(x, labels, penalty, w), w)
    return Weights(mean, scale, w[:-1], float(w[-1]))


def shorter(step, objective, w):
    """A step, halved until it makes the objective smaller."""
    before, size = objective(w), 1.0
    while objective(w - size * step) > before and size > ENOUGH:
        size /= 2
    return size * step


def objective(x, labels, penalty, w):
    return cross_entropy(x @ w, labels) + (penalty * w * w).sum() / 2


def cross_entropy(log_odds, labels):
    """Mean over texts, in nats, of what log-odds say of labels 0 and 1."""
    return float(np.logaddexp(0, np.where(labels, -log_odds, log_odds)).mean())


def sigmoid(log_odds):
    """Probabilities of log-odds."""
    return np.exp(-np.logaddexp(0, -np.asarray(log_odds, np.float64)))
