"""Bootstrap confidence intervals: how far a figure would move with other texts of the same kind.

What is summed, a document, question or block of text each, is drawn anew with replacement; an
interval holds the middle 95 % of the figures of the draws (percentile method, Efron and Tibshirani
1993, section 13.3). The same seed gives the same draws.
"""

import math

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
SEED = 0


def ratio_interval(numerators, denominators, seed=SEED, resamples=RESAMPLES):
    """The 95 % interval of sum(numerators) / sum(denominators).

    numerators, denominators: [n].
    Returns (low, high), or None for fewer than two, which say nothing of their spread.
    """
    pairs = np.stack([numerators, denominators], axis=1).astype(np.float64)
    sums = np.array([pairs[drawn].sum(axis=0) for drawn in draws(len(pairs), seed, resamples)])
    if not len(sums):
        return None
    sums = sums[sums[:, 1] != 0]
    return middle(sums[:, 0] / sums[:, 1])


def statistic_interval(columns, statistic, seed=SEED, resamples=RESAMPLES):
    """The 95 % interval of a function of columns, {name: [n]} -> float, or None as of no figure.

    Returns (low, high), or None for fewer than two rows, or where the draws have no figure.
    """
    n = len(next(iter(columns.values())))
    values = [
        statistic({name: column[drawn] for name, column in columns.items()})
        for drawn in draws(n, seed, resamples)
    ]
    return middle([value for value in values if value is not None and math.isfinite(value)])


def draws(n, seed, resamples):
    """Yield what is drawn of n rows, an array of n indices each time; nothing of fewer than two."""
    random = np.random.RandomState(seed)  # its numbers are promised to stay the same
    for _ in range(resamples if n > 1 else 0):
        yield random.randint(n, size=n)


def middle(values):
    """(low, high) of the middle 95 % of values, or None if there are none."""
    if not len(values):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def blocks(rows, sizes, least):
    """Sum neighbouring rows to blocks: neighbours in a text are too alike to be drawn one by one.

    rows: [n, columns].  sizes: [n].  least: the size that ends a block; the rest, if smaller, joins
    the last one.
    Returns float64 [blocks, columns].
    """
    rows = np.asarray(rows, np.float64)
    starts, filled = [0], 0
    for row, size in enumerate(sizes, start=1):
        filled += size
        if filled >= least:
            starts.append(row)
            filled = 0
    if len(starts) > 1:
        starts.pop()  # the end, or where a rest begins
    return np.add.reduceat(rows, starts, axis=0)
