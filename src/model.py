"""The GPT-2 transformer (Radford et al. 2019, section 2.3) as a TensorFlow graph.

Shapes: B batch, S new positions, T positions attended to (past and new), H heads, D = E / H,
E embedding, V vocabulary, L layers. `x` is a tensor [B, S, E] unless said otherwise.

Variable names and shapes are those of the checkpoints released in 2019; tests pin them. Weights
come through seam.py, where training and src/fast substitute other kinds with the same methods.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import seam
from hparams import HParams, default_hparams  # noqa: F401  (2019 code asks this module for them)
from seam import Bias, Embedding, Gain, Matrix


def shape_list(x):
    """The shape of a tensor as a list: a number where it is known, else a scalar tensor."""
    static = x.shape.as_list()
    if None not in static:
        return static
    dynamic = tf.unstack(tf.shape(x))
    return [dynamic[i] if n is None else n for i, n in enumerate(static)]


def new_shape(x):
    """`shape_list` for tf.reshape, which finds out a single unknown axis by itself: -1."""
    static = x.shape.as_list()
    return shape_list(x) if static.count(None) > 1 else [-1 if n is None else n for n in static]


softmax = tf.nn.softmax  # (x, axis=-1)


def gelu(x):
    """Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016, section 2)."""
    # (1 + tanh z) / 2 is the logistic function of 2z: six passes over x instead of nine.
    c = np.sqrt(8 / np.pi)
    return x * tf.sigmoid(x * (c + 0.044715 * c * tf.square(x)))


def norm(x, scope, *, axis=-1, epsilon=1e-5):
    """Layer normalization with gain g and bias b (Ba et al. 2016, eq. 4)."""
    with tf.variable_scope(scope):
        n_state = x.shape[-1].value
        g = seam.weight(Gain, 'g', [n_state], tf.ones_initializer())
        b = seam.weight(Bias, 'b', [n_state], tf.zeros_initializer())
        return g.norm(x, b, axis=axis, epsilon=epsilon)


def split_states(x, n):
    """[..., m] -> [..., n, m / n]"""
    *start, m = new_shape(x)
    return tf.reshape(x, [*start, n, m // n])


def merge_states(x):
    """[..., a, b] -> [..., a * b]"""
    *start, a, b = new_shape(x)
    return tf.reshape(x, [*start, a * b])


def conv1d(x, scope, nf, *, w_init_stdev=0.02, activation=None):
    """A linear layer, [..., nx] -> [..., nf], and a function of each output, if there is one."""
    with tf.variable_scope(scope):
        *start, nx = new_shape(x)
        w = seam.weight(Matrix, 'w', [1, nx, nf], tf.random_normal_initializer(stddev=w_init_stdev))
        b = seam.weight(Bias, 'b', [nf], tf.zeros_initializer())
        return tf.reshape(w.layer(tf.reshape(x, [-1, nx]), b, activation), [*start, nf])


def may_see(i, j):
    """Whether position i attends to position j: attention is causal."""
    return i >= j


def attention_mask(nd, ns, *, dtype):
    """The causal mask [nd, ns]: ones where the last nd of ns positions may look, else zeros."""
    i = tf.range(nd)[:, None]
    j = tf.range(ns)
    return tf.cast(may_see(i, j - ns + nd), dtype)


def mask_bias(mask, dtype):
    """What to add to attention scores so that those outside `mask` (ones and zeros) vanish.

    Half of the dtype's least number: a score cannot push it to infinity, and a row without any
    visible position stays finite, in float16 too, as long as scores are below a quarter of the
    dtype's greatest number (16,376 in float16).
    """
    return (1 - tf.cast(mask, dtype)) * (dtype.min / 2)


def attend(q, k, v, bias):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1): [B, H, S, D].

    q: [B, H, S, D].  k, v: [B, H, T, D].  bias: from `mask_bias`, broadcasts to [B, H, S, T].
    """
    # Scaling q touches D numbers for each position, scaling the scores T of them.
    scores = tf.matmul(q * q.shape[-1].value ** -0.5, k, transpose_b=True)
    return tf.matmul(seam.dropout(softmax(scores + bias), 'weights'), v)


class Memory:
    """Earlier keys and values of a layer, [B, 2, H, T - S, D] or None, and attention to them.

    This one appends new ones to a tensor, as in 2019; kv_cache.py and others remember otherwise.
    """

    def __init__(self, past=None):
        self.past = past

    def attend(self, q, k, v, positions):
        """Attention of new positions to the past and to themselves: [B, H, S, D].

        q, k, v: [B, H, S, D].  positions: their numbers [B, S], or None if only their order counts.
        """
        return self.attention(q, *self.remember(k, v))

    def remember(self, k, v):
        """All keys and values, the new ones and those that were remembered."""
        if self.past is None:
            return k, v
        past_k, past_v = tf.unstack(self.past, axis=1)
        return tf.concat([past_k, k], axis=-2), tf.concat([past_v, v], axis=-2)

    def attention(self, q, k, v):
        mask = attention_mask(shape_list(q)[-2], shape_list(k)[-2], dtype=k.dtype)
        return attend(q, k, v, mask_bias(mask, k.dtype))


