"""The rows of a running batch: each continues a text of its own, and begins another at any time.

Shapes: B rows, K of them that take a step, J that are prefilled at a time, S tokens of each, C
slots, V vocabulary.

The token at position p of a row's text is in slot p of that row of the KV cache, wherever the other
rows are. So texts join while others run (continuous batching; Yu et al. 2022, section 3). What is
read into which row is decided in prefill.py, how each row samples in row_sampling.py.
"""

import functools
import time
import typing

import numpy as np
import tensorflow.compat.v1 as tf

import kv_cache as kv
import sample
import seam
from generation.prefill import Held
from generation.row_sampling import RowSampling
from likelihoods import finite, logprobs_of, top_of
from support.settings import SAMPLING

SLACK = 32  # Slots beyond those needed now: attention reads all, and to have more copies the cache.
PREFILL_AT_ONCE = 512  # Tokens of each prompt: more take more memory, and Ctrl-C waits for them.
ROWS_AT_ONCE = 4096  # Tokens of all prompts together: of many prompts fewer tokens each.
# What is read between two steps is to take so long: texts that run wait for it.
PIECE_SECONDS = 0.1
PIECES = 16, 512  # The fewest and the most tokens of it.


class Inputs(typing.NamedTuple):
    """What the operations are fed with; int32 unless said otherwise."""

    tokens: typing.Any  # [K, 1] in a step; [J, S] in a prefill
    slots: typing.Any  # [K] or [J], where the first of these tokens belongs
    steps: typing.Any  # [K], tokens sampled so far
    seen: typing.Any  # bool [K, V], or [K, 0] without a repetition penalty
    bias: typing.Any  # float32 [K, V], what is added to logits, or [K, 0] for nothing
    n_top: typing.Any  # how many of the most likely tokens are told
    rows: typing.Any  # [J], which rows are prefilled
    sources: typing.Any  # [J], rows that hold what comes before the tokens
    order: typing.Any  # which rows the cache is to keep, first ones first
    n_rows: typing.Any  # rows of the cache
    capacity: typing.Any  # its slots

    @classmethod
    def placeholders(cls):
        scalars = {'n_top': [], 'n_rows': [], 'capacity': []}
        shapes = scalars | dict.fromkeys(('tokens', 'seen', 'bias'), [None, None])
        dtypes = {'seen': 'bool', 'bias': 'float32'}
        each = [(name, dtypes.get(name, 'int32'), shapes.get(name, [None])) for name in cls._fields]
        return cls(*(tf.placeholder(dtype, shape, name) for name, dtype, shape in each))


def parameters_of_rows():
    """sample.SamplingParameters as placeholders, each [K]; no end token: texts end elsewhere."""
    dtypes = {name: field.metadata['dtype'] for name, field in SAMPLING.items()}
    dtypes |= dict.fromkeys(('seed', 'first_sample'), 'int64')
    return {
        name: tf.placeholder(dtype, [None], f'{name}_of_rows') for name, dtype in dtypes.items()
    }


class Operations:
    """What a session runs for rows.

    Make it where the engine's graph is the default one and not finalized.
    variables: of the KV cache.
    """

    def __init__(self, hparams, decoding, variables):
        self.hparams, self.decoding = hparams, decoding
        self.cache = tf.nest.map_structure(lambda variable: variable.values, variables)
        with tf.name_scope('rows'):
            self.inputs, self.parameters = Inputs.placeholders(), parameters_of_rows()
            self.step = self._step()
            self.prefill = self._prefill()
            self.arrange = self._arrange(variables)

    @functools.cached_property
    def step_of_one(self):
        """`step` for the first row alone, which has fewer operations and faster ones."""
        if not self.decoding.one_row_apart:
            return self.step
        with tf.name_scope('rows'):
            return self._step(1)

    def _step(self, k=None):
        """Reads a token of each of the first K rows, and samples the next.

        Its ids [K] and log-probabilities [K]; ids and log-probabilities of the most likely ones
        [K, n_top]. Log-probabilities are in nats and those of the model itself: at temperature 1,
        without truncation, penalty and bias.
        k: K, if it is known.
        """
        inputs = self.inputs._replace(
            tokens=tf.ensure_shape(self.inputs.tokens, [k, 1]),
            slots=tf.ensure_shape(self.inputs.slots, [k]),
        )
        memories = functools.partial(self.decoding.memories, writer=in_first_rows)
        with seam.carried_out_by(self.decoding.execution):
            logits, _ = self._read(inputs, memories)
        logits = finite(tf.cast(logits, tf.float32))
        unbiased = tf.equal(tf.shape(inputs.bias)[1], 0)
        biased = tf.cond(unbiased, lambda: logits, lambda: logits + inputs.bias)
        new = next_tokens(biased, self.parameters, inputs.steps, inputs.seen)
        p = tf.nn.softmax(logits)
        nothing = tf.zeros([tf.shape(new)[0], 0])
        top = tf.cond(
            tf.equal(inputs.n_top, 0),
            lambda: (tf.cast(nothing, tf.int32), nothing),
            lambda: top_of(logits, p, inputs.n_top),
        )
        return new, logprobs_of(logits, p, new), *top

    def _prefill(self):
        """Copies rows from their sources, and reads what follows into them."""
        inputs = self.inputs
        # Not by prefill_memories, which cuts keys into parts: that copies all of them once more for
        # each part, and few positions follow many keys here.
        writer = functools.partial(copying, inputs.rows, inputs.sources)
        memories = functools.partial(self.decoding.memories, writer=writer)
        with seam.carried_out_by(self.decoding.prefill_execution):
            _, layers = self._read(inputs, memories)
        return tf.group(layers[-1].written)  # which needs what all layers before it have written

    def _arrange(self, variables):
        """Gives the cache more or fewer rows and slots, and rows another order."""
        arrange = functools.partial(arranged, inputs=self.inputs)
        buffers = map(arrange, tf.nest.flatten(self.cache))
        pairs = zip(tf.nest.flatten(variables), buffers, strict=True)
        return tf.group([variable.assign(buffer) for variable, buffer in pairs])

    def _read(self, inputs, memories):
        padding = tf.zeros_like(inputs.slots)
        state = sample.State(self.cache, padding, *[None] * (len(sample.State._fields) - 2))
        return sample.read(self.hparams, state, inputs.tokens, inputs.slots[:, None], memories)


