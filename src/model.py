"""The GPT-2 transformer (Radford et al. 2019, section 2.3) as a TensorFlow graph.

Shapes: B batch, S new positions, T positions attended to (past and new), H heads, D = E / H,
E embedding, V vocabulary, L layers. `x` is a tensor [B, S, E] unless said otherwise.

Variable names and shapes are those of the checkpoints released in 2019; tests pin them.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from hparams import HParams, default_hparams  # noqa: F401  (2019 code asks this module for them)

# The project's one switch: graphs and sessions as in 2019, with the variables of today.
tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()
tf.enable_resource_variables()
# Float32 means float32 on every GPU: TensorFloat-32 would keep 10 bits of each factor.
tf.config.experimental.enable_tensor_float_32_execution(False)


def shape_list(x):
    """The shape of a tensor as a list: a number where it is known, else a scalar tensor."""
    static = x.shape.as_list()
    if None not in static:
        return static
    dynamic = tf.unstack(tf.shape(x))
    return [dynamic[i] if n is None else n for i, n in enumerate(static)]


def softmax(x, axis=-1):
    return tf.nn.softmax(x, axis=axis)


def gelu(x):
    """Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016, section 2)."""
    # (1 + tanh z) / 2 is the logistic function of 2z: six passes over x instead of nine.
    c = np.sqrt(8 / np.pi)
    return x * tf.sigmoid(x * (c + 0.044715 * c * tf.square(x)))


def norm(x, scope, *, axis=-1, epsilon=1e-5):
    """Layer normalization with gain g and bias b (Ba et al. 2016, eq. 4), in float32 inside."""
    with tf.variable_scope(scope):
        n_state = x.shape[-1].value
        g = tf.get_variable('g', [n_state], initializer=tf.ones_initializer())
        b = tf.get_variable('b', [n_state], initializer=tf.zeros_initializer())
        if not tf.is_tensor(g) and axis == -1:  # a gain that knows how to normalise (matrices.py)
            return g.norm(x, b, epsilon)
        wide = tf.cast(x, tf.float32)
        centred = wide - tf.reduce_mean(wide, axis=axis, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=axis, keepdims=True)
        return tf.cast(centred * tf.rsqrt(variance + epsilon), x.dtype) * g + b


def dropout(x, place):
    """x itself, or what the graph's training makes of it where it drops values (dropping.py).

    place: str, unique within the variable scope.
    """
    functions = tf.get_collection('dropout')
    return functions[-1](x, place) if functions else x


def reshape_like(x, like, n, new):
    """Reshape x to the shape of `like` with its last n axes replaced by `new`, known numbers."""
    start = like.shape.as_list()[:-n]
    if start.count(None) > 1:
        start = shape_list(like)[:-n]
    # A single unknown axis is left to the reshape, which saves the operations that measure it.
    return tf.reshape(x, [-1 if axis is None else axis for axis in start] + new)


def split_states(x, n):
    """[..., m] -> [..., n, m / n]"""
    return reshape_like(x, x, 1, [n, x.shape[-1].value // n])


def merge_states(x):
    """[..., a, b] -> [..., a * b]"""
    return reshape_like(x, x, 2, [x.shape[-2].value * x.shape[-1].value])


def product(x, w, *, transposed=False):
    """Rows x [N, k] times a weight matrix: [N, m].

    w: [k, m], transposed [m, k], or a matrix that knows how to multiply (matrices.py). One whose
        shape is [1, k, m] is what the released checkpoints hold.
    """
    if not tf.is_tensor(w):
        return w.product(x)
    if w.shape.ndims == 3:
        w = tf.squeeze(w, axis=0)
    return tf.matmul(x, w, transpose_b=transposed)


def rows(w, ids):
    """Rows of a weight matrix [m, k] by their numbers: [..., k]."""
    return tf.gather(w, ids) if tf.is_tensor(w) else w.rows(ids)


def conv1d(x, scope, nf, *, w_init_stdev=0.02, activation=None):
    """A linear layer, [..., nx] -> [..., nf]; the 2019 code saw it as a convolution of width 1.

    activation: a function of its outputs, one by one, that a matrix may have in its product.
    """
    with tf.variable_scope(scope):
        nx = x.shape[-1].value
        initializer = tf.random_normal_initializer(stddev=w_init_stdev)
        w = tf.get_variable('w', [1, nx, nf], initializer=initializer)
        b = tf.get_variable('b', [nf], initializer=tf.zeros_initializer())
        rows = tf.reshape(x, [-1, nx])
        if not tf.is_tensor(w):
            return reshape_like(w.layer(rows, b, activation), x, 1, [nf])
        # The bias is added behind the reshape: next to the product the two become one fused
        # kernel where TensorFlow rewrites graphs, which is slower for a single position.
        c = reshape_like(product(rows, w), x, 1, [nf]) + b
        return activation(c) if activation else c


def attention_mask(nd, ns, *, dtype):
    """Ones where a position may look, zeros elsewhere: the lower triangle, from the lower right.

    nd new positions attend to ns positions, of which they are the last: [nd, ns].
    """
    i = tf.range(nd)[:, None]
    j = tf.range(ns)
    return tf.cast(i >= j - ns + nd, dtype)


def mask_bias(mask, dtype):
    """What to add to attention scores so that those outside `mask` (ones and zeros) vanish.

    Half of the dtype's least number: a score cannot push it to infinity, and a row without any
    visible position stays finite, in float16 too, as long as scores are below a quarter of the
    dtype's greatest number (16,376 in float16).
    """
    return (1 - tf.cast(mask, dtype)) * (dtype.min / 2)


def recall(past, k, v):
    """All keys and values that new positions attend to, and the bias that hides future ones.

    past: None, or a tensor [B, 2, H, T - S, D] of earlier keys and values.
    k, v: [B, H, S, D] of the new positions.
    Returns [B, H, T, D], [B, H, T, D] and a bias that broadcasts to [B, H, S, T].
    """
    n_new = shape_list(k)[-2]
    if past is not None:
        past_k, past_v = tf.unstack(past, axis=1)
        k = tf.concat([past_k, k], axis=-2)
        v = tf.concat([past_v, v], axis=-2)
    mask = attention_mask(n_new, shape_list(k)[-2], dtype=k.dtype)
    return k, v, mask_bias(mask, k.dtype)


def attend(q, k, v, bias):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1): [B, H, S, D]."""
    # Scaling q touches D numbers for each position, scaling the scores T of them.
    q = q * q.shape[-1].value ** -0.5
    if q.dtype == tf.float16:  # for which attend_once's product is missing on CPUs
        return attend_all(q, k, v, bias)
    n_new = shape_list(q)[-2]
    if isinstance(n_new, int):  # else the graph's run tells: a loop reads prompts and tokens alike
        return (attend_once if n_new == 1 else attend_all)(q, k, v, bias)
    return tf.cond(
        tf.equal(n_new, 1), lambda: attend_once(q, k, v, bias), lambda: attend_all(q, k, v, bias)
    )


