"""Sampling: which token comes next, and the loop that asks again and again.

Shapes: B batch, S prompt positions, V vocabulary.

`decode` takes a State, which holds a KV cache and the tokens that the model has not read yet, and
continues every row by up to n tokens: first it prefills with what is unread, then it goes on token
by token. `sample_sequence` does so from start to end in one graph, as in 2019; generation/engine.py
keeps the state between session runs.
"""

import collections
import typing

import numpy as np
import tensorflow.compat.v1 as tf

import kv_cache as kv
import model
from likelihoods import finite
from support.settings import DEFAULTS, SAMPLING, Settings, check_fits, takes_sampling_parameters

SORTED_AT_FIRST = 1024  # most likely tokens, among which the nucleus is looked for
BLOCK = 256  # tokens of a block: first a block is drawn, then one of its tokens
PHILOX = 1  # the number of the Philox generator in the raw op
PHILOX_BLOCK = 4  # random numbers that Philox makes for each step of its counter
TENSORS = (tf.Tensor, tf.Variable)  # that arguments of sample_sequence may be, besides numbers
OTHERS = {'seed': 'int64', 'first_sample': 'int64', 'end_token': 'int32'}  # and their dtypes


class SamplingParameters(
    collections.namedtuple(
        'SamplingParameters', [*DEFAULTS, *OTHERS], defaults=[*DEFAULTS.values(), 0, 0, -1]
    )
):
    """What a request chooses; scalars, or tensors that are fed.

    Those that settings.Settings declares, and
    seed: int64.
    first_sample: int64, the number of the batch's first row.
    end_token: int32, rows stop after this token; -1: they never do.
    """

    __slots__ = ()

    @classmethod
    def placeholders(cls):
        """All of them as placeholders."""
        dtypes = {name: field.metadata['dtype'] for name, field in SAMPLING.items()} | OTHERS
        return cls(**{name: tf.placeholder(dtype, [], name) for name, dtype in dtypes.items()})

    def feed(self, **values):
        """What to feed to `placeholders`; whole numbers too large for a tensor become its largest.

        (No top_k above the vocabulary truncates anything.)
        """
        tensors = {name: getattr(self, name) for name in values}
        return {
            tensor: min(values[name], tensor.dtype.max) if tensor.dtype.is_integer else values[name]
            for name, tensor in tensors.items()
        }


class State(typing.NamedTuple):
    """Where a batch of texts stands between two calls of `decode`."""

    cache: kv.Cache
    padding: typing.Any  # int32 [B], slots without a token on the left of each row
    slot: typing.Any  # int32, the first free slot of the cache
    unread: typing.Any  # int32 [B, S], the last tokens, which the model has not read yet
    step: typing.Any  # int32, tokens sampled so far
    finished: typing.Any  # bool [B], rows that have produced the end token
    seen: typing.Any  # bool [B, V], tokens that prompt and sample hold; [B, 0] if nobody asks


def penalize_repetition(logits, seen, penalty):
    """Divide the positive logits of tokens that were seen by a penalty, and multiply negative ones.

    logits: [B, V].  seen: bool [B, V].  A penalty of 1 changes nothing, and then `seen` may be
    [B, 0]. penalty may be fed. Keskar et al. 2019, section 4.1.
    """

    def penalize():
        # where_v2: `where` has TensorFlow's rewriting of graphs take [B, 0] for [B, V], too.
        return tf.where_v2(seen, tf.where(logits < 0, logits * penalty, logits / penalty), logits)

    penalty = tf.cast(penalty, logits.dtype)
    return tf.cond(tf.equal(penalty, 1), lambda: logits, penalize)


def top_k_logits(logits, k):
    """Keep the k largest logits of each row, and those equal to the k-th; 0 keeps all.

    logits: [B, V]. The rest becomes the dtype's least number. k may be fed.
    """

    def truncate():
        n_vocab = model.shape_list(logits)[-1]
        values, _ = tf.math.top_k(logits, k=tf.clip_by_value(k, 1, n_vocab))
        return keep(logits, logits >= values[:, -1:])

    return tf.cond(tf.equal(k, 0), lambda: logits, truncate)


