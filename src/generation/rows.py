"""The rows of a running batch: each continues a text of its own, and begins another at any time.

Shapes: B rows, J rows that join at a time, S tokens of each that are read at a time, C slots, V
vocabulary.

The token at position p of a row's text is in slot p of that row of the KV cache, wherever the other
rows are. So texts join while others run (continuous batching; Yu et al. 2022, section 3). What a
prompt has in common with a text that any row holds is copied from there instead of being read:
example pairs, a story, the turns of a conversation before this one.
"""

import functools
import itertools
import typing

import numpy as np
import tensorflow.compat.v1 as tf

import kv_cache as kv
import sample
import seam
from likelihoods import finite, logprobs_of

SLACK = 32  # Slots beyond those needed now: attention reads all, and to have more copies the cache.
PREFILL_AT_ONCE = 512  # Tokens of each prompt: more take more memory, and Ctrl-C waits for them.
ROWS_AT_ONCE = 4096  # Tokens of all prompts together: of many prompts fewer tokens each.
# A prompt waits for others to be read if so many of its tokens can be copied then. To read once
# more takes about as long as that many tokens.
WORTH_WAITING = 64


class Inputs(typing.NamedTuple):
    """What the operations are fed with; int32 unless said otherwise."""

    tokens: typing.Any  # [B, 1] in a step; [J, S] of rows that join
    slots: typing.Any  # [B] or [J], where the first of these tokens belongs
    seeds: typing.Any  # int64 [B]
    samples: typing.Any  # int64 [B]
    steps: typing.Any  # [B], tokens sampled so far
    top_p: typing.Any  # float32 [B]
    seen: typing.Any  # bool [B, V], or [B, 0] without a repetition penalty
    rows: typing.Any  # [J], which rows join
    sources: typing.Any  # [J], rows that hold what comes before the tokens
    capacity: typing.Any  # slots of the cache

    @classmethod
    def placeholders(cls):
        shapes = {'tokens': [None, None], 'seen': [None, None], 'capacity': []}
        dtypes = {'seeds': 'int64', 'samples': 'int64', 'top_p': 'float32', 'seen': 'bool'}
        each = [(name, dtypes.get(name, 'int32'), shapes.get(name, [None])) for name in cls._fields]
        return cls(*(tf.placeholder(dtype, shape, name) for name, dtype, shape in each))


class Operations:
    """What a session runs for rows.

    Make it where the engine's graph is the default one and not finalized.
    variables: of the KV cache.  parameters: sample.SamplingParameters, of all rows.
    """

    def __init__(self, hparams, decoding, variables, parameters):
        self.hparams, self.decoding = hparams, decoding
        self.cache = tf.nest.map_structure(lambda variable: variable.values, variables)
        with tf.name_scope('rows'):
            self.inputs = Inputs.placeholders()
            self.step = self._step(parameters)
            self.join = self._join()
            resize = functools.partial(resized, capacity=self.inputs.capacity)
            buffers = map(resize, tf.nest.flatten(self.cache))
            pairs = zip(tf.nest.flatten(variables), buffers, strict=True)
            self.resize = tf.group([variable.assign(buffer) for variable, buffer in pairs])

    def _step(self, parameters):
        """Reads a token a row, and samples the next: ids [B], and log-probabilities [B] in nats.

        These are of the model itself: at temperature 1, without truncation and penalty.
        """
        inputs = self.inputs
        own = parameters._replace(
            seed=inputs.seeds, first_sample=inputs.samples, top_p=inputs.top_p[:, None]
        )
        memories = functools.partial(self.decoding.memories, writer=kv.in_own_slots)
        tokens = tf.ensure_shape(inputs.tokens, [None, 1])
        with seam.carried_out_by(self.decoding.execution):
            logits, _ = self._read(tokens, memories)
        logits = finite(tf.cast(logits, tf.float32))
        new = sample.next_token(logits, own, inputs.steps, inputs.seen, sample.noise_of_rows)
        return new, logprobs_of(logits, tf.nn.softmax(logits), new)

    def _join(self):
        """Copies rows from their sources, and prefills them with what follows."""
        inputs = self.inputs
        # Not by prefill_memories, which cuts keys into parts: that copies all of them once more for
        # each part, and few positions follow many keys here.
        writer = functools.partial(copying, inputs.rows, inputs.sources)
        memories = functools.partial(self.decoding.memories, writer=writer)
        with seam.carried_out_by(self.decoding.prefill_execution):
            _, layers = self._read(inputs.tokens, memories)
        return tf.group(layers[-1].written)  # which needs what all layers before it have written

    def _read(self, tokens, memories):
        padding = tf.zeros_like(self.inputs.slots)
        state = sample.State(self.cache, padding, *[None] * (len(sample.State._fields) - 2))
        return sample.read(self.hparams, state, tokens, self.inputs.slots[:, None], memories)


