"""How each row of a running batch samples, as arrays to feed to its step. No TensorFlow.

Shapes: B rows, V vocabulary.
"""

import collections

import numpy as np

from support.settings import SAMPLING

FREE = {'temperature': 0}  # a row without a text takes the least time to sample
MOST_INT32 = 2**31 - 1


class RowSampling:
    """What the requests in B rows ask for, and which tokens their texts have by now."""

    def __init__(self, n_rows, n_vocab):
        self.arrays = {
            name: np.full(n_rows, field.default, field.metadata['dtype'])
            for name, field in SAMPLING.items()
        }
        for name in ('seed', 'first_sample'):
            self.arrays[name] = np.zeros(n_rows, np.int64)
        for name in ('steps', 'n_top'):
            self.arrays[name] = np.zeros(n_rows, np.int32)
        # Of each row that asks: most rows do not, and then nothing is fed.
        self.seen = TableOfRows(n_rows, n_vocab, bool)
        self.bias = TableOfRows(n_rows, n_vocab, np.float32)
        self.penalties = [None] * n_rows
        for row in range(n_rows):
            self.end(row)

    def begin(self, row, request):
        """Let a row sample as a continuous.Request asks for."""
        settings = request.settings
        self._set(
            row,
            **settings.sampling(),
            seed=settings.seed,
            first_sample=request.sample,
            n_top=request.n_top,
        )
        if settings.repetition_penalty != 1:
            self.seen.begin(row)[np.asarray(request.prompt)] = True
        penalties = Penalties(request)
        if request.bias or penalties:
            bias = self.bias.begin(row)
            for token, value in penalties.base.items():
                bias[token] = value
        self.penalties[row] = penalties or None

    def add(self, row, token):
        """A row's text has got another token."""
        self.arrays['steps'][row] += 1
        if self.seen.asked[row]:
            self.seen.table[row, token] = True
        if self.penalties[row]:
            self.bias.table[row, token] = self.penalties[row].add(token)

    def end(self, row):
        """A row's text has ended."""
        defaults = {name: field.default for name, field in SAMPLING.items()}
        self._set(row, **defaults | FREE, seed=0, first_sample=0, n_top=0)
        self.seen.asked[row] = self.bias.asked[row] = False
        self.penalties[row] = None

    def arrange(self, order):
        """Let row i be what row order[i] was."""
        self.arrays = {name: array[order] for name, array in self.arrays.items()}
        self.seen.arrange(order)
        self.bias.arrange(order)
        self.penalties = [self.penalties[row] for row in order]

    def feed(self, n):
        """The values of the first n rows, {name: array}, and n_top, the most that any asks for."""
        values = {name: array[:n] for name, array in self.arrays.items()}
        values['n_top'] = values['n_top'].max()
        return values | {'seen': self.seen.of(n), 'bias': self.bias.of(n)}

    def _set(self, row, **values):
        for name, value in values.items():
            is_narrow = self.arrays[name].dtype == np.int32
            self.arrays[name][row] = min(value, MOST_INT32) if is_narrow else value
        self.arrays['steps'][row] = 0


class TableOfRows:
    """A table [B, V] of which only the rows that ask have anything; allocated when one does."""

    def __init__(self, n_rows, n_vocab, dtype):
        self.shape, self.dtype = (n_rows, n_vocab), dtype
        self.asked, self.table = np.zeros(n_rows, bool), None

    def begin(self, row):
        """The row, all zeros."""
        if self.table is None:
            self.table = np.zeros(self.shape, self.dtype)
        self.table[row], self.asked[row] = 0, True
        return self.table[row]

    def arrange(self, order):
        self.asked = self.asked[order]
        if self.table is not None:
            self.table = self.table[order]

    def of(self, n):
        """The first n rows, [n, V], or [n, 0] if none of them asks."""
        if not self.asked[:n].any():
            return np.zeros([n, 0], self.dtype)
        self.table[:n][~self.asked[:n]] = 0  # what texts before have left
        return self.table[:n]


class Penalties:
    """What is subtracted from the logits of tokens that a text holds; false if that is nothing.

    base: {token: the request's own bias}.
    """

    def __init__(self, request):
        self.presence, self.frequency = request.presence_penalty, request.frequency_penalty
        self.base, self.counts = dict(request.bias or {}), collections.Counter()

    def __bool__(self):
        return bool(self.presence or self.frequency)

    def add(self, token):
        """What is added to a token's logit from now on, since the text has it once more."""
        self.counts[token] += 1
        penalty = self.presence + self.frequency * self.counts[token]
        return self.base.get(token, 0) - penalty


def seen_in(prompts, settings, n_vocab):
    """Which tokens prompts hold: bool [B, V], or [B, 0] where no repetition penalty asks."""
    asked = settings.repetition_penalty != 1
    seen = np.zeros([len(prompts), n_vocab if asked else 0], bool)
    for row, prompt in zip(seen, prompts, strict=True):
        mark(row[None], np.array([prompt], int))
    return seen


def mark(seen, tokens):
    """Set which tokens were seen, bool [B, V], for more of them [B, n]; [B, 0] stays."""
    if seen.shape[1]:
        np.put_along_axis(seen, tokens, True, axis=1)
