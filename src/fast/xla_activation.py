"""An activation as one loop that XLA compiles, and its gradient as another, for training.

Operation by operation GELU and its gradient pass some twenty times over the inside of the MLP,
12 MB for 1,024 positions of the smallest model, and keep four tensors of that size for the
backward pass. As loops they pass twice and keep only the input: a quarter of the time, a quarter of
the memory.
"""

import collections.abc
import functools

import tensorflow.compat.v1 as tf

import seam
from fast.session import session_config


def activate(activation, x):
    """activation(x), compiled where that can be and computes the same; None is no activation."""
    if activation is None:
        return x
    return (compiled(activation) if is_pure(activation, x) else activation)(x)


@functools.cache
def can_compile():
    """Whether this TensorFlow compiles for the CPU it runs on: tried once. (No GPU was at hand.)"""
    if not tf.test.is_built_with_xla() or tf.config.list_physical_devices('GPU'):
        return False
    try:
        with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
            session.run(compiled(tf.square)(tf.ones([1])))
    except tf.errors.OpError:
        return False
    return True


def is_pure(activation, x):
    """Whether a function reads nothing but x, draws no random numbers and makes no variables.

    It is called once, in a graph of its own, where what it has of this one raises an error.
    """
    with tf.Graph().as_default() as alone:
        try:
            activation(tf.placeholder(x.dtype, x.shape))
        except Exception:  # if it is another mistake it shows where the plain function is called
            return False
    stateful = any(operation.op_def.is_stateful for operation in alone.get_operations())
    return not stateful and isinstance(activation, collections.abc.Hashable)


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


class TrainedMatrix(seam.Matrix):
    """A matrix whose activation and its gradient are compiled if they can be."""

    def layer(self, x, b, activation=None):
        return activate(activation, self.product(x) + b)
