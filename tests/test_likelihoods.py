"""Log-probabilities, ranks and moments against NumPy."""

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import likelihoods


def test_a_token_a_position():
    logits = 3 * np.random.default_rng(0).normal(size=[16, 100]).astype(np.float32) - 100
    targets = np.arange(16)
    with tf.Graph().as_default(), tf.Session() as session:
        p = tf.nn.softmax(logits)
        before = likelihoods.before(logits, targets)
        logprobs, ranks, mass, (entropies, squares) = session.run(
            [
                likelihoods.logprobs_of(logits, p, targets),
                likelihoods.ranks_of(before),
                likelihoods.mass_of(before, p),
                likelihoods.moments_of(logits, p),
            ]
        )
    wide = logits.astype(np.float64)
    expected = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(logprobs, expected[targets, targets], rtol=1e-5)
    np.testing.assert_array_equal(ranks, 1 + (wide > wide[targets, targets][:, None]).sum(axis=1))
    p = np.exp(expected)
    np.testing.assert_allclose(entropies, -(p * expected).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(squares, (p * expected**2).sum(axis=1), rtol=1e-5)
    likelier = [row[row > row[target]].sum() for row, target in zip(p, targets, strict=True)]
    np.testing.assert_allclose(mass, likelier, rtol=0, atol=1e-6)


@pytest.mark.parametrize('dtype', [tf.float32, tf.float16])
def test_logits_that_are_not_finite_are_refused(dtype):
    with tf.Graph().as_default(), tf.Session() as session:
        given = tf.placeholder(dtype, [None, 50_000])
        finite = likelihoods.finite(given)
        logits = np.random.default_rng(0).normal(-100, 1, [3, 50_000]).astype(np.float16)
        np.testing.assert_array_equal(session.run(finite, {given: logits}), logits)
        for bad in (np.nan, np.inf, -np.inf):
            logits[1, 7] = bad
            with pytest.raises(tf.errors.InvalidArgumentError, match=likelihoods.NOT_FINITE):
                session.run(finite, {given: logits})


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_broken_logit_breaks_its_row_alone(bad):
    logits = np.zeros([4, 50], np.float32)
    logits[2, 7] = bad
    ones = np.ones(4, np.int32)
    with tf.Graph().as_default(), tf.Session() as session:
        got = session.run(likelihoods.logprobs_of(logits, tf.nn.softmax(logits), ones))
    np.testing.assert_allclose(got[[0, 1, 3]], -math.log(50), rtol=1e-6)
    assert np.isnan(got[2])


def test_of_equally_likely_tokens_lower_ids_come_first():
    logits = np.float32([[1, 3, 1, 3, 1]])
    with tf.Graph().as_default(), tf.Session() as session:
        targets = tf.range(5)
        logits = tf.tile(logits, [5, 1])
        p, before = tf.nn.softmax(logits), likelihoods.before(logits, targets)
        logprobs, ranks, mass = session.run(
            [
                likelihoods.logprobs_of(logits, p, targets),
                likelihoods.ranks_of(before),
                likelihoods.mass_of(before, p),
            ]
        )
    assert ranks.tolist() == [3, 1, 4, 2, 5]
    total = 3 * math.e + 2 * math.e**3
    low, high = math.e / total, math.e**3 / total
    np.testing.assert_allclose(np.exp(logprobs), [low, high, low, high, low], rtol=1e-6)
    expected = [2 * high, 0, 2 * high + low, high, 2 * high + 2 * low]
    np.testing.assert_allclose(mass, expected, rtol=1e-6)


def test_tokens_next_to_impossible_have_finite_scores_that_change_no_others():
    logits = np.random.default_rng(0).normal(size=[32, 1000]).astype(np.float32)
    logits[:, 0] = -300
    with tf.Graph().as_default(), tf.Session() as session:
        targets = tf.placeholder(tf.int32, [32])
        logprobs = likelihoods.logprobs_of(logits, tf.nn.softmax(logits), targets)
        likely, mixed = (
            session.run(logprobs, {targets: np.arange(first, first + 32)}) for first in (1, 0)
        )
        mixed_again = session.run(logprobs, {targets: [0, *range(2, 33)]})
    wide = logits.astype(np.float64)
    expected = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(mixed, expected[range(32), range(32)], rtol=1e-6)
    np.testing.assert_array_equal(mixed_again[1:], likely[1:])


@pytest.mark.parametrize('scale', [0, 1e-3, 1, 30])
def test_moments_lose_no_digits_however_flat_or_sharp_the_distribution(scale):
    logits = (scale * np.random.default_rng(0).normal(size=[8, 50_257]) - 100).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        entropies, squares = session.run(likelihoods.moments_of(logits, tf.nn.softmax(logits)))
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    expected = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    p = np.exp(expected)
    np.testing.assert_allclose(entropies, -(p * expected).sum(axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(squares, (p * expected**2).sum(axis=1), rtol=1e-5, atol=1e-5)
