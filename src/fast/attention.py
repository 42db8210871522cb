"""Attention of many positions, sparing what the causal mask hides, and of a single one.

Shapes: B batch, S positions, T positions attended to, H heads, D head width.
"""

import tensorflow.compat.v1 as tf

import model
from fast import onednn

N_PARTS = 4


def attention_in_parts(n, bias, before=0):
    """A function (q, k, v) like `model.attend`, where positions do not attend to later ones.

    The queries are cut into quarters. One quarter after another attends to the keys up to its own
    end: five eighths of the work, and a quarter of the memory.

    n: S, a scalar tensor.  bias: [B, 1, S, T], which hides what comes after a position and may hide
        more.  before: the number of keys that are before the first query; after those of the
        queries there may be others, which no query sees.
    The function takes q [B, H, S, D], k and v [B, H, T, D], and returns [B, H, S, D].
    """
    attend = onednn.attend if 'attention' in onednn.verified() else model.attend
    # What is the same in all layers is made once: operations take time to make, too.
    ends = [tf.stack([0, 0, i * n // N_PARTS, 0]) for i in range(N_PARTS + 1)]
    seen = [tf.stack([0, 0, before + i * n // N_PARTS, 0]) for i in range(1, N_PARTS + 1)]
    parts = [
        (start, end, keys, between(bias, start, end)[..., : keys[2]])
        for start, end, keys in zip(ends[:-1], ends[1:], seen, strict=True)
    ]
    zero = ends[0]

    def attend_in_parts(q, k, v):
        return tf.concat(
            [
                attend(between(q, start, end), between(k, zero, keys), between(v, zero, keys), bias)
                for start, end, keys, bias in parts
            ],
            axis=2,
        )

    return attend_in_parts


def between(x, start, end):
    """x[:, :, start[2] : end[2]] by a single operation."""
    others = 0b1011  # a mask of the axes that are not cut
    return tf.strided_slice(x, start, end, begin_mask=others, end_mask=others)


def attention_of_steps(bias):
    """A function (q, k, v) like `model.attend` with a bias, for one position at a time or more."""

    def attend(q, k, v):
        n_new = model.shape_list(q)[-2]
        if isinstance(n_new, int):
            return (attend_once if n_new == 1 else model.attend)(q, k, v, bias)
        return tf.cond(  # known when the graph runs: a loop reads prompts and single tokens
            tf.equal(n_new, 1),
            lambda: attend_once(q, k, v, bias),
            lambda: model.attend(q, k, v, bias),
        )

    return attend


def attend_once(q, k, v, bias):
    """`model.attend` for a single position: the same by kernels with less overhead.

    oneDNN replaces tf.matmul and tf.nn.softmax, not these. For matmuls as small as one position's
    most of its time is preparation: 2.5 ms of a 35 ms step at 128 slots, nothing at 1,000.
    """
    matmul = tf.raw_ops.BatchMatMulV3
    q = q * q.shape[-1].value ** -0.5
    scores = matmul(x=q, y=k, adj_y=True, Tout=q.dtype) + bias
    e = tf.exp(scores - tf.reduce_max(scores, axis=-1, keepdims=True))
    return matmul(x=e, y=v, Tout=q.dtype) / tf.reduce_sum(e, axis=-1, keepdims=True)