def next_tokens(logits, parameters, steps, seen):
    """As sample.next_token, for rows each of which has parameters and a step of its own: [K].

    One row after another, so that each takes the time of what it asks for itself: to find a nucleus
    among all tokens takes longer than all the rest, and few rows need it.
    """

    @tf.autograph.experimental.do_not_convert  # which takes time, and files
    def of_row(row):
        own = {name: tf.gather(values, row) for name, values in parameters.items()}
        of_one = slice(row, row + 1)
        return sample.next_token(
            logits[of_one],
            sample.SamplingParameters(**own),
            tf.gather(steps, row),
            seen[of_one],
        )[0]

    rows = tf.range(tf.shape(logits)[0])
    return tf.map_fn(of_row, rows, fn_output_signature=tf.int32)


def in_first_rows(example, slots):
    """As kv_cache.in_own_slots, for the first K of the rows, slots [K, 1].

    The function (buffer, x) returns these rows alone, [K, H, C, D], without a copy.
    """
    write = kv.in_own_slots(example, slots)
    # Once for all layers: operations take time, however small they are.
    start, end, stride = tf.constant([0]), tf.shape(slots)[:1], tf.constant([1])

    def write_rows(buffer, x):
        rows = tf.strided_slice(write(buffer, x), start, end, stride)
        return tf.ensure_shape(rows, [slots.shape[0], *buffer.shape[1:]])

    return write_rows


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


def arranged(buffer, inputs):
    """A copy of a buffer with the rows of inputs.order, then with zeros as far as it is larger."""
    n_kept = tf.shape(inputs.order)[0]
    # To take the first rows copies nothing.
    as_they_are = tf.reduce_all(tf.equal(inputs.order, tf.range(n_kept)))
    kept = tf.cond(as_they_are, lambda: buffer[:n_kept], lambda: tf.gather(buffer, inputs.order))
    kept = kept[:, :, : inputs.capacity]
    more = inputs.capacity - tf.shape(kept)[2]
    return tf.pad(
        kept, tf.convert_to_tensor([[0, inputs.n_rows - n_kept], [0, 0], [0, more], [0, 0]])
    )


