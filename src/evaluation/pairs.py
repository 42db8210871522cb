"""Examples of a task in its prompts: pairs drawn from texts that are not tested. No TensorFlow."""

import numpy as np

from support.checks import check_whole


def drawn(pairs, n, seed):
    """n of these pairs, a list in the order in which they are drawn; the same for the same seed.

    The first ones stay the same when n grows.
    """
    check_whole('pairs', n, least=0, below=len(pairs) + 1)
    check_whole('pairs_seed', seed, least=0, below=2**32)
    order = np.random.RandomState(seed).permutation(len(pairs))
    return [pairs[number] for number in order[:n]]
