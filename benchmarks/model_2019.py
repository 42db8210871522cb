"""The forward pass as TensorFlow ran it in 2019, the baseline of decode.py.

The mathematics of src/model.py in the operations of that time: reference variables, a softmax, a
mask and a power in several steps, a past that is concatenated, and the logits of all positions.
Shapes: B batch, S new positions, T past ones, E embedding, V vocabulary, L layers, H heads,
D = E / H.
"""

import math

import tensorflow.compat.v1 as tf


def variable(name, shape):
    return tf.get_variable(name, shape, initializer=tf.zeros_initializer())


def reshaped(x, like, end):
    """x with the first two axes of `like`, then `end`."""
    return tf.reshape(x, tf.concat([tf.shape(like)[:2], end], axis=0))


def softmax(x):
    e = tf.exp(x - tf.reduce_max(x, axis=-1, keepdims=True))
    return e / tf.reduce_sum(e, axis=-1, keepdims=True)


def norm(x, name):
    width = x.shape[-1].value
    mean = tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axis=-1, keepdims=True)
    x = (x - mean) * tf.rsqrt(variance + 1e-5)
    return x * variable(name + '/g', [width]) + variable(name + '/b', [width])


def linear(x, name, n_out):
    n_in = x.shape[-1].value
    w, b = variable(name + '/w', [1, n_in, n_out]), variable(name + '/b', [n_out])
    return reshaped(
        tf.matmul(tf.reshape(x, [-1, n_in]), tf.reshape(w, [-1, n_out])) + b, x, [n_out]
    )


def attention(x, past, n_head):
    """[B, S, E], [B, 2, H, T, D] or None -> [B, S, E], the keys and values of x [B, 2, H, S, D]."""
    width = x.shape[-1].value
    q, k, v = (
        tf.transpose(reshaped(part, x, [n_head, width // n_head]), [0, 2, 1, 3])
        for part in tf.split(linear(x, 'attn/c_attn', 3 * width), 3, axis=2)
    )
    present = tf.stack([k, v], axis=1)
    if past is not None:
        past_k, past_v = tf.unstack(past, axis=1)
        k, v = tf.concat([past_k, k], axis=-2), tf.concat([past_v, v], axis=-2)
    w = tf.matmul(q, k, transpose_b=True) * tf.rsqrt(float(width // n_head))
    n_new, n_all = tf.shape(w)[2], tf.shape(w)[3]
    mask = tf.cast(tf.range(n_new)[:, None] >= tf.range(n_all) - n_all + n_new, w.dtype)
    w = softmax(w * mask - 1e10 * (1 - mask))
    a = reshaped(tf.transpose(tf.matmul(w, v), [0, 2, 1, 3]), x, [width])
    return linear(tf.ensure_shape(a, [None, None, width]), 'attn/c_proj', width), present


def mlp(x):
    width = x.shape[-1].value
    h = linear(x, 'mlp/c_fc', 4 * width)
    h = 0.5 * h * (1 + tf.tanh((2 / math.pi) ** 0.5 * (h + 0.044715 * tf.pow(h, 3))))
    return linear(tf.ensure_shape(h, [None, None, 4 * width]), 'mlp/c_proj', width)


def forward(hparams, tokens, past):
    """Logits [B, S, V] and present [B, L, 2, H, S, D] of tokens [B, S] after a past, or None."""
    width = hparams.n_embd
    with tf.variable_scope('model', reuse=tf.AUTO_REUSE, use_resource=False):
        wte = variable('wte', [hparams.n_vocab, width])
        wpe = variable('wpe', [hparams.n_ctx, width])
        n_past = 0 if past is None else tf.shape(past)[-2]
        h = tf.gather(wte, tokens) + tf.gather(wpe, n_past + tf.range(tf.shape(tokens)[1]))
        presents = []
        pasts = [None] * hparams.n_layer if past is None else tf.unstack(past, axis=1)
        for layer, past in enumerate(pasts):
            with tf.variable_scope(f'h{layer}'):
                a, present = attention(norm(h, 'ln_1'), past, hparams.n_head)
                h += a
                h += mlp(norm(h, 'ln_2'))
                presents.append(present)
        logits = tf.matmul(tf.reshape(norm(h, 'ln_f'), [-1, width]), wte, transpose_b=True)
        return reshaped(logits, tokens, [hparams.n_vocab]), tf.stack(presents, axis=1)
