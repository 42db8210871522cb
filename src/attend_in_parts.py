"""Attention of texts and long prompts to themselves, sparing what the future hides.

Shapes: B batch, S positions, T positions attended to, H heads, D head width.
"""

import tensorflow.compat.v1 as tf

import fused_kernels
import model
from fused_kernels import has_fused_kernels

N_PARTS = 4


def attention_in_parts(n, bias, before=0):
    """A function (q, k, v) like `model.attend`, where positions do not attend to those behind them.

    A quarter of the queries after another, each with the keys up to its end: five eighths of the
    work, and a quarter of the memory.

    n: S, a scalar tensor.  bias: [B, 1, S, T], which hides what is behind a position and may hide
        more.  before: the number of keys that are before the first query; behind those of the
        queries there may be others, which nobody sees.
    The function takes q [B, H, S, D], k and v [B, H, T, D], and returns [B, H, S, D].
    """
    attend = fused_kernels.attend if has_fused_kernels() else model.attend
    # What no layer changes is made once: operations take time to make, too.
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
