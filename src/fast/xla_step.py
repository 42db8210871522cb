"""A step of decoding as one program, which XLA compiles when it first runs with new shapes.

Compiling takes two seconds on a CPU, for each number of rows and each size of the cache; then a
step is one program instead of hundreds of operations. The graph around it, the loop and the
sampling, is the one that runs without it, and so is the forward pass in model.py.
"""

import functools

import tensorflow.compat.v1 as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_dynamic_update_slice

import sample


def decode_compiled(hparams, state, n, parameters, memories):
    """`sample.decode` for rows with one unread token each, by compiled steps.

    state: its cache is of variables, which the steps write.  memories: as kv_cache.memories.
    Only `new` of the result is returned.
    """

    @tf.function(jit_compile=True, autograph=False)
    def step(tokens, slot, padding):
        its_state = state._replace(padding=padding)
        assigned = functools.partial(memories, writer=assigning)
        return sample.read(hparams, its_state, tokens, slot, assigned)[0]

    def read(hparams, state, tokens, slot):
        tokens = tf.ensure_shape(tokens, [None, 1])
        return tf.ensure_shape(step(tokens, slot, state.padding), [None, hparams.n_vocab]), None

    # A loop of the first kind that TensorFlow has, as in any graph of this project, does not take
    # a function that uses variables; inside of another function a loop is of the second kind.
    @tf.function(autograph=False)
    def new():
        return sample.decode(hparams, state, n, parameters, read)[0]

    return new()


def assigning(example, slots):
    """As kv_cache.in_place, for variables [B, H, C, D]: XLA updates them where they are."""

    def write(variable, x):
        updated = xla_dynamic_update_slice(
            variable.read_value(), x, indices=tf.stack([0, 0, slots[0], 0])
        )
        variable.assign(updated)
        return updated

    return write