def attend_all(q, k, v, bias):
    """`attend` for many positions whose q is scaled."""
    w = softmax(tf.matmul(q, k, transpose_b=True) + bias)
    return tf.matmul(dropout(w, 'weights'), v)


def attend_once(q, k, v, bias):
    """`attend` for a single position whose q is scaled: the same by kernels with less overhead.

    oneDNN replaces tf.matmul and tf.nn.softmax, not these. For products as small as one position's
    most of its time is preparation: 2.5 ms of a 35 ms step at 128 slots, nothing at 1,000.
    """
    product = tf.raw_ops.BatchMatMulV3
    scores = product(x=q, y=k, adj_y=True, Tout=q.dtype) + bias
    e = tf.exp(scores - tf.reduce_max(scores, axis=-1, keepdims=True))
    return product(x=e, y=v, Tout=q.dtype) / tf.reduce_sum(e, axis=-1, keepdims=True)


def attn(x, scope, n_state, *, past, hparams):
    """Masked multi-head self-attention.

    n_state: width of q, of k and of v, all heads together.
    past: what `recall` takes; or a function of (q, k, v) with the result of `attend`, which
        remembers in its own way (cache.py).
    Returns x's successor and the new keys and values [B, 2, H, S, D].
    """

    def split_heads(c):
        """[B, S, 3E] -> q, k and v, [B, H, S, D] each; one transpose for all is the quickest."""
        n_head, width = hparams.n_head, n_state // hparams.n_head
        if c.shape[-2].value == 1:  # a single position's numbers are in order
            return tf.unstack(reshape_like(c, c, 2, [3, n_head, 1, width]), axis=1)
        c = reshape_like(c, c, 1, [3, n_head, width])
        return tf.unstack(tf.transpose(c, [2, 0, 3, 1, 4]), axis=0)

    def merge_heads(x):
        """[B, H, S, D] -> [B, S, E]"""
        if x.shape[-2].value == 1:
            return reshape_like(x, x, 3, [1, n_state])
        return merge_states(tf.transpose(x, [0, 2, 1, 3]))

    with tf.variable_scope(scope):
        q, k, v = split_heads(conv1d(x, 'c_attn', n_state * 3))
        a = past(q, k, v) if callable(past) else attend(q, *recall(past, k, v))
        return conv1d(merge_heads(a), 'c_proj', x.shape[-1].value), tf.stack([k, v], axis=1)


