"""The generation engine: one model, one graph and one session that serve many requests."""

import concurrent.futures
import contextlib
import functools
import threading
import time

import numpy as np
import tensorflow.compat.v1 as tf

import kv_cache as kv
import sample
import seam
from fast import Decoding, Store, check_dtype, has_int8_kernel
from generation.continuous import batch_of, completions
from generation.plain import PlainDecoding
from generation.row_sampling import mark, seen_in
from generation.rows import Operations, Rows
from generation.text_stream import before_end
from loading.loaded_model import LoadedModel
from loading.session import SessionOwner, finite_weights, memory_for
from support.checks import check_whole
from support.settings import check_fits

# Prompts of up to this many tokens plus one go through the decode step, token by token; longer ones
# use the prefill graph, which takes a second to build.
SHORT = 16
PREFILL_AT_ONCE = 512  # Tokens of each prompt: more take more memory, and Ctrl-C waits for them.
ROWS_AT_ONCE = 8192  # Tokens of all prompts together: of many prompts fewer tokens each.
# Compiling pays from so many steps and so many weights on. A text of 1,000 tokens needs four
# programs, two seconds each for the 124M; a step is 10 ms faster with 4 rows, 20 to 40 with 8.
WORTH_COMPILING = 5000
WEIGHTS_WORTH_COMPILING = 2**26
ROWS_WORTH_COMPILING = range(4, 17)  # On a CPU; 1 row is slower compiled, 32 about as fast.
CACHE_STEP = 128  # The cache grows by so many slots: attention reads all that is allocated.


