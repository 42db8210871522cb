import numpy as np
import pytest

from evaluation.intervals import blocks, ratio_interval

RANDOM = np.random.default_rng(0)


def test_an_interval_of_a_mean_is_that_of_the_normal_distribution():
    """Central limit theorem: mean +- 1.96 standard errors, for many independent numbers."""
    values = RANDOM.exponential(3.0, size=4000)
    low, high = ratio_interval(values, np.ones(4000), resamples=4000)
    error = 1.96 * values.std() / np.sqrt(4000)
    assert low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_an_interval_holds_the_truth_about_19_times_in_20():
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        sizes = random.integers(1, 50, size=100)
        low, high = ratio_interval(random.poisson(2.0 * sizes), sizes, seed=seed, resamples=300)
        held += low <= 2.0 <= high
    assert 180 <= held <= 198


def test_documents_that_differ_in_size_alone_leave_no_doubt():
    sizes = RANDOM.integers(1, 100, size=50)
    assert ratio_interval(0.25 * sizes, sizes) == pytest.approx((0.25, 0.25))


def test_the_same_seed_gives_the_same_interval():
    values = RANDOM.normal(size=30)
    first, again, other = (ratio_interval(values, np.ones(30), seed=seed) for seed in (7, 7, 8))
    assert first == again != other


def test_one_document_says_nothing_of_its_spread():
    assert ratio_interval([3.0], [2.0]) is None


def test_blocks_are_neighbours_and_nothing_is_lost():
    rows = np.arange(14.0).reshape(7, 2)
    sizes = [3, 1, 4, 1, 1, 2, 1]
    # 3 1 | 4 | 1 1 2 and the rest 1
    expected = [rows[0:2].sum(axis=0), rows[2], rows[3:7].sum(axis=0)]
    np.testing.assert_array_equal(blocks(rows, sizes, least=4), expected)
    np.testing.assert_array_equal(blocks(rows, sizes, least=100), [rows.sum(axis=0)])
    np.testing.assert_array_equal(blocks(rows, sizes, least=1), rows)
    np.testing.assert_array_equal(blocks(rows[:2], [2, 2], least=4), [rows[:2].sum(axis=0)])


def test_blocks_widen_the_interval_of_numbers_that_come_in_runs():
    values = np.repeat(RANDOM.normal(size=100), 20)
    ones = np.ones(2000)
    narrow = np.diff(ratio_interval(values, ones))
    rows = blocks(np.stack([values, ones], axis=1), ones, least=20)
    wide = np.diff(ratio_interval(rows[:, 0], rows[:, 1]))
    assert 3 < wide / narrow < 6  # the square root of 20