@seam.independent_heads
def attn(x, scope, n_state, *, past, hparams, memory=None, positions=None):
    """Masked multi-head self-attention.

    n_state: width of q, of k and of v, all heads together.
    past: as Memory takes it, or give a `memory`; positions: [B, S], or None, see there.
    Returns [B, S, E] and the new keys and values [B, 2, H, S, D].
    """
    memory = memory or Memory(past)
    with tf.variable_scope(scope):
        c = conv1d(x, 'c_attn', n_state * 3)
        c = tf.reshape(c, [*new_shape(c)[:-1], 3, hparams.n_head, n_state // hparams.n_head])
        q, k, v = tf.unstack(tf.transpose(c, [2, 0, 3, 1, 4]), axis=0)  # [B, H, S, D] each
        a = merge_states(tf.transpose(memory.attend(q, k, v, positions), [0, 2, 1, 3]))
        return conv1d(a, 'c_proj', x.shape[-1].value), tf.stack([k, v], axis=1)


@seam.independent_units
def mlp(x, scope, n_state, *, hparams):
    """The position-wise feed-forward layer, n_state wide inside."""
    with tf.variable_scope(scope):
        h = conv1d(x, 'c_fc', n_state, activation=gelu)
        return conv1d(h, 'c_proj', x.shape[-1].value)


@seam.layer
def block(x, scope, *, past, hparams, **seen):
    """One layer: attention and MLP, each after a norm and around a residual connection."""
    with tf.variable_scope(scope):
        nx = x.shape[-1].value
        a, present = attn(norm(x, 'ln_1'), 'attn', nx, past=past, hparams=hparams, **seen)
        x = x + seam.dropout(a, 'attn')
        m = mlp(norm(x, 'ln_2'), 'mlp', nx * 4, hparams=hparams)
        return x + seam.dropout(m, 'mlp'), present


def past_shape(*, hparams, batch_size=None, sequence=None):
    """The shape of the past of all layers: [B, L, 2, H, sequence, D]."""
    head = hparams.n_embd // hparams.n_head
    return [batch_size, hparams.n_layer, 2, hparams.n_head, sequence, head]


def expand_tile(value, size):
    """Repeat a tensor `size` times along a new first axis."""
    value = tf.convert_to_tensor(value)
    return tf.tile(value[None], [size] + [1] * value.shape.ndims)


def positions_for(tokens, past_length):
    """Positions of tokens [B, S] that follow past_length others: [B, S]."""
    batch_size, n_steps = shape_list(tokens)
    return expand_tile(past_length + tf.range(n_steps), batch_size)


def model(
    hparams,
    X,
    past=None,
    scope='model',
    reuse=False,
    *,
    memories=None,
    positions=None,
    last_only=False,
):
    """Next-token logits of a batch of token sequences.

    X: int32 [B, S].  past: None, or the `present` of earlier positions [B, L, 2, H, T, D].
    memories: in place of `past`, a Memory for each layer; then `positions` must be given.
    positions: int32 [B, S]; None counts on from `past`.  last_only: only the last one's logits.
    Returns {'logits': [B, S or 1, V], 'present': of X, 'hidden': [B, S or 1, E] before the logits}.
    Raises ValueError when past and X together exceed n_ctx, where the shapes tell.
    """
    with tf.variable_scope(scope, reuse=reuse):
        if memories is None:
            pasts = [None] * hparams.n_layer if past is None else tf.unstack(past, axis=1)
            memories = [Memory(each) for each in pasts]
        if positions is None:
            past_length = 0 if past is None else shape_list(past)[-2]
            hparams.check_context(past_length, shape_list(X)[1])
            positions = positions_for(X, past_length)
        hparams.check_layers(memories)

        init = tf.random_normal_initializer
        wpe = seam.weight(Embedding, 'wpe', [hparams.n_ctx, hparams.n_embd], init(stddev=0.01))
        wte = seam.weight(Embedding, 'wte', [hparams.n_vocab, hparams.n_embd], init(stddev=0.02))
        h = seam.dropout(wte.rows(X) + wpe.rows(positions), 'embedding')
        presents = []
        for i, memory in enumerate(memories):
            more = dict(hparams=hparams, memory=memory, positions=positions)
            h, present = block(h, f'h{i}', past=None, **more)
            presents.append(present)
        h = norm(h[:, -1:] if last_only else h, 'ln_f')

        logits = wte.product(tf.reshape(h, [-1, hparams.n_embd]))
        logits = tf.reshape(logits, [*new_shape(h)[:-1], hparams.n_vocab])
        return {'logits': logits, 'present': tf.stack(presents, axis=1), 'hidden': h}
