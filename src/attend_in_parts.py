"""Attention of whole texts to themselves, sparing what the future hides.

Shapes: B batch, S positions, H heads, D head width.
"""

import tensorflow.compat.v1 as tf

import fused_kernels
import model
from fused_kernels import has_fused_kernels

N_PARTS = 4
WORTH_PARTS = 512  # positions; for fewer, four kernels cost what they spare


def attend_in_parts(q, k, v, bias):
    """`model.attend` where position i attends to no position behind it: [B, H, S, D].

    A quarter of the queries after another, each with the keys up to its end: five eighths of the
    work, and a quarter of the memory.

    q, k, v: [B, H, S, D].  bias: [B, 1, S, S], which hides what is behind a position and may hide
        more.
    """
    n = tf.shape(q)[2]
    attend = fused_kernels.attend if has_fused_kernels() else model.attend

    def part(i):
        start, end = i * n // N_PARTS, (i + 1) * n // N_PARTS
        return attend(q[:, :, start:end], k[:, :, :end], v[:, :, :end], bias[:, :, start:end, :end])

    def parts():
        return tf.concat([part(i) for i in range(N_PARTS)], axis=2)

    return tf.cond(n >= WORTH_PARTS, parts, lambda: attend(q, k, v, bias))