def copying(rows, sources, example, slots):
    """As kv_cache.in_own_slots, for some rows [J] that begin as copies of others [J].

    The function (buffer, x) returns these rows alone, [J, H, C, D].
    """

    def write(buffer, x):
        copy = tf.gather(buffer, sources)
        copy = kv.in_own_slots(copy, slots)(copy, x)
        whole = tf.reshape(buffer, [tf.shape(buffer)[0], -1])
        stored = tf.raw_ops.InplaceUpdate(
            x=whole, i=rows, v=tf.reshape(copy, [tf.shape(copy)[0], -1])
        )
        with tf.control_dependencies([stored]):
            return tf.identity(copy)

    return write


def resized(buffer, capacity):
    """A copy of a buffer of the cache, with fewer or more slots: zeros after the others."""
    kept = buffer[:, :, :capacity]
    more = capacity - tf.shape(kept)[2]
    return tf.pad(kept, tf.convert_to_tensor([[0, 0], [0, 0], [0, more], [0, 0]]))


class Rows:
    """A running batch of a Generator, which it takes over from other requests.

    n: B, how many texts run at a time.  settings: support.settings.Settings, of all of them.
    Raises ValueError once another request of the generator has begun.
    """

    def __init__(self, generator, n, settings):
        self.generator, self.n, self.settings = generator, n, settings
        self.operations = generator.operations_of_rows
        sampling = settings.sampling()
        self.top_p = np.full(n, sampling.pop('top_p'), np.float32)
        self.parameters = generator.parameters.feed(**sampling)
        self.held = np.zeros([n, generator.hparams.n_ctx], np.int32)  # tokens in the cache
        self.slots = np.zeros(n, np.int32)  # how many of them
        self.unread = np.zeros(n, np.int32)  # the last token of each row
        self.samples, self.steps = np.zeros(n, np.int64), np.zeros(n, np.int32)
        self.seen = generator.seen([[]] * n, settings)
        self.running = np.zeros(n, bool)
        self.capacity = min(SLACK, generator.hparams.n_ctx)
        generator.request = self  # the cache is of the latest request alone
        self._run(generator.reset, {generator.batch: n, generator.capacity: self.capacity})

    def join(self, requests):
        """Let rows that do not run begin texts: {row: continuous.Request}."""
        prompts = {row: np.asarray(each.prompt, np.int32) for row, each in requests.items()}
        self._have(max(map(len, prompts.values())), may_shrink=True)
        for row, prompt in prompts.items():
            self.samples[row], self.steps[row] = requests[row].sample, 0
            own = requests[row].top_p
            self.top_p[row] = self.settings.top_p if own is None else own
            self.unread[row] = prompt[-1]
            self.seen[row] = self.generator.seen([prompt], self.settings)[0]
        # What follows a longer prompt's beginning is copied from it: then it needs no reading.
        waiting = sorted(prompts, key=lambda row: len(prompts[row]), reverse=True)
        while waiting:
            now = self._worth_reading_now(waiting, prompts)
            for some in self._of_about_one_size(now, prompts):
                self._read({row: prompts[row] for row in some})
            waiting = [row for row in waiting if row not in now]
        self.running[list(prompts)] = True

    def _worth_reading_now(self, waiting, prompts):
        """Rows whose prompts have little in common with each other, if not with a row already."""
        now = []
        for row in waiting:
            prompt = prompts[row]
            _, known = self._source(prompt)
            gain = max((in_common(prompts[other], prompt) - known for other in now), default=0)
            if gain < WORTH_WAITING:
                now.append(row)
        return now

    def _of_about_one_size(self, rows, prompts):
        """Lists of rows that have about as many tokens to read: those with few of them first."""

        def magnitude(row):
            n_unread = len(prompts[row]) - self._source(prompts[row])[1]
            return max(n_unread, WORTH_WAITING).bit_length()

        return [list(some) for _, some in itertools.groupby(sorted(rows, key=magnitude), magnitude)]

    def _source(self, prompt):
        """The row that holds the most of a prompt's beginning, and how many tokens of it."""
        width = min(len(prompt), self.held.shape[1])
        known = self.held[:, :width] == prompt[:width]
        known &= np.arange(width) < self.slots[:, None]
        lengths = np.where(known.all(axis=1), width, known.argmin(axis=1))
        row = int(lengths.argmax())
        return row, int(lengths[row])

    def _read(self, prompts):
        """Prefill rows with all tokens of their prompts but the last, {row: token ids}."""
        prompts = {row: prompt[:-1] for row, prompt in prompts.items()}
        self._prefill({row: prompt for row, prompt in prompts.items() if len(prompt)})
        for row, prompt in prompts.items():
            self.held[row, : len(prompt)], self.slots[row] = prompt, len(prompt)

    def _prefill(self, prompts):
        """Read all tokens of prompts, {row: token ids}, of which none is empty."""
        sources = {row: self._source(prompt) for row, prompt in prompts.items()}
        # A row is copied by reading it, so at least one token is read.
        begins = {row: min(known, len(prompts[row]) - 1) for row, (_, known) in sources.items()}
        sources = {row: source for row, (source, _) in sources.items()}
        while begins:
            at_once = min(PREFILL_AT_ONCE, max(ROWS_AT_ONCE // len(begins), 128))
            width = min(at_once, max(len(prompts[row]) - begin for row, begin in begins.items()))
            # What is read beyond a prompt's end is overwritten before it is seen.
            begins = {row: min(begin, self.capacity - width) for row, begin in begins.items()}
            tokens = np.zeros([len(begins), width], np.int32)
            for some, (row, begin) in zip(tokens, begins.items(), strict=True):
                piece = prompts[row][begin : begin + width]
                some[: len(piece)] = piece
            self._run(
                self.operations.join,
                self._feed(
                    tokens=tokens,
                    slots=list(begins.values()),
                    rows=list(begins),
                    sources=[sources[row] for row in begins],
                ),
            )
            sources = {row: row for row in begins}
            begins = {row: begin + width for row, begin in begins.items()}
            begins = {row: begin for row, begin in begins.items() if begin < len(prompts[row])}

    def step(self):
        """The next token of each row [B], and its log-probability in nats [B].

        What it says of rows that do not run means nothing.
        """
        self._have(self.slots[self.running].max() + 1)
        # Rows that do not run read something, too: after what they hold, lest that be lost.
        np.minimum(self.slots, self.capacity - 1, out=self.slots)
        feed = self._feed(
            tokens=self.unread[:, None],
            slots=self.slots,
            seeds=[self.settings.seed] * self.n,
            samples=self.samples,
            steps=self.steps,
            top_p=self.top_p,
            seen=self.seen,
        )
        new, logprobs = self._run(self.operations.step, feed | self.parameters)
        mark(self.seen, new[:, None])
        running = np.flatnonzero(self.running)
        self.held[running, self.slots[running]] = self.unread[running]
        self.slots[running] += 1
        self.steps[running] += 1
        self.unread[running] = new[running]
        return new, logprobs

    def leave(self, row):
        """End the text of a row, which others may join then; what it has read stays for them."""
        self.running[row] = False

    def _have(self, needed, may_shrink=False):
        """Allocate as many slots as are needed; fewer where most of them no longer are."""
        if self.running.any():
            needed = max(needed, self.slots[self.running].max() + 1)
        if needed > self.capacity or (may_shrink and 2 * (needed + SLACK) < self.capacity):
            self.capacity = min(needed + SLACK, self.generator.hparams.n_ctx)
            self._run(self.operations.resize, self._feed(capacity=self.capacity))
            np.minimum(self.slots, self.capacity, out=self.slots)

    def _feed(self, **values):
        return {getattr(self.operations.inputs, name): value for name, value in values.items()}

    def _run(self, operation, feed):
        if self.generator.request is not self:
            raise ValueError('another request has begun: an engine serves one at a time')
        return self.generator.run(operation, feed, self.n)


def in_common(a, b):
    """How many first tokens of two arrays are equal."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def mark(seen, tokens):
    """Set which tokens were seen, bool [rows, V], for more of them [rows, n]; [rows, 0] stays."""
    if seen.shape[1]:
        np.put_along_axis(seen, tokens, True, axis=1)