def top_p_logits(logits, p):
    """Keep each row's nucleus: the fewest tokens, most likely first, whose probability reaches p.

    logits: [B, V]. The rest becomes the dtype's least number. At least one token stays; of equally
    likely tokens on the edge those with lower ids do; p >= 1 keeps all. p may be fed. Holtzman et
    al. 2019, section 3.1. (The 2019 code lost the token that crosses p.)
    """
    n_vocab = model.shape_list(logits)[-1]

    def truncate():
        normaliser = tf.reduce_logsumexp(logits, axis=-1, keepdims=True)

        def first(n):
            """The logits of the n most likely tokens, in order, and the probability up to each."""
            ordered, _ = tf.math.top_k(logits, n)
            return ordered, tf.cumsum(tf.exp(ordered - normaliser), axis=-1)

        some = first(tf.minimum(SORTED_AT_FIRST, n_vocab))
        enough = tf.reduce_all(some[1][:, -1] >= p)
        # To sort the whole vocabulary takes five times as long; one row that needs it is enough.
        ordered, mass = tf.cond(enough, lambda: some, lambda: first(n_vocab))
        size = 1 + tf.reduce_sum(tf.cast(mass[:, :-1] < p, tf.int32), axis=-1, keepdims=True)
        edge = tf.gather(ordered, size - 1, batch_dims=1)
        above = logits > edge
        on_edge = tf.equal(logits, edge)
        room = size - tf.reduce_sum(tf.cast(above, tf.int32), axis=-1, keepdims=True)
        first_on_edge = tf.cumsum(tf.cast(on_edge, tf.int32), axis=-1) <= room
        return keep(logits, tf.logical_or(above, tf.logical_and(on_edge, first_on_edge)))

    p = tf.cast(p, logits.dtype)
    return tf.cond(p >= 1, lambda: logits, truncate)


def min_p_logits(logits, p):
    """Keep the tokens that are at least p times as likely as the most likely one; 0 keeps all.

    logits: [B, V]. The rest becomes the dtype's least number. p may be fed. Nguyen et al. 2024.
    """

    def truncate():
        return keep(logits, logits - tf.reduce_max(logits, axis=-1, keepdims=True) >= tf.log(p))

    p = tf.cast(p, logits.dtype)
    return tf.cond(p <= 0, lambda: logits, truncate)


def typical_p_logits(logits, p):
    """Keep each row's typical set: tokens whose surprisal is nearest to the entropy, up to mass p.

    logits: [B, V]. The rest becomes the dtype's least number. At least one token stays, and all
    that are as near as the last one that does; p >= 1 keeps all. p may be fed. Meister et al. 2022,
    section 4.
    """

    def truncate():
        logprobs = tf.nn.log_softmax(logits)
        probabilities = tf.exp(logprobs)
        entropy = -tf.reduce_sum(logprobs * probabilities, axis=-1, keepdims=True)
        distance = tf.abs(-logprobs - entropy)
        nearest_first, tokens = tf.math.top_k(-distance, model.shape_list(logits)[-1])
        mass = tf.cumsum(tf.gather(probabilities, tokens, batch_dims=1), axis=-1)
        last = tf.reduce_sum(tf.cast(mass[:, :-1] < p, tf.int32), axis=-1, keepdims=True)
        return keep(logits, -distance >= tf.gather(nearest_first, last, batch_dims=1))

    p = tf.cast(p, logits.dtype)
    return tf.cond(p >= 1, lambda: logits, truncate)


def keep(logits, kept):
    """Logits that are kept, or no numbers: these must not become a row of equally likely tokens."""
    kept = tf.logical_or(kept, tf.is_nan(logits))
    return tf.where(kept, logits, tf.fill(tf.shape(logits), logits.dtype.min))