class Generator(SessionOwner):
    """Generates text with the model of a session; serves one request at a time.

    Threads may share it: `generate` waits for its turn; a stream raises a ValueError if it is asked
    for its next piece after another request has begun.
    Make it where the session's graph is the default one and not finalized.
    decoding: fast.Decoding or generation.plain.PlainDecoding.
    """

    _compiled = False

    def __init__(self, session, hparams, encoder, decoding, dtype='float32'):
        self.session, self.graph = session, session.graph
        self.hparams, self.encoder, self.dtype = hparams, encoder, dtype
        self.decoding = decoding
        self.turn = threading.RLock()  # whose holder may change the cache
        self._build()

    @property
    def heads(self):
        """How many heads each shard has; one shard has all of them."""
        return self.decoding.heads

    @property
    def compiled(self):
        """Whether steps run as programs that XLA compiles.

        May be set between requests, and does not change the text in float32. XLA shares a program
        among the cores itself. With tensor-parallel shards it cannot, and takes twice as long.
        Raises ValueError where there is no compiler, or matmuls are used that it does not know.
        """
        return self._compiled

    @compiled.setter
    def compiled(self, compiled):
        if compiled and isinstance(self.decoding, PlainDecoding):
            raise ValueError('fast=False compiles nothing')
        if compiled and not tf.test.is_built_with_xla():
            raise ValueError('this TensorFlow has no XLA: leave out --xla')
        if compiled and self.dtype == 'int8' and has_int8_kernel():
            raise ValueError('int8 is faster than XLA on this processor: leave out --xla')
        self._compiled = bool(compiled)

    def _build(self):
        """Define what sessions run: reset and grow a cache in variables, decode with it."""
        self.batch = tf.placeholder(tf.int32, [], 'batch')
        self.capacity = tf.placeholder(tf.int32, [], 'capacity')
        empty = self.decoding.empty_cache(self.batch, self.capacity)
        self.variables = tf.nest.map_structure(cache_variable, empty)
        cache = tf.nest.map_structure(lambda v: v.values, self.variables)
        self.reset = assign(self.variables, empty)
        self.grow = assign(self.variables, grown(cache, self.capacity))

        self.state = sample.State(
            cache=cache,
            padding=tf.placeholder(tf.int32, [None], 'padding'),
            slot=tf.placeholder(tf.int32, [], 'slot'),
            unread=tf.placeholder(tf.int32, [None, None], 'unread'),
            step=tf.placeholder(tf.int32, [], 'step'),
            finished=tf.placeholder(tf.bool, [None], 'finished'),
            seen=tf.placeholder(tf.bool, [None, None], 'seen'),
        )
        self.n = tf.placeholder(tf.int32, [], 'n')
        self.parameters = sample.SamplingParameters.placeholders()
        self.decode_one = self._decode(1 if self.decoding.one_row_apart else None)

    def _decode(self, rows=None):
        """The new tokens of so many rows with one unread token each; None: of any number."""
        buffer = [rows, None, None, None]
        state = self.state._replace(
            cache=tf.nest.map_structure(lambda x: tf.ensure_shape(x, buffer), self.state.cache),
            padding=tf.ensure_shape(self.state.padding, [rows]),
            unread=tf.ensure_shape(self.state.unread, [rows, 1]),
            finished=tf.ensure_shape(self.state.finished, [rows]),
            seen=tf.ensure_shape(self.state.seen, [rows, None]),
        )
        read = functools.partial(sample.read, memories=self.decoding.memories)
        # Caching reads each variable once for a run instead of once for a token.
        with (
            seam.carried_out_by(self.decoding.execution),
            tf.variable_scope('', reuse=tf.AUTO_REUSE, caching_device=lambda op: op.device),
        ):
            new, _ = sample.decode(self.hparams, state, self.n, self.parameters, read)
        return new

    @functools.cached_property
    def decode_any(self):
        """`decode_one` for any number of rows."""
        if not self.decoding.one_row_apart:
            return self.decode_one
        with self.more_graph():
            return self._decode()

    def decode(self, rows):
        """The operation that continues so many rows with one unread token each."""
        if self.compiled:
            return self.decode_compiled
        # Where the number is known a step has fewer operations, and faster ones (fast/one_row.py).
        return self.decode_one if rows == 1 else self.decode_any

    @functools.cached_property
    def prefill(self):
        """The operation that prefills the cache with unread tokens, from `slot` on, without logits.

        It takes a second to build, so it joins the graph with the first prompt that is worth it.
        """
        state, decoding = self.state, self.decoding
        with self.more_graph(), seam.carried_out_by(decoding.prefill_execution):
            memories = decoding.prefill_memories(tf.shape(state.unread)[1], before=state.slot)
            _, layers = sample.read(self.hparams, state, state.unread, state.slot, memories)
            # The last layer's keys and values need those of all layers before it, but neither the
            # rest of that layer nor the logits, which are not computed.
            return tf.group(layers[-1].written)

    @functools.cached_property
    def decode_compiled(self):
        """`decode` by compiled steps, for rows with one unread token; made when first asked for."""
        from fast import decode_compiled  # what it imports may be missing where there is no XLA

        state = self.state._replace(cache=self.variables)
        with self.more_graph(), seam.carried_out_by(self.decoding.execution):
            return decode_compiled(
                self.hparams, state, self.n, self.parameters, self.decoding.memories
            )

    @functools.cached_property
    def operations_of_rows(self):
        """What `complete` runs, which takes two seconds to build: for the first who calls it."""
        with self.more_graph():
            return Operations(self.hparams, self.decoding, self.variables)

    def compiling_pays(self, rows, steps):
        """Whether compiled steps spare more time than compiling takes.

        rows: of a request.  steps: of all requests, each of as many tokens as there are rows.
        """
        weights = self.hparams.n_layer * 12 * self.hparams.n_embd**2
        if min(steps / WORTH_COMPILING, weights / WEIGHTS_WORTH_COMPILING) < 1:
            return False
        if not tf.test.is_built_with_xla():
            return False
        if self.on_gpu:
            return True
        alone = self.dtype == 'float32' and not self.decoding.in_shards
        return alone and rows in ROWS_WORTH_COMPILING

    @contextlib.contextmanager
    def more_graph(self):
        """Let operations be added to the graph; TensorFlow has no public way once it is final.

        One thread at a time: the first to end would finalize the graph for the other.
        """
        with self.turn, self.graph.as_default():
            was_finalized = self.graph.finalized
            self.graph._unsafe_unfinalize()
            try:
                yield
            finally:
                if was_finalized:
                    self.graph.finalize()

    def stream(self, prompts, settings, first_sample=0, chunk_seconds=0.1):
        """Continue prompts, and yield the new tokens as they come.

        prompts: lists of token ids, one a row, of any lengths; row i is sample first_sample + i.
        settings: support.settings.Settings. With stop_at_end a row that has ended repeats the end
            token.
        chunk_seconds: about how often to yield.
        Yields int32 arrays [rows, tokens], settings.length tokens a row in all unless every row
        ends before. Raises ValueError before anything runs if a prompt does not fit.
        """
        prompts = [list(prompt) for prompt in prompts]
        if not prompts:
            raise ValueError('there is no prompt')
        self.check(prompts, settings)
        return self._in_turn(self._stream(prompts, settings, first_sample, chunk_seconds))

    def complete(self, requests, settings, *, stops=(), rows=32, progress=None):
        """Continue any number of prompts, and yield each text when it has ended.

        A row whose text has ended takes another request. The tokens of each are those that
        `generate` gives for it alone, with first_sample = its sample.

        requests: generation.continuous.Request, whose prompts may be of any lengths. What they have
            in common with those before them is read once.
        settings: support.settings.Settings, of all requests that have none of their own.
        stops: strings that end a text, likewise.
        rows: texts that grow at a time: changes speed and memory, never the texts.
        progress: called as tokens come with the number of new ones, all rows together.
        Yields (number of the request, generation.continuous.Completion). Raises ValueError before
        anything runs if a prompt does not fit, and later if another request of the engine begins.
        """
        batch = batch_of(self, list(requests), settings, stops, rows)
        return self._in_turn(completions(batch, progress))

    def rows(self, n, patiently=False):
        """The rows of a continuous.Batch, for which the engine serves no other request."""
        return Rows(self, n, patiently)

    def check(self, prompts, settings):
        """Raise ValueError unless all prompts can be continued."""
        for prompt in prompts:
            if len(prompt) and not 0 <= min(prompt) <= max(prompt) < self.hparams.n_vocab:
                raise ValueError(f'a prompt holds a token outside 0..{self.hparams.n_vocab - 1}')
            check_fits(len(prompt), settings.length, self.hparams.n_ctx)
        if settings.stop_at_end and self.encoder.end_of_text is None:
            raise ValueError('the vocabulary has no <|endoftext|> to stop at')

    def _in_turn(self, chunks):
        """Yield the chunks of a request, each made while no other thread changes the cache."""
        while True:
            with self.turn:
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _stream(self, prompts, settings, first_sample, chunk_seconds):
        lengths = np.array([len(prompt) for prompt in prompts])
        width = lengths.max()
        unread = np.array([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        end_token = self.encoder.end_of_text if settings.stop_at_end else None
        slots = width + settings.length - 1  # the last token is never read
        capacity = self._capacity(width, slots)
        seen = seen_in(prompts, settings, self.hparams.n_vocab)
        feed = {
            self.state.padding: width - lengths,
            self.state.seen: seen,
            **self.parameters.feed(
                **settings.sampling(),
                seed=settings.seed,
                first_sample=first_sample,
                end_token=-1 if end_token is None else end_token,
            ),
        }
        request = self.request = object()  # the cache is of the latest request alone
        shape = {self.batch: len(prompts), self.capacity: capacity}
        self.run(self.reset, shape, len(prompts))
        finished = np.zeros(len(prompts), bool)
        step, n = 0, 1
        decode = self.decode(len(prompts))
        self._read(unread[:, :-1], dict(feed))
        unread, slot = unread[:, -1:], width - 1
        while step < settings.length and not finished.all():
            if self.request is not request:
                raise ValueError('another request has begun: an engine serves one at a time')
            after = slot + unread.shape[1]
            if after > capacity:
                capacity = self._capacity(after, slots)
                self.run(self.grow, {self.capacity: capacity}, len(prompts))
            feed[self.state.unread], feed[self.state.slot] = unread, slot
            feed[self.state.step], feed[self.state.finished] = step, finished
            feed[self.n] = min(n, settings.length - step, capacity - after + 1)
            start = time.perf_counter()
            new = self.run(decode, feed, len(prompts))
            seconds = (time.perf_counter() - start) / new.shape[1]
            yield new
            if end_token is not None:
                finished |= (new == end_token).any(axis=1)
            mark(seen, new)
            slot = after + new.shape[1] - 1
            step += new.shape[1]
            unread = new[:, -1:]
            # At most twice as many as before: the first tokens are slower than the others.
            n = max(1, min(2 * n, int(chunk_seconds / seconds)))

    def _read(self, tokens, feed):
        """Prefill the first slots of the cache with tokens of prompts, [rows, tokens]."""
        rows, width = tokens.shape
        if width > SHORT:
            operation, at_once = self.prefill, min(PREFILL_AT_ONCE, max(ROWS_AT_ONCE // rows, 128))
        else:  # by decode steps, whose new tokens are not used
            operation, at_once = self.decode(rows), 1
            feed = feed | {self.n: 1, self.state.step: 0, self.state.finished: [False] * rows}
        for slot in range(0, width, at_once):
            feed[self.state.unread] = tokens[:, slot : slot + at_once]
            feed[self.state.slot] = slot
            self.run(operation, feed, rows)

    def _capacity(self, needed, slots):
        """How many slots the cache is to have when so many are needed now, of so many in all."""
        if self.compiled:  # once for each size, so there are few
            return min(max(CACHE_STEP, 2 ** int(needed).bit_length()), self.hparams.n_ctx)
        return min(needed + CACHE_STEP, slots)

    def run(self, operation, feed, rows):
        memory = memory_for(f'{rows} texts at a time: take fewer, or shorter ones')
        with memory, finite_weights(self.loaded):
            return self.session.run(operation, feed)

    def generate(self, prompts, settings, first_sample=0, progress=None):
        """All new tokens of each prompt at once: lists of ids, cut before the end token.

        With stop_at_end, a list shorter than settings.length belongs to a row that has ended.
        progress: called as tokens come with the number of new ones, all rows together.
        Other arguments and errors are those of `stream`.
        """
        rows = [[] for _ in prompts]
        end_token = self.encoder.end_of_text if settings.stop_at_end else None
        with self.turn:
            for chunk in self.stream(prompts, settings, first_sample, chunk_seconds=1):
                pieces = [before_end(tokens, end_token) for tokens in chunk.tolist()]
                for row, piece in zip(rows, pieces, strict=True):
                    row += piece
                if progress:
                    progress(sum(map(len, pieces)))
        return rows


class Engine(Generator):
    """Loads a model and generates text with it; use it in a `with` block, or close() it.

    model_name, models_dir: as the scripts take them.
    encoder: the model's tokenizer, if it has been loaded already; an attribute like hparams.
    dtype: what weight matrices are stored in and multiplied as, one of fast.DTYPES.
    n_shards: how many cores share each layer, in float32; None takes as many as are fastest.
    fast: False computes with the readable core alone, slower and with the same text.
    Raises ValueError, with what would help, if the model is not there or damaged.
    """

    def __init__(
        self,
        model_name='124M',
        models_dir='models',
        *,
        encoder=None,
        dtype='float32',
        n_shards=None,
        fast=True,
    ):
        check_dtype(dtype, fast)
        if n_shards is not None:
            check_whole('n_shards', n_shards, least=1)
        if (n_shards or 1) > 1 and not fast:
            raise ValueError(f'fast=False computes layers as a whole, not by {n_shards} shards')
        loaded = self.loaded = LoadedModel(model_name, models_dir, encoder)
        decoding = PlainDecoding(loaded.hparams)
        if fast:
            decoding = Decoding(loaded.hparams, dtype, n_shards)
        try:
            self._load(loaded, decoding, dtype)
            verified = decoding.verified()
        except Exception:
            self.close()
            verified = decoding.verified()
            if verified is decoding:
                raise
        # Where model.py was edited, what was loaded may compute something else.
        if verified is not decoding:
            self.close()
            self._load(loaded, verified, dtype)

    def _load(self, loaded, decoding, dtype):
        """Build the graph and read the weights."""
        with tf.Graph().as_default() as graph:
            session = tf.Session(config=decoding.config)
            super().__init__(session, loaded.hparams, loaded.encoder, decoding, dtype)
            # TensorFlow reads weights while Python tries whether they will be used rightly.
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                thread.submit(decoding.verified)
                loaded.restore(session, decoding.stored)
        graph.finalize()


def cache_variable(buffer):
    """A variable for a buffer of the cache, of any batch and capacity; not in checkpoints."""
    _, heads, _, width = buffer.shape.as_list()
    return Store('cache', [None, heads, None, width])


def assign(variables, cache):
    """The operation that sets the variables of a cache to the buffers of another."""
    pairs = zip(tf.nest.flatten(variables), tf.nest.flatten(cache), strict=True)
    return tf.group([variable.assign(buffer) for variable, buffer in pairs])


def grown(cache, capacity):
    """A copy of a cache, which may be one by shards, with more slots."""
    if isinstance(cache, kv.Cache):
        return kv.grown(cache, capacity)
    return [kv.grown(part, capacity) for part in cache]