class Rows:
    """A running batch of a Generator, which it takes over from other requests.

    n: B, how many texts run at a time.
    patiently: as continuous.Batch has it. Then prompts are read at once, and a row keeps what it
        has read until another text takes it. Otherwise the rows that run move together, so that a
        step costs what it costs for these alone.
    Raises ValueError once another request of the generator has begun.
    """

    def __init__(self, generator, n, patiently=False):
        hparams = generator.hparams
        self.generator, self.n, self.patiently = generator, n, patiently
        self.operations = generator.operations_of_rows
        self.rows = {}  # {number of a request: its row}
        self.held, self.sampling = Held(n, hparams.n_ctx), RowSampling(n, hparams.n_vocab)
        self.last = np.zeros(n, np.int32)  # the token of each row that the next step reads
        self.n_rows, self.capacity = n if patiently else 1, min(SLACK, hparams.n_ctx)
        self.piece = 64  # tokens
        with generator.turn:
            generator.request = self  # the cache is of the latest request alone
            shape = {generator.batch: self.n_rows, generator.capacity: self.capacity}
            self._run(generator.reset, shape)

    def join(self, requests):
        """Let requests begin, {number: continuous.Request}; their prompts are still to be read."""
        free = [row for row in range(self.n) if row not in self.rows.values()]
        for row, (number, request) in zip(free, requests.items(), strict=False):
            self.rows[number] = row
            self.held.begin(row, request.prompt)
            self.sampling.begin(row, request)
            self.last[row] = request.prompt[-1]
        self._have_room(may_shrink=True)

    def read(self):
        """Prefill rows with prompts, to the end or by one piece; whether there was something."""
        anything = bool(self.held.unread)
        while self.held.unread:
            each, total = self.piece, self.piece
            if self.patiently:
                each, total = PREFILL_AT_ONCE, ROWS_AT_ONCE
            each = min(each, self.capacity)
            piece = self.held.next_piece(each, total, self.capacity, self.patiently)
            start = time.perf_counter()
            self._run(
                self.operations.prefill,
                self._feed(
                    tokens=piece.tokens, slots=piece.begins, rows=piece.rows, sources=piece.sources
                ),
            )
            self._pace(piece.tokens.size, time.perf_counter() - start)
            self.held.take(piece)
            if not self.patiently:
                break
        return anything

    def step(self):
        """The next token of each text: {number: (token, log-probability, [(token, its), …])}.

        Log-probabilities are in nats. Texts whose prompts are not read yet get none.
        """
        self._have_room()
        running = {n: row for n, row in self.rows.items() if row not in self.held.unread}
        if not running:
            return {}
        n = max(running.values()) + 1
        # Rows between them that do not run read something, too: after what they hold.
        self.held.limit(self.capacity - 1, slice(n))
        feed = self._feed(
            tokens=self.last[:n, None], slots=self.held.lengths[:n], **self.sampling.feed(n)
        )
        results = [of_rows.tolist() for of_rows in self._run(self._step_of(n), feed)]
        return {number: self._new(row, *results) for number, row in running.items()}

    def _step_of(self, n):
        """The operations of a step of n rows."""
        if n > 1:
            return self.operations.step
        with self.generator.more_graph():  # when first asked for
            return self.operations.step_of_one

    def _new(self, row, new, logprobs, top, top_logprobs):
        """What `step` says of a row, which takes its new token."""
        token, logprob = new[row], logprobs[row]
        n_top = self.sampling.arrays['n_top'][row]
        top = list(zip(top[row], top_logprobs[row], strict=True))[:n_top]
        # The last bit of a logarithm depends on its place in an array.
        logprob = dict(top).get(token, logprob)
        self.held.add(row, self.last[row])
        self.sampling.add(row, token)
        self.last[row] = token
        return token, logprob, top

    def leave(self, number):
        """End a text; what its row has read stays for others."""
        row = self.rows.pop(number)
        self.held.unread.pop(row, None)
        self.sampling.end(row)

    def _have_room(self, may_shrink=False):
        """Allocate as many rows and slots as are needed; fewer where most no longer are."""
        taken = sorted(self.rows.values())
        n_rows, order = taken[-1] + 1, range(self.n)
        scattered = not self.patiently and n_rows > 2 * len(taken)
        if scattered:
            order = taken + [row for row in order if row not in self.rows.values()]
            n_rows = len(taken)
        needed, capacity = max(map(self.held.slots_needed, taken)), self.capacity
        if needed > capacity or (may_shrink and 2 * (needed + SLACK) < capacity):
            capacity = min(needed + SLACK, self.generator.hparams.n_ctx)
        if scattered or n_rows > self.n_rows or capacity != self.capacity:
            if not self.patiently:
                n_rows = min(2 ** (n_rows - 1).bit_length(), self.n)  # few sizes, few copies
            self._arrange(list(order), n_rows if not self.patiently else self.n, capacity)

    def _arrange(self, order, n_rows, capacity):
        n_kept = min(n_rows, self.n_rows)
        # A row that the cache did not have holds nothing, whatever it is a copy of.
        kept = [row if row < self.n_rows else 0 for row in order[:n_kept]]
        self._run(self.operations.arrange, self._feed(order=kept, n_rows=n_rows, capacity=capacity))
        self.n_rows, self.capacity = n_rows, capacity
        self.held.arrange(order, n_kept)
        self.held.limit(capacity)
        self.sampling.arrange(order)
        self.last = self.last[order]
        places = {old: new for new, old in enumerate(order)}
        self.rows = {number: places[row] for number, row in self.rows.items()}

    def _pace(self, n_tokens, seconds):
        """Choose the size of the next piece by the time that one of so many tokens has taken."""
        if 2 * n_tokens > self.piece:
            possible = n_tokens * PIECE_SECONDS / seconds
            if possible < self.piece:
                self.piece = max(self.piece // 2, PIECES[0])
            elif possible > 2 * self.piece:
                self.piece = min(self.piece * 2, PIECES[1])

    def _feed(self, **values):
        named = self.operations.parameters | self.operations.inputs._asdict()
        return {named[name]: value for name, value in values.items()}

    def _run(self, operation, feed):
        with self.generator.turn:
            if self.generator.request is not self:
                raise ValueError('another request has begun: an engine serves one at a time')
            return self.generator.run(operation, feed, self.n_rows)
