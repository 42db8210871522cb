"""Log-probabilities of text under a model: of documents, continuations and choices.

Shapes: B rows in a batch, S slots in a row, N positions that are scored, E embedding, V vocabulary.

What is scored is a window of tokens: the last ones are scored, those before are only read as their
context. Windows of about one length run together, and only positions that are asked for get logits,
a few hundred positions at a time.
"""

import collections
import concurrent.futures
import functools
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

import likelihoods
import model
import seam
from fast import Stored, attention_in_parts, check_dtype, session_config
from likelihoods import finite
from loading.loaded_model import LoadedModel
from loading.session import SessionOwner, finite_weights, memory_for, plain_config
from scoring.rows import OWNER, PLACE, SLOT, TARGET, batches, filled, row_of, shared_rows, width_of
from scoring.windows import Scores, Window, joined, windows_of
from support.checks import check_whole

TOKENS_AT_ONCE = 1024
# Positions of a run, whose logits are in memory together: 103 MB for 50,257 tokens.
POSITIONS_AT_ONCE = 512
# So many runs of the session go on at a time, each with its part of the tokens. A core that is done
# with its share of an operation of one run goes on with the other run. On two cores that is a fifth
# faster than one run after the other. (A GPU has one queue.)
RUNS_AT_ONCE = 2
BATCHES_IN_POOL = 64  # The windows of so many batches are sorted by length together.


class RowMemory(model.Memory):
    """Causal attention within rows that are read whole: there is no KV cache.

    attention: a function (q, k, v) like `model.attend`.
    """

    def __init__(self, attention):
        self.attention = attention

    def remember(self, k, v):
        return k, v


def plain_attention(n, bias):
    """`model.attend` with a bias [B, 1, S, S], for rows of n slots."""
    return functools.partial(model.attend, bias=bias)