def mlp(x, scope, n_state, *, hparams):
    """The position-wise feed-forward layer, n_state wide inside."""
    with tf.variable_scope(scope):
        h = conv1d(x, 'c_fc', n_state, activation=gelu)
        return conv1d(h, 'c_proj', x.shape[-1].value)


def call(sublayer, *args, **kwargs):
    return sublayer(*args, **kwargs)


def block(x, scope, *, past, hparams, call=call):
    """One layer: attention and MLP, each behind a norm and around a residual connection.

    call: calls `attn` and `mlp` with their arguments, or does what gives the same (shards.py).
    """
    with tf.variable_scope(scope):
        nx = x.shape[-1].value
        a, present = call(attn, norm(x, 'ln_1'), 'attn', nx, past=past, hparams=hparams)
        x = x + dropout(a, 'attn')
        m = call(mlp, norm(x, 'ln_2'), 'mlp', nx * 4, hparams=hparams)
        return x + dropout(m, 'mlp'), present


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
    positions=None,
    last_only=False,
    layer=block,
):
    """Next-token logits of a batch of token sequences.

    X: int32 [B, S].
    past: None, or the `present` of earlier positions [B, L, 2, H, T, D]; or L functions, one a
        layer, as `attn` takes them: then `positions` must be given.
    positions: int32 [B, S], each below n_ctx; None counts on from `past`.
    last_only: compute the logits of the last position only, as samplers want them.
    layer: `block`, or another function with its arguments and result.
    Returns {'logits': [B, S or 1, V], 'present': keys and values of X [B, L, 2, H, S, D], and what
        the logits are made of, 'hidden': [B, S or 1, E] and 'wte': [V, E]}.
    Raises ValueError when past and X together exceed n_ctx, where the shapes tell.
    """
    with tf.variable_scope(scope, reuse=reuse):
        if isinstance(past, (list, tuple)):
            pasts = past
        else:
            pasts = [None] * hparams.n_layer if past is None else tf.unstack(past, axis=1)
            past_length = 0 if past is None else shape_list(past)[-2]
            check_context(hparams, past_length, shape_list(X)[1])
        if positions is None:
            positions = positions_for(X, past_length)

        init = tf.random_normal_initializer
        wpe = tf.get_variable('wpe', [hparams.n_ctx, hparams.n_embd], initializer=init(stddev=0.01))
        wte = tf.get_variable(
            'wte', [hparams.n_vocab, hparams.n_embd], initializer=init(stddev=0.02)
        )
        # Rows are taken from the values: tf.gather on a variable itself turns every later read
        # of it, such as the last matmul's, into a copy.
        wpe = tf.convert_to_tensor(wpe)
        wte = tf.convert_to_tensor(wte) if tf.is_tensor(wte) else wte

        h = dropout(rows(wte, X) + rows(wpe, positions), 'embedding')
        presents = []
        for i in range(hparams.n_layer):
            h, present = layer(h, f'h{i}', past=pasts[i], hparams=hparams)
            presents.append(present)
        h = norm(h[:, -1:] if last_only else h, 'ln_f')

        logits = product(tf.reshape(h, [-1, hparams.n_embd]), wte, transposed=True)
        logits = reshape_like(logits, h, 1, [hparams.n_vocab])
        present = tf.stack(presents, axis=1)
        return {'logits': logits, 'present': present, 'hidden': h, 'wte': wte}


def check_context(hparams, past_length, n_new):
    """Raise ValueError if known lengths exceed n_ctx; a GPU would read zeros beyond it silently."""
    known = isinstance(past_length, int) and isinstance(n_new, int)
    if known and past_length + n_new > hparams.n_ctx:
        raise ValueError(f'{past_length} past and {n_new} new tokens exceed n_ctx={hparams.n_ctx}')
