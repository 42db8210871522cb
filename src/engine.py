"""The generation engine: one model, one graph and one session that serve many requests."""

import contextlib
import functools
import time

import numpy as np
import tensorflow.compat.v1 as tf

import cache as kv
import sample
import shards
from attend_in_parts import attention_in_parts
from matrices import fused, has_int8_kernel
from model_session import ModelSession
from settings import check_fits, check_whole
from tf_session import memory_for

# Tokens of a prompt that are read one by one, in the time of as many new ones: what reads more at
# once takes a second to make.
SHORT = 16
READ_AT_ONCE = 512  # of each longer one: more take more memory, and Ctrl-C waits for them
ROWS_AT_ONCE = 8192  # and fewer of each prompt if there are many
# Steps of a model of so many weights, for which compiling pays: a text of 1,000 tokens needs four
# programs, two seconds each for the 124M; 10 ms of a step are spared with 4 rows, 20 to 40 with 8.
WORTH_COMPILING = 5000
WEIGHTS_WORTH_COMPILING = 2**26
ROWS_WORTH_COMPILING = range(4, 17)  # on a CPU; with one it takes longer, with 32 about as long
CACHE_STEP = 128  # the cache grows by so many slots: attention reads what is allocated


class Engine(ModelSession):
    """Generates text with one model; use it in a `with` block, or close() it.

    It is made, and fails, as ModelSession says.

    n_shards: how many cores share each layer (shards.py), in float32; None takes as many as are
        quickest, one if model.py has been edited.
    """

    _compiled = False

    def __init__(self, *model, n_shards=None, **more):
        if n_shards is not None:
            check_whole('n_shards', n_shards, least=1)
        self.n_shards = n_shards
        super().__init__(*model, **more)

    def _heads(self):
        n = self.n_shards or shards.best_number(self.hparams, self.dtype)
        if n > 1 and self.dtype != 'float32':
            raise ValueError(f'only float32 is computed in shards, not {self.dtype}')
        if n > self.hparams.n_head:
            raise ValueError(f'{self.hparams.n_head} heads do not make {n} shards')
        return shards.shares(self.hparams.n_head, n)

    @property
    def compiled(self):
        """Whether steps run as programs that XLA compiles (compiled_step.py).

        May be set between requests, and does not change the text in float32. XLA shares a program
        among cores itself, which it cannot where there are shards: it takes twice as long there.
        Raises ValueError where there is no compiler, or products are used that it does not know.
        """
        return self._compiled

    @compiled.setter
    def compiled(self, compiled):
        if compiled and not tf.test.is_built_with_xla():
            raise ValueError('this TensorFlow has no XLA: leave out --xla')
        if compiled and self.dtype == 'int8' and has_int8_kernel():
            raise ValueError('int8 is quicker than XLA on this processor: leave out --xla')
        self._compiled = bool(compiled)

    @classmethod
    def sharing(cls, session, hparams, encoder):
        """An engine on the weights of another session, for samples while they are trained.

        Call it where the session's graph is the default one and not finalized; the session stays
        its owner's to close.
        """
        engine = cls.__new__(cls)
        engine.session, engine.hparams, engine.encoder = session, hparams, encoder
        engine.dtype = 'float32'
        engine.heads = [hparams.n_head]
        engine._build()
        return engine

    def _build(self, getter=None):
        """Define what sessions run: reset and grow a cache in variables, decode with it.

        getter: as from `stored_as`, for weights that are not in float32 variables.
        """
        self.batch = tf.placeholder(tf.int32, [], 'batch')
        self.capacity = tf.placeholder(tf.int32, [], 'capacity')
        empty = kv.empty_cache(self.hparams, self.batch, self.capacity, self.heads)
        self.variables = kv.Cache(*([cache_variable(b) for b in buffers] for buffers in empty))
        cache = kv.Cache(*([v.read_value() for v in buffers] for buffers in self.variables))
        self.reset = assign(self.variables, empty)
        self.grow = assign(self.variables, kv.grown(cache, self.capacity))

        self.state = sample.State(
            cache=cache,
            padding=tf.placeholder(tf.int32, [None], 'padding'),
            slot=tf.placeholder(tf.int32, [], 'slot'),
            unread=tf.placeholder(tf.int32, [None, None], 'unread'),
            step=tf.placeholder(tf.int32, [], 'step'),
            finished=tf.placeholder(tf.bool, [None], 'finished'),
        )
        self.n = tf.placeholder(tf.int32, [], 'n')
        self.knobs = sample.Knobs(
            temperature=tf.placeholder(tf.float32, [], 'temperature'),
            top_k=tf.placeholder(tf.int32, [], 'top_k'),
            top_p=tf.placeholder(tf.float32, [], 'top_p'),
            seed=tf.placeholder(tf.int64, [], 'seed'),
            first_sample=tf.placeholder(tf.int64, [], 'first_sample'),
            end_token=tf.placeholder(tf.int32, [], 'end_token'),
        )
        self.getter = getter
        # Caching reads each variable once for a run instead of once for a token.
        with tf.variable_scope('', custom_getter=getter, caching_device=lambda op: op.device):
            state = self.state._replace(unread=tf.ensure_shape(self.state.unread, [None, 1]))
            self.decode, _ = sample.decode(self.hparams, state, self.n, self.knobs)

    @functools.cached_property
    def fill(self):
        """The operation that reads unread tokens at `slot` into the cache and asks nothing of them.

        It takes a second to make, so it joins the graph with the first prompt that is worth it.
        """
        state = self.state
        with self._more_graph(), tf.variable_scope('', custom_getter=fused):
            n = tf.shape(state.unread)[1]
            _, memories = sample.read(
                self.hparams,
                state,
                state.unread,
                state.slot,
                attention=lambda bias: attention_in_parts(n, bias, before=state.slot),
            )
            # These are behind the keys and values of all other layers, but not behind the rest
            # of the last layer, nor the logits, which nobody wants.
            return tf.group([memory.written for memory in memories[-len(self.heads) :]])

    @functools.cached_property
    def decode_compiled(self):
        """`decode` by compiled steps, for rows with one unread token; made when first asked for."""
        import compiled_step  # what it imports may be missing where TensorFlow has no XLA

        state = self.state._replace(cache=self.variables)
        with self._more_graph():
            return compiled_step.decode(self.hparams, state, self.n, self.knobs)

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
        alone = self.dtype == 'float32' and len(self.heads) == 1
        return alone and rows in ROWS_WORTH_COMPILING

    @contextlib.contextmanager
    def _more_graph(self):
        """Let operations be added to the graph; TensorFlow has no public way once it is final."""
        graph = self.session.graph
        was_finalized = graph.finalized
        graph._unsafe_unfinalize()
        try:
            with graph.as_default(), tf.variable_scope('', custom_getter=self.getter):
                yield
        finally:
            if was_finalized:
                graph.finalize()

    def stream(self, prompts, settings, first_sample=0, chunk_seconds=0.1):
        """Continue prompts, and yield the new tokens as they come.

        prompts: lists of token ids, one a row, of any lengths; row i is sample first_sample + i.
        settings: settings.Settings. A row that has ended (stop_at_end) repeats the end token.
        chunk_seconds: about how often to yield.
        Yields int32 arrays [rows, tokens], settings.length tokens a row in all unless every row
        ends before. Raises ValueError before anything runs if a prompt does not fit.
        """
        prompts = [list(prompt) for prompt in prompts]
        if not prompts:
            raise ValueError('there is no prompt')
        for prompt in prompts:
            if prompt and not 0 <= min(prompt) <= max(prompt) < self.hparams.n_vocab:
                raise ValueError(f'a prompt holds a token outside 0..{self.hparams.n_vocab - 1}')
            check_fits(len(prompt), settings.length, self.hparams.n_ctx)
        if settings.stop_at_end and self.encoder.end_of_text is None:
            raise ValueError('the vocabulary has no <|endoftext|> to stop at')
        return self._stream(prompts, settings, first_sample, chunk_seconds)

    def _stream(self, prompts, settings, first_sample, chunk_seconds):
        lengths = np.array([len(prompt) for prompt in prompts])
        width = lengths.max()
        unread = np.array([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        end_token = self.encoder.end_of_text if settings.stop_at_end else None
        slots = width + settings.length - 1  # the last token is never read
        capacity = self._capacity(width, slots)
        feed = {
            self.state.padding: width - lengths,
            self.knobs.temperature: settings.temperature,
            self.knobs.top_k: min(settings.top_k, self.hparams.n_vocab),
            self.knobs.top_p: settings.top_p,
            self.knobs.seed: settings.seed,
            self.knobs.first_sample: first_sample,
            self.knobs.end_token: -1 if end_token is None else end_token,
        }
        request = self.request = object()  # the cache is of the latest request alone
        shape = {self.batch: len(prompts), self.capacity: capacity}
        self._run(self.reset, shape, len(prompts))
        finished = np.zeros(len(prompts), bool)
        step, n = 0, 1
        decode = self.decode_compiled if self.compiled else self.decode
        self._read(unread[:, :-1], dict(feed))
        unread, slot = unread[:, -1:], width - 1
        while step < settings.length and not finished.all():
            behind = slot + unread.shape[1]
            if behind > capacity:
                capacity = self._capacity(behind, slots)
                self._run(self.grow, {self.capacity: capacity}, len(prompts))
            feed[self.state.unread], feed[self.state.slot] = unread, slot
            feed[self.state.step], feed[self.state.finished] = step, finished
            feed[self.n] = min(n, settings.length - step, capacity - behind + 1)
            start = time.perf_counter()
            new = self._run(decode, feed, len(prompts))
            seconds = (time.perf_counter() - start) / new.shape[1]
            yield new
            if self.request is not request:
                raise ValueError('another request has begun: an engine serves one at a time')
            if end_token is not None:
                finished |= (new == end_token).any(axis=1)
            slot = behind + new.shape[1] - 1
            step += new.shape[1]
            unread = new[:, -1:]
            # No more than a doubling: the first tokens are slow and say little of the others.
            n = max(1, min(2 * n, int(chunk_seconds / seconds)))

    def _read(self, tokens, feed):
        """Read tokens of prompts, [rows, tokens], into the first slots of the cache."""
        rows, width = tokens.shape
        if width > SHORT:
            operation, at_once = self.fill, min(READ_AT_ONCE, max(ROWS_AT_ONCE // rows, 128))
        else:  # by steps, whose new tokens nobody wants
            operation, at_once = self.decode_compiled if self.compiled else self.decode, 1
            feed = feed | {self.n: 1, self.state.step: 0, self.state.finished: [False] * rows}
        for slot in range(0, width, at_once):
            feed[self.state.unread] = tokens[:, slot : slot + at_once]
            feed[self.state.slot] = slot
            self._run(operation, feed, rows)

    def _capacity(self, needed, slots):
        """How many slots the cache is to have when so many are needed now, of so many in all."""
        if self.compiled:  # once for each size, so there are few
            return min(max(CACHE_STEP, 2 ** int(needed).bit_length()), self.hparams.n_ctx)
        return min(needed + CACHE_STEP, slots)

    def _run(self, operation, feed, rows):
        with memory_for(f'{rows} texts at a time: take fewer, or shorter ones'):
            return self.session.run(operation, feed)

    def generate(self, prompts, settings, first_sample=0, progress=None):
        """All new tokens of each prompt at once: lists of ids, cut before the end token.

        With stop_at_end, a list shorter than settings.length belongs to a row that has ended.
        progress: called as tokens come with the number of new ones, all rows together.
        Other arguments and errors are those of `stream`.
        """
        rows = [[] for _ in prompts]
        for chunk in self.stream(prompts, settings, first_sample, chunk_seconds=1):
            pieces = [self.before_end(tokens, settings) for tokens in chunk.tolist()]
            for row, piece in zip(rows, pieces, strict=True):
                row += piece
            if progress:
                progress(sum(map(len, pieces)))
        return rows

    def before_end(self, tokens, settings):
        """A row's tokens as far as the settings let it go."""
        end = self.encoder.end_of_text
        if settings.stop_at_end and end in tokens:
            return tokens[: tokens.index(end)]
        return tokens


def cache_variable(buffer):
    """A variable for a buffer of the cache, of any batch and capacity; not in checkpoints."""
    _, heads, _, width = buffer.shape.as_list()
    return tf.Variable(
        buffer,
        shape=tf.TensorShape([None, heads, None, width]),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES],
    )


def assign(variables, cache):
    """The operation that sets the variables of a cache to the buffers of another."""
    pairs = zip(variables.keys + variables.values, cache.keys + cache.values, strict=True)
    return tf.group([variable.assign(buffer) for variable, buffer in pairs])