def gumbel_noise(seed, first_sample, step, batch, n):
    """Gumbel noise [batch, n] that depends on (seed, sample number, step) alone.

    Row i belongs to sample first_sample + i. Philox (Salmon et al. 2011) turns a key and a counter
    into random bits; the key is the seed, the counter's upper half the step, and in its lower half
    every sample owns a stretch of n numbers. So a sample meets the same noise in whatever batch,
    process or order it is drawn.
    """
    blocks = -(-n // PHILOX_BLOCK)
    start = tf.cast(first_sample, tf.int64) * blocks
    counter = tf.stack([start, tf.cast(step, tf.int64)])
    uniform = tf.raw_ops.StatelessRandomUniformV2(
        shape=[batch, blocks * PHILOX_BLOCK],
        key=tf.bitcast(tf.reshape(tf.cast(seed, tf.int64), [1]), tf.uint64),
        counter=tf.bitcast(counter, tf.uint64),
        alg=PHILOX,
    )[:, :n]
    # Multiples of 2^-23 in [0, 1): half a step up excludes 0 and centres each in its interval,
    # without which tokens rarer than 1e-6 are drawn too seldom.
    return -tf.log(-tf.log(uniform + 2.0**-24))


def next_token(logits, parameters, step, seen=None):
    """Sample a token a row from logits [B, V]: int32 [B].

    seen: bool [B, V], for the repetition penalty, as `seen_tokens` has it.

    The largest of log-probabilities plus Gumbel noise is a sample of them (Gumbel 1954). Unlike the
    inversion of a cumulative sum it does not flip when logits differ in their last bit, as they do
    between batch sizes. First a block of tokens is drawn so, then a token of it: instead of one for
    each token, that takes a few hundred random numbers. Temperature 0 takes the largest logit. The
    order in which parameters are applied is that of transformers.
    """
    logits = tf.cast(logits, tf.float32)
    if seen is not None:
        logits = penalize_repetition(logits, seen, parameters.repetition_penalty)
    temperature = tf.cast(parameters.temperature, tf.float32)
    greedy = temperature < 1e-30  # 0, or what float32 arithmetic may take for 0

    def draw():
        # Shifted to a largest of 0, which changes no probability, lest low temperatures overflow.
        scaled = (logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / temperature
        kept = top_k_logits(scaled, parameters.top_k)
        kept = top_p_logits(kept, parameters.top_p)
        kept = min_p_logits(kept, parameters.min_p)
        kept = typical_p_logits(kept, parameters.typical_p)
        p = tf.exp(kept)  # probabilities but for a factor, which moves all logarithms alike
        batch, n_vocab = model.shape_list(logits)
        n_blocks = -(-n_vocab // BLOCK)
        blocks = tf.pad(p, [[0, 0], [0, n_blocks * BLOCK - n_vocab]])
        blocks = tf.reshape(blocks, [batch, n_blocks, BLOCK])
        own = parameters.seed, parameters.first_sample, step
        noise = gumbel_noise(*own, batch, n_blocks + BLOCK)
        block = most_likely(tf.log(tf.reduce_sum(blocks, axis=-1)) + noise[:, :n_blocks])
        tokens = tf.gather(blocks, block, batch_dims=1)
        return block * BLOCK + most_likely(tf.log(tokens) + noise[:, n_blocks:])

    return tf.cond(greedy, lambda: most_likely(logits), draw)


def most_likely(scores):
    return tf.argmax(scores, axis=-1, output_type=tf.int32)


def seen_tokens(context, padding, n_vocab, penalty):
    """Which tokens prompts hold: bool [B, V], or [B, 0] where a penalty of 1 asks for nothing.

    context: int32 [B, S].  padding: int32 [B], what of S is left.
    """
    batch, n_prompt = model.shape_list(context)

    def mark():
        rows = tf.tile(tf.range(batch)[:, None], [1, n_prompt])
        real = tf.range(n_prompt) >= padding[:, None]
        places = tf.stack([rows, context], axis=-1)
        return tf.scatter_nd(places, tf.cast(real, tf.int32), [batch, n_vocab]) > 0

    off = tf.equal(tf.cast(penalty, tf.float32), 1)
    return tf.cond(off, lambda: tf.zeros([batch, 0], tf.bool), mark)


def start(hparams, context, padding, capacity, penalty=1):
    """The state before anything is read.

    context: int32 [B, S], prompts that stand on the right.  padding: int32 [B], what of S is left.
    capacity: slots of the cache: S for the prompt and one for each new token except the last.
    penalty: for repetition, other than 1 if the state is to know which tokens were seen.
    """
    batch = model.shape_list(context)[0]
    return State(
        cache=kv.empty_cache(hparams, batch, capacity),
        padding=padding,
        slot=0,
        unread=context,
        step=0,
        finished=tf.zeros([batch], tf.bool),
        seen=seen_tokens(context, padding, hparams.n_vocab, penalty),
    )


def read(hparams, state, tokens, slot, memories=kv.memories):
    """Let the model read tokens [B, S] into the cache from `slot` on.

    memories: (cache, slots, padding) -> a Memory for each layer.
    Returns the logits of the last token [B, V], and the memories, which tell what was written.
    """
    slots = slot + tf.range(model.shape_list(tokens)[1])
    layers = memories(state.cache, slots, state.padding)
    outputs = model.model(
        hparams,
        tokens,
        memories=layers,
        positions=kv.slot_positions(slots, state.padding),
        last_only=True,
        reuse=tf.AUTO_REUSE,
    )
    return outputs['logits'][:, 0], layers


def decode(hparams, state, n, parameters, read=read):
    """Continue every row by up to n tokens, at least one; stop when all rows have ended.

    read: the function of this name, or another with its first four arguments and its results.
    Returns the new tokens int32 [B, <= n] and the state after them. Rows that have ended repeat
    the end token. The cache must have room for S + n - 1 slots more. Logits that are NaN or
    infinite are an InvalidArgumentError.
    """
    end_token = tf.cast(parameters.end_token, tf.int32)

    def goes_on(new, unread, slot, finished, seen):
        return tf.logical_and(tf.shape(new)[1] < n, tf.logical_not(tf.reduce_all(finished)))

    def body(new, unread, slot, finished, seen):
        logits, _ = read(hparams, state, unread, slot)
        token = next_token(finite(logits), parameters, state.step + tf.shape(new)[1], seen)
        token = tf.where(finished, tf.fill(tf.shape(token), end_token), token)
        finished = tf.logical_or(finished, tf.equal(token, end_token))
        slot += model.shape_list(unread)[1]
        seen = tf.logical_or(seen, tf.one_hot(token, tf.shape(seen)[1], True, False, dtype=tf.bool))
        return tf.concat([new, token[:, None]], axis=1), token[:, None], slot, finished, seen

    batch, width = state.unread.shape
    width = 1 if width == 1 else None  # known, it spares a third of a step's operations
    shapes = [batch, None], [batch, width], [], [batch], [batch, None]
    new, unread, slot, finished, seen = tf.while_loop(
        goes_on,
        body,
        [state.unread[:, :0], state.unread, state.slot, state.finished, state.seen],
        shape_invariants=[tf.TensorShape(shape) for shape in shapes],
        back_prop=False,
    )
    step = state.step + tf.shape(new)[1]
    after = state._replace(unread=unread, slot=slot, step=step, finished=finished, seen=seen)
    return new, after


@takes_sampling_parameters
def sample_sequence(
    *,
    hparams,
    length,
    start_token=None,
    batch_size=None,
    context=None,
    temperature=1,
    top_k=0,
    top_p=1,
    seed=None,
    first_sample=0,
    prompt_lengths=None,
    end_token=None,
    **more,
):
    """Continue prompts by `length` sampled tokens in one graph: int32 [B, S + length].

    context: int32 [B, S]; or give start_token, with which each of batch_size rows then begins.
    length: int, or a scalar tensor.
    Sampling parameters are numbers, or scalar tensors with what settings.Settings allows:
    <sampling parameters>
    seed: int or int64 tensor: the same seed and sample number give the same text, run after run.
        None draws a new seed in each session run, from tf.set_random_seed if that was called.
    first_sample: the number of row 0; row i is sample first_sample + i.
    prompt_lengths: int32 [B], for prompts of different lengths: each row's tokens stand on the
        right of `context`, whatever fills its left. None: all rows are S long.
    end_token: rows end after this token and are filled up with it. None: they never end.
    Raises ValueError if S + length exceeds n_ctx + 1 (the last token is never fed back) and for
        numbers that cannot be meant; InvalidArgumentError where the sizes are known only when it
        runs, and for prompt_lengths outside 1..S.
    """
    if (start_token is None) == (context is None):
        raise ValueError('Specify exactly one of start_token and context!')
    if context is None and batch_size is None:
        raise ValueError('start_token needs a batch_size')
    sampling = dict(temperature=temperature, top_k=top_k, top_p=top_p, **more)
    check_numbers(length=length, seed=seed, **sampling)
    length = length if isinstance(length, TENSORS) else int(length)
    if context is None:
        context = tf.fill([batch_size, 1], start_token)
    context = tf.convert_to_tensor(context, tf.int32)
    if context.shape.ndims != 2:
        raise ValueError(f'context must have the shape [batch, tokens], not {context.shape}')
    if seed is None:
        seed = tf.random.uniform([], maxval=np.iinfo(np.int64).max, dtype=tf.int64)
    parameters = SamplingParameters(
        **sampling,
        seed=seed,
        first_sample=first_sample,
        end_token=-1 if end_token is None else end_token,
    )
    checks = check_room(model.shape_list(context)[1], length, hparams.n_ctx)
    if prompt_lengths is not None:
        prompt_lengths = tf.convert_to_tensor(prompt_lengths, tf.int32)
        checks += check_lengths(prompt_lengths, context)
    with tf.control_dependencies(checks):  # nothing is allocated before they have passed
        context = tf.identity(context)
        if isinstance(length, TENSORS):
            length = tf.identity(length)
    prompt, padding = left_padded(context, prompt_lengths)

    slots = model.shape_list(context)[1] + length - 1
    state = start(hparams, prompt, padding, slots, parameters.repetition_penalty)
    new, _ = decode(hparams, state, length, parameters)
    missing = length - model.shape_list(new)[1]
    new = tf.pad(new, [[0, 0], [0, missing]], constant_values=parameters.end_token)
    return tf.concat([context, new], axis=1)


def left_padded(context, prompt_lengths):
    """Prompts [B, S] with token 0 for whatever fills their left, and how much that is: int32 [B].

    The model reads the filling too, so it must be tokens; prompt_lengths None means there is none.
    """
    batch, n_prompt = model.shape_list(context)
    if prompt_lengths is None:
        return context, tf.zeros([batch], tf.int32)
    padding = n_prompt - prompt_lengths
    real = tf.range(n_prompt) >= padding[:, None]
    return tf.where(real, context, tf.zeros_like(context)), padding


def check_numbers(**values):
    """Raise ValueError if one of the settings is a number that cannot be meant."""
    Settings(**{'length': 1} | {k: v for k, v in values.items() if not isinstance(v, TENSORS)})


def check_lengths(prompt_lengths, context):
    """The operations that check prompt lengths [B] against prompts [B, S] when run."""
    n_prompt = model.shape_list(context)[1]
    fits = tf.logical_and(prompt_lengths >= 1, prompt_lengths <= n_prompt)
    message = 'prompt lengths must be from 1 to the width of the context:'
    return [tf.Assert(tf.reduce_all(fits), [message, prompt_lengths, n_prompt])]


def check_room(n_prompt, length, n_ctx):
    """Check now that prompt and new tokens fit, or return the operations that check when run."""
    if isinstance(n_prompt, int) and isinstance(length, int):
        check_fits(n_prompt, length, n_ctx)
        return []
    message = f'prompt and new tokens exceed the context of {n_ctx} tokens:'
    fits = n_prompt + length <= n_ctx + 1
    some = tf.logical_and(n_prompt >= 1, length >= 1)
    return [
        tf.Assert(fits, [message, n_prompt, length]),
        tf.Assert(some, ['prompt and length must be at least 1:', n_prompt, length]),
    ]
