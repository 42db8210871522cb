"""An activation as one loop that XLA compiles, and its gradient as another, for training.

Operation by operation GELU and its gradient pass some twenty times over the inside of the MLP,
12 MB for 1,024 positions of the smallest model, and leave four tensors of that size to the way
back. As loops they pass twice and leave the input: a quarter of the time, a quarter of the memory.
"""

import functools

import tensorflow.compat.v1 as tf


def can_compile():
    """Whether this TensorFlow compiles for the CPU that it runs on. (GPUs have not been tried.)"""
    return tf.test.is_built_with_xla() and not tf.config.list_physical_devices('GPU')


@functools.cache
def compiled(activation):
    """A function that computes the same as `activation`, of a tensor's numbers one by one.

    It is compiled when it first runs with a new shape, in a fraction of a second.
    """

    @tf.function(jit_compile=True, autograph=False)
    def forward(x):
        return activation(x)

    @tf.function(jit_compile=True, autograph=False)
    def backward(x, dy):
        return tf.gradients(activation(x), [x], dy)[0]

    @tf.custom_gradient
    def both(x):
        return forward(x), functools.partial(backward, x)

    return both