class Scorer(SessionOwner):
    """Scores text with one model; use it in a `with` block, or close() it.

    model_name, models_dir: as the scripts take them.
    encoder: the model's tokenizer, if it has been loaded already; an attribute like hparams.
    dtype: what weight matrices are stored in and multiplied as, one of fast.DTYPES.
    tokens_at_once: how many tokens are read together, which memory grows with; longer rows run
      whole, two at a time.
    fast: False computes with the readable core alone, slower and with the same scores.
    Raises ValueError, with what would help, if the model is not there or damaged.

    On a CPU a window's scores do not depend, to the last bit, on `tokens_at_once` nor on what
    else is scored: each runs in a row whose width its own length decides.
    """

    def __init__(
        self,
        model_name='124M',
        models_dir='models',
        *,
        encoder=None,
        dtype='float32',
        tokens_at_once=TOKENS_AT_ONCE,
        fast=True,
    ):
        check_dtype(dtype, fast)
        check_whole('tokens_at_once', tokens_at_once, least=1)
        self.tokens_at_once, self.dtype = tokens_at_once, dtype
        loaded = self.loaded = LoadedModel(model_name, models_dir, encoder)
        self.hparams, self.encoder = loaded.hparams, loaded.encoder
        config = plain_config()
        if fast:
            config = session_config(large_products=True, runs_at_once=RUNS_AT_ONCE)
        stored = Stored(dtype) if fast else None
        with tf.Graph().as_default() as self.graph:
            with seam.carried_out_by(stored.for_many_rows() if fast else seam.Execution()):
                self._build(attention_in_parts if fast else plain_attention)
            self.session = tf.Session(config=config)
            loaded.restore(self.session, stored)
        self.graph.finalize()

    def _build(self, attention):
        """Define what sessions run: tokens to hidden states, and these to scores.

        attention: (number of slots, bias) -> a function (q, k, v) like `model.attend`.
        """
        self.tokens = tf.placeholder(tf.int32, [None, None], 'tokens')
        self.positions = tf.placeholder(tf.int32, [None, None], 'positions')
        self.branches = tf.placeholder(tf.int32, [None, None], 'branches')
        bias = model.mask_bias(visible(self.branches), tf.float32)
        memory = RowMemory(attention(tf.shape(self.tokens)[1], bias))
        outputs = model.model(
            self.hparams,
            self.tokens,
            memories=[memory] * self.hparams.n_layer,
            positions=self.positions,
        )
        self.hidden = outputs['hidden']

        self.states = tf.placeholder(tf.float32, [None, self.hparams.n_embd], 'states')
        self.targets = tf.placeholder(tf.int32, [None], 'targets')
        self.k = tf.placeholder(tf.int32, [], 'k')
        logits = seam.token_embedding(self.hparams).product(self.states)
        self.scores = scores_of(logits, self.targets)
        most_likely = tf.nn.top_k(logits, self.k)
        normaliser = tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
        self.most_likely = [most_likely.indices, finite(most_likely.values - normaliser)]

    def score_windows(self, windows, details=False, progress=None, ranks=True, more=()):
        """Yield the Scores of windows, in their order.

        windows: iterable of Window, read as it goes; each has 1 <= first < len(tokens) and at most
          n_ctx + 1 tokens.
        details: with entropies.  progress: called with the number of tokens that have been scored.
        ranks: False saves a tenth of the time.
        more: names of other arrays of Scores that are wanted: second_moments, mass_before.
        Raises ValueError for a window that cannot be scored.
        """
        for pool in self._pools(map(self._checked, windows)):
            rows = map(row_of, itertools.count(), pool)
            yield from self._score(rows, pool, details, progress, ranks, more)

    def score_document(
        self, tokens, context=None, stride=None, details=False, start=True, progress=None
    ):
        """The Scores of all tokens of a document, each scored once; see `windows_of`.

        context: None is all that the model can read.  stride: None is half of the context.
        start: read <|endoftext|> first, so that the first token has a score too; without it, the
          first token has none and the result is one shorter.
        Raises ValueError if there is nothing to score, and where the vocabulary has no
        <|endoftext|> though it is wanted.
        """
        return next(self.score_documents([tokens], context, stride, details, start, progress))

    def score_documents(
        self,
        documents,
        context=None,
        stride=None,
        details=False,
        start=True,
        progress=None,
        ranks=True,
        more=(),
    ):
        """Yield what `score_document` returns for each of the documents, in their order.

        documents: iterable of lists of tokens, read as it goes; short ones run together.
        ranks, more: as `score_windows` takes them.
        """
        counts = collections.deque()  # of the windows of documents that have been read

        def windows():
            for tokens in documents:
                of_document = self.document_windows(tokens, context, stride, start)
                counts.append(len(of_document))
                yield from of_document

        parts = []
        for scores in self.score_windows(windows(), details, progress, ranks, more):
            parts.append(scores)
            if len(parts) == counts[0]:
                yield joined(parts)
                parts = []
                counts.popleft()

    def document_windows(self, tokens, context=None, stride=None, start=True):
        """The windows of a document, a list of Window; arguments as `score_document` takes them."""
        context = self.hparams.n_ctx if context is None else context
        check_whole('context', context, least=1, below=self.hparams.n_ctx + 1)
        stride = max(context // 2, 1) if stride is None else stride
        tokens = np.asarray(tokens, np.int64)
        if start:
            tokens = np.concatenate([[self._start()], tokens])
        if len(tokens) < 2:
            raise ValueError('there is no token to score')
        return [
            Window(tokens[begin:end], first - begin)
            for begin, end, first in windows_of(len(tokens), context, stride)
        ]

    def score_continuations(self, pairs, details=False, progress=None, ranks=True):
        """Yield the Scores of continuations, in their order.

        pairs: iterable of (prompt, continuation), lists of tokens. An empty prompt stands for
          <|endoftext|>. One that is too long loses tokens on its left.
        Pairs with the same prompt, near each other, read it once: as branches of one row.
        Raises ValueError for a continuation that is empty or longer than the model's context.
        """
        windows = (self._checked(self._window_of(*pair)) for pair in pairs)
        for pool in self._pools(windows):
            rows = shared_rows(pool, self.hparams.n_ctx)
            yield from self._score(rows, pool, details, progress, ranks)

    def choose(self, prompt, endings):
        """The log-probabilities of endings of a prompt, float64 [endings]; argmax is the choice.

        prompt: list of tokens.  endings: lists of tokens.
        """
        pairs = ((prompt, ending) for ending in endings)
        scores = self.score_continuations(pairs, ranks=False)
        return np.array([each.total for each in scores])

    def next_tokens(self, contexts, k):
        """The k most likely next tokens of each context and their log-probabilities, best first.

        contexts: lists of at least one token and at most n_ctx.
        Returns int32 [contexts, k] and float32 [contexts, k].
        """
        check_whole('k', k, least=1, below=self.hparams.n_vocab + 1)
        windows = [self._checked(Window([*context, 0], len(context))) for context in contexts]
        ids = np.empty([len(windows), k], np.int32)
        logprobs = np.empty([len(windows), k], np.float32)
        rows = map(row_of, itertools.count(), windows)
        for _, owners, results in self._results(rows, self.most_likely, {self.k: k}):
            ids[owners], logprobs[owners] = results
        return ids, logprobs

    def _start(self):
        if self.encoder.end_of_text is None:
            raise ValueError('the vocabulary has no <|endoftext|> to start a text with')
        return self.encoder.end_of_text

    def _window_of(self, prompt, continuation):
        if not len(continuation):
            raise ValueError('a continuation has no tokens to score')
        prompt = list(prompt) or [self._start()]
        room = max(self.hparams.n_ctx + 1 - len(continuation), 1)  # too long a one is found next
        prompt = prompt[-room:]
        return Window(prompt + list(continuation), len(prompt))

    def _checked(self, window):
        tokens, first = window
        n_ctx, n_vocab = self.hparams.n_ctx, self.hparams.n_vocab
        tokens = np.asarray(tokens, np.int64)
        if len(tokens) > n_ctx + 1:
            raise ValueError(
                f'a window of {len(tokens)} tokens exceeds the context of {n_ctx} tokens: '
                f'it may hold {n_ctx + 1}, the last of which is not read'
            )
        if not 1 <= first < len(tokens):
            raise ValueError(f'a window of {len(tokens)} tokens cannot be scored from {first} on')
        if not 0 <= tokens.min() <= tokens.max() < n_vocab:
            raise ValueError(f'a window holds a token outside 0..{n_vocab - 1}')
        return Window(tokens, first)

    def _pools(self, windows):
        """Lists of windows, many batches each: their lengths are sorted in bounded memory."""
        pool, size = [], 0
        for window in windows:
            pool.append(window)
            size += len(window.tokens)
            if size >= BATCHES_IN_POOL * self.tokens_at_once:
                yield pool
                pool, size = [], 0
        if pool:
            yield pool

    def _score(self, rows, windows, details, progress, ranks, more=()):
        """A list of Scores of the windows that rows ask for."""
        ends = np.cumsum([len(window.tokens) - window.first for window in windows])
        wanted = ['logprobs', *['ranks'] * ranks, *['entropies'] * details, *more]
        tensors = {name: getattr(self.scores, name) for name in wanted}
        arrays = {
            name: np.empty(ends[-1], tensor.dtype.as_numpy_dtype)
            for name, tensor in tensors.items()
        }
        starts = np.concatenate([[0], ends[:-1]])
        for places, owners, results in self._results(rows, list(tensors.values())):
            for array, values in zip(arrays.values(), results, strict=True):
                array[starts[owners] + places] = values
            if progress:
                progress(len(owners))
        return [
            Scores(**{name: array[start:end] for name, array in arrays.items()})
            for start, end in zip(starts, ends, strict=True)
        ]

    def _results(self, rows, fetches, feed=None):
        """Yield (places, owners, results) of all positions that rows ask for, many at a time."""
        waiting = []  # (states, asked) with fewer positions than are worth a run
        n_waiting = 0
        at_once = 1 if self.on_gpu else RUNS_AT_ONCE
        with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
            batched = batches(rows, max(self.tokens_at_once // at_once, 1))
            for batch, hidden in in_order(threads, self._read, batched):
                for row, states in zip(batch, hidden, strict=True):
                    waiting.append((states[row.asked[:, SLOT]], row.asked))
                    n_waiting += len(row.asked)
                if n_waiting >= at_once * POSITIONS_AT_ONCE:
                    yield from self._finish(threads, waiting, fetches, feed or {})
                    waiting, n_waiting = [], 0
            if waiting:
                yield from self._finish(threads, waiting, fetches, feed or {})

    def _read(self, batch):
        return batch, self._run(self.hidden, self._feed(batch))

    def _finish(self, threads, waiting, fetches, feed):
        states, asked = (np.concatenate(parts) for parts in zip(*waiting, strict=True))

        def results_of(start):
            some = slice(start, start + POSITIONS_AT_ONCE)
            n = len(asked[some])
            inputs = {
                self.states: filled(states[some]),
                self.targets: filled(asked[some, TARGET]),
            }
            results = [result[:n] for result in self._run(fetches, feed | inputs)]
            return asked[some, PLACE], asked[some, OWNER], results

        return in_order(threads, results_of, range(0, len(asked), POSITIONS_AT_ONCE))

    def _feed(self, batch):
        width = width_of(batch[0])
        arrays = np.zeros([3, len(batch), width], np.int32)
        for array, row in zip(arrays.swapaxes(0, 1), batch, strict=True):
            array[:, : len(row.tokens)] = row.tokens, row.positions, row.branches
        return dict(zip((self.tokens, self.positions, self.branches), arrays, strict=True))

    def _run(self, fetches, feed):
        memory = memory_for(f'{self.tokens_at_once} tokens at once: take fewer')
        with memory, finite_weights(self.loaded):
            return self.session.run(fetches, feed)


def in_order(threads, function, items):
    """Yield what a function returns for items, in their order, from threads a little ahead."""
    started = collections.deque()
    try:
        for item in items:
            started.append(threads.submit(function, item))
            if len(started) > RUNS_AT_ONCE:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        for future in started:
            future.cancel()


def visible(branches):
    """Which slots each slot sees: earlier ones of the trunk and of its own branch. [B, 1, S, S]"""
    n = tf.shape(branches)[1]
    earlier = model.attention_mask(n, n, dtype=tf.bool)
    of_trunk = tf.equal(branches, 0)[:, None, :]
    of_branch = tf.equal(branches[:, None, :], branches[:, :, None])
    return tf.logical_and(earlier, tf.logical_or(of_trunk, of_branch))[:, None]


def scores_of(logits, targets):
    """The Scores of targets [N] by logits [N, V]: tensors [N].

    Logits that are NaN or infinite are an InvalidArgumentError: a softmax of them is all NaN.
    """
    p = tf.nn.softmax(logits)  # a single kernel
    before = likelihoods.before(logits, targets)
    entropies, second_moments = likelihoods.moments_of(logits, p)
    return Scores(
        logprobs=finite(likelihoods.logprobs_of(logits, p, targets)),
        ranks=likelihoods.ranks_of(before),
        entropies=finite(entropies),
        second_moments=finite(second_moments),
        mass_before=finite(likelihoods.mass_of(before, p)),
    )
