"""Log-probabilities of text under a model: of documents, continuations and choices.

What is scored is a window of tokens: the last ones are scored, those before are only read as their
context. Windows of about one length run together, and only positions that are asked for get logits,
a few hundred positions at a time.
"""

import collections
import concurrent.futures
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

import seam
from fast import Stored, attention_in_parts, check_dtype, session_config
from loading.loaded_model import LoadedModel
from loading.session import SessionOwner, finite_weights, memory_for, plain_config
from scoring.operations import Operations, plain_attention
from scoring.rows import OWNER, PLACE, SLOT, TARGET, batches, filled, row_of, shared_rows, width_of
from scoring.windows import Cutter, Scores, Window, joined, start_of
from support.checks import check_whole

TOKENS_AT_ONCE = 1024
# Positions of a run, whose logits are in memory together: 103 MB for 50,257 tokens.
POSITIONS_AT_ONCE = 512
# So many runs of the session go on at a time, each with its part of the tokens. A core that is done
# with its share of an operation of one run goes on with the other run. On two cores that is a fifth
# faster than one run after the other. (A GPU has one queue.)
RUNS_AT_ONCE = 2
BATCHES_IN_POOL = 64  # The windows of so many batches are sorted by length together.


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

    run_options = None  # of the session's runs

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
        config, attention, execution = plain_config(), plain_attention, seam.Execution()
        stored = None
        if fast:
            config = session_config(large_products=True, runs_at_once=RUNS_AT_ONCE)
            stored = Stored(dtype)
            attention, execution = attention_in_parts, stored.for_many_rows()
        with tf.Graph().as_default() as self.graph:
            self.operations = Operations(self.hparams, execution, attention)
            self.session = tf.Session(config=config)
            loaded.restore(self.session, stored)
        self.graph.finalize()

    @staticmethod
    def on(engine, tokens_at_once=TOKENS_AT_ONCE):
        """A Scorer that scores with the weights of an open engine, which are in memory once.

        It runs in the engine's session, also while other threads generate there. close() leaves
        the engine open; close it before the engine.

        engine: generation.engine.Engine, or whatever has its attributes session, graph, more_graph,
          hparams, encoder, dtype, loaded, and its decoding with prefill_execution,
          attention_of_rows, memory_of_rows and run_options.
        Scores are those of a Scorer of the same dtype to the last bit. Tensor-parallel shards add
        up numbers in another order: in float32 they agree to 1e-5, and in int8 and bfloat16, which
        round in other places then, about as well as with float32.
        """
        return EngineScorer(engine, tokens_at_once)

    def score_windows(self, windows, details=False, progress=None, ranks=True, more=(), n_top=0):
        """Yield the Scores of windows, in their order.

        windows: iterable of Window, read as it goes; each has 1 <= first < len(tokens) and at most
          n_ctx + 1 tokens.
        details: with entropies.  progress: called with the number of tokens that have been scored.
        ranks: False saves a tenth of the time.
        more: names of other arrays of Scores that are wanted: second_moments, mass_before.
        n_top: how many most likely tokens are told for each position that is scored.
        Raises ValueError for a window that cannot be scored.
        """
        check_whole('n_top', n_top, least=0, below=self.hparams.n_vocab + 1)
        for pool in self._pools(map(self._checked, windows)):
            rows = map(row_of, itertools.count(), pool)
            yield from self._score(rows, pool, details, progress, ranks, more, n_top)

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
        n_top=0,
    ):
        """Yield what `score_document` returns for each of the documents, in their order.

        documents: iterable of lists of tokens, read as it goes; short ones run together.
        ranks, more, n_top: as `score_windows` takes them.
        """
        counts = collections.deque()  # of the windows of documents that have been read

        def windows():
            for tokens in documents:
                of_document = self.document_windows(tokens, context, stride, start)
                counts.append(len(of_document))
                yield from of_document

        parts = []
        for scores in self.score_windows(windows(), details, progress, ranks, more, n_top):
            parts.append(scores)
            if len(parts) == counts[0]:
                yield joined(parts)
                parts = []
                counts.popleft()

    def document_windows(self, tokens, context=None, stride=None, start=True):
        """The windows of a document, a list of Window; arguments as `score_document` takes them."""
        return Cutter(self.encoder, self.hparams).document_windows(tokens, context, stride, start)

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
        scores = self.operations.scores
        fetches = [scores.top_ids, scores.top_logprobs]
        for _, owners, results in self._results(rows, fetches, k):
            ids[owners], logprobs[owners] = results
        return ids, logprobs

    def _window_of(self, prompt, continuation):
        if not len(continuation):
            raise ValueError('a continuation has no tokens to score')
        prompt = list(prompt) or [start_of(self.encoder)]
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

    def _score(self, rows, windows, details, progress, ranks, more=(), n_top=0):
        """A list of Scores of the windows that rows ask for."""
        ends = np.cumsum([len(window.tokens) - window.first for window in windows])
        wanted = ['logprobs', *['ranks'] * ranks, *['entropies'] * details, *more]
        wanted += ['top_ids', 'top_logprobs'] if n_top else []
        tensors = {name: getattr(self.operations.scores, name) for name in wanted}
        arrays = {
            name: np.empty([ends[-1], n_top][: tensor.shape.ndims], tensor.dtype.as_numpy_dtype)
            for name, tensor in tensors.items()
        }
        starts = np.concatenate([[0], ends[:-1]])
        for places, owners, results in self._results(rows, list(tensors.values()), n_top):
            for array, values in zip(arrays.values(), results, strict=True):
                array[starts[owners] + places] = values
            if progress:
                progress(len(owners))
        return [
            Scores(**{name: array[start:end] for name, array in arrays.items()})
            for start, end in zip(starts, ends, strict=True)
        ]

    def _results(self, rows, fetches, n_top):
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
                    yield from self._finish(threads, waiting, fetches, n_top)
                    waiting, n_waiting = [], 0
            if waiting:
                yield from self._finish(threads, waiting, fetches, n_top)

    def _read(self, batch):
        return batch, self._run(self.operations.hidden, self._feed(batch))

    def _finish(self, threads, waiting, fetches, n_top):
        states, asked = (np.concatenate(parts) for parts in zip(*waiting, strict=True))

        def results_of(start):
            some = slice(start, start + POSITIONS_AT_ONCE)
            n = len(asked[some])
            feed = {
                self.operations.states: filled(states[some]),
                self.operations.targets: filled(asked[some, TARGET]),
                self.operations.n_top: n_top,
            }
            results = [result[:n] for result in self._run(fetches, feed)]
            return asked[some, PLACE], asked[some, OWNER], results

        return in_order(threads, results_of, range(0, len(asked), POSITIONS_AT_ONCE))

    def _feed(self, batch):
        width = width_of(batch[0])
        arrays = np.zeros([3, len(batch), width], np.int32)
        for array, row in zip(arrays.swapaxes(0, 1), batch, strict=True):
            array[:, : len(row.tokens)] = row.tokens, row.positions, row.branches
        inputs = self.operations.tokens, self.operations.positions, self.operations.branches
        return dict(zip(inputs, arrays, strict=True))

    def _run(self, fetches, feed):
        memory = memory_for(f'{self.tokens_at_once} tokens at once: take fewer')
        with memory, finite_weights(self.loaded):
            return self.session.run(fetches, feed, self.run_options)


class EngineScorer(Scorer):
    """What `Scorer.on` makes."""

    def __init__(self, engine, tokens_at_once):
        check_whole('tokens_at_once', tokens_at_once, least=1)
        self.tokens_at_once, self.dtype, self.loaded = tokens_at_once, engine.dtype, engine.loaded
        self.hparams, self.encoder = engine.hparams, engine.encoder
        self.session, self.graph = engine.session, engine.graph
        decoding = engine.decoding
        self.run_options = decoding.run_options
        with engine.more_graph():
            self.operations = Operations(
                self.hparams,
                decoding.prefill_execution,
                decoding.attention_of_rows,
                decoding.memory_of_rows,
            )

    def close(self):
        """Nothing: the session is the engine's."""


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
