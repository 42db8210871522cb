"""Bootstrap confidence intervals: how far a figure would move with other texts of the same kind."""

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
SEED = 0


def ratio_interval(numerators, denominators, seed=SEED, resamples=RESAMPLES):
    """The 95 % interval of sum(numerators) / sum(denominators).

    What is summed, a document, question or block of text each, is drawn anew with replacement; the
    interval holds the middle 95 % of the ratios (percentile method, Efron and Tibshirani 1993,
    section 13.3). The same seed gives the same interval.

    numerators, denominators: [n].
    Returns (low, high), or None for fewer than two, which say nothing of their spread.
    """
    pairs = np.stack([numerators, denominators], axis=1).astype(np.float64)
    n = len(pairs)
    if n < 2:
        return None
    random = np.random.RandomState(seed)  # its numbers are promised to stay the same
    sums = np.array([pairs[random.randint(n, size=n)].sum(axis=0) for _ in range(resamples)])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [tail, 1 - tail])
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
