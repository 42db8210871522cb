"""Tokens from disk, and the windows of them that training and validation read. No TensorFlow.

A window of W tokens is read as a row of W + 1: its inputs are row[:-1], its targets row[1:].
B is the number of rows in a batch.
"""

import numpy as np

from support.checks import check_batch_size, check_whole, is_number

BLOCK = 2**22  # so many tokens are checked at a time
WINDOWS, NOISE = range(2)  # purposes of random numbers, each with a stream of its own


def open_tokens(path, n_vocab=None):
    """Return the tokens of a .npy file, a memory map of uint16 or uint32 [tokens].

    n_vocab: if given, all tokens are read once to see that they are below it.
    Raises ValueError for a file that is not there or holds something else.
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode='r')
    except Exception as error:  # a damaged header, which NumPy parses as Python, can raise anything
        raise ValueError(f'cannot read tokens from {path}: {error}') from error
    if tokens.dtype not in (np.uint16, np.uint32) or tokens.ndim != 1:
        raise ValueError(
            f'{path} holds {tokens.dtype} of shape {list(tokens.shape)}, '
            'not one dimension of uint16 or uint32'
        )
    if not tokens.size:
        raise ValueError(f'{path} holds no tokens')
    if n_vocab is not None:
        check_tokens(tokens, n_vocab, path)
    return tokens


def check_tokens(tokens, n_vocab, path):
    """Raise ValueError for a token that a vocabulary of n_vocab does not have."""
    for start in range(0, tokens.size, BLOCK):
        largest = tokens[start : start + BLOCK].max()
        if largest >= n_vocab:
            raise ValueError(f'{path} holds token {largest}; the vocabulary has {n_vocab}')


class Windows:
    """An endless sequence of training windows, shuffled, and the same for the same seed.

    tokens: integers [N], as from `open_tokens`; they are not read until they are asked for.
    window: W, inputs in a window.
    per_epoch: windows in an epoch: N / W, rounded up.

    The tokens are taken as a ring: the last, an <|endoftext|>, is followed by the first. An epoch
    cuts the ring into windows one after the other, from an offset of its own:

        tokens      0 1 2 3 4 5 6 7 8 9     N = 10, W = 4, offset 3
        inputs            a a a a b b b
                    b c c c c

    and visits each window once, in an order of its own. The last window of the cut (c) overlaps the
    first one unless W divides N, so each token is a target at least once in every epoch, and fewer
    than W are so twice. Offset and order depend on the seed and the epoch's number only.
    Raises ValueError if there are fewer than W + 1 tokens.
    """

    def __init__(self, tokens, window, seed=0):
        check_whole('window', window, least=1)
        check_whole('seed', seed, least=0, below=2**63)
        if len(tokens) < window + 1:
            smaller = f', or --window {len(tokens) - 1} or less' if len(tokens) > 1 else ''
            raise ValueError(
                f'{len(tokens)} tokens are too few: a window of {window} takes {window + 1}; give '
                f'more text{smaller}'
            )
        self.tokens = np.asarray(tokens)  # a memory map is slow to slice
        self.window = window
        self.seed = seed
        self.per_epoch = -(-len(tokens) // window)
        self._epoch = self._starts_of_epoch = None

    def rows(self, first, n):
        """Return windows number first to first + n - 1 of the sequence, int32 [n, W + 1]."""
        width = self.window + 1
        rows = np.empty([n, width], np.int32)
        for row, start in zip(rows, self._starts(first, n), strict=True):
            before_end = self.tokens[start : start + width]
            row[: len(before_end)] = before_end
            row[len(before_end) :] = self.tokens[: width - len(before_end)]
        return rows

    def _starts(self, first, n):
        """Yield the places where windows start."""
        while n:
            epoch, number = divmod(first, self.per_epoch)
            starts = self._starts_in(epoch)[number : number + n]
            yield from starts.tolist()
            first += len(starts)
            n -= len(starts)

    def _starts_in(self, epoch):
        if epoch != self._epoch:
            random = random_state(self.seed, WINDOWS, epoch)
            offset = random.randint(len(self.tokens), dtype=np.int64)
            order = random.permutation(self.per_epoch).astype(np.int64)
            self._starts_of_epoch = (offset + order * self.window) % len(self.tokens)
            self._epoch = epoch
        return self._starts_of_epoch


def sequential(tokens, window, batch_size):
    """Return an iterator of batches in which each token but the first is a target exactly once.

    tokens: integers [N].
    window: W, inputs in a window.
    Yields (rows, weights), int32 [B, W + 1] and float32 [B, W]; a weight is 1 for a target and 0
    for padding, which fills the last window and batch. With W = 3, B = 2, N = 9 and padding _:

        tokens      0 1 2 3 4 5 6 7 8
        batch 1     0 1 2 3             weights  1 1 1
                          3 4 5 6                1 1 1
        batch 2                 6 7 8 _          1 1 0
                                      _ _ _ _    0 0 0

    Raises ValueError if there are fewer than two tokens.
    """
    check_whole('window', window, least=1)
    check_batch_size(batch_size)
    if len(tokens) < 2:
        raise ValueError(f'{len(tokens)} tokens are too few to score: the first is only read')
    return sequential_batches(tokens, window, batch_size)


def sequential_batches(tokens, window, batch_size):
    n_targets = batch_size * window
    for start in range(0, len(tokens) - 1, n_targets):
        real = tokens[start : start + n_targets + 1]
        padded = np.zeros(n_targets + 1, np.int32)
        padded[: len(real)] = real
        rows = np.lib.stride_tricks.sliding_window_view(padded, window + 1)[::window]
        weights = np.arange(n_targets) < len(real) - 1
        yield rows.copy(), weights.reshape(batch_size, window).astype(np.float32)


def noisy(rows, probability, n_vocab, seed, first):
    """Return a copy of rows in which each token is replaced, with a probability, by a random one.

    This is noise for inputs: leave the targets as they are.

    rows: int32 [n, width], of which the first has the number `first`; what a row becomes depends on
      it, the seed and its number.
    n_vocab: the replacement is drawn uniformly from [0, n_vocab), so it may be the same token.
    """
    if not is_number(probability) or not 0 <= probability <= 1:
        raise ValueError(f'the probability of noise must be from 0 to 1, not {probability!r}')
    rows = rows.copy()
    for number, row in enumerate(rows, start=first):
        random = random_state(seed, NOISE, number)
        replaced = random.random_sample(len(row)) < probability
        row[replaced] = random.randint(n_vocab, size=np.count_nonzero(replaced))
    return rows


def random_state(seed, purpose, number):
    """Return random numbers of their own for each number, the same in every version of NumPy.

    That is promised of bit generators like Philox and of RandomState, not of their successors.
    """
    philox = np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, number])
    return np.random.RandomState(philox)
