"""What is computed of a single row of activations, as programs that XLA compiles.

oneDNN's matmuls of fewer bits than float32 are made for many rows: of a single one they read the
weights at two thirds of what a core's memory gives, and the operations around them take as long to
begin as to run. Compiled, a linear layer is one loop over the weights, which become float32 on the
way to the registers. (In float32 Eigen's kernel is as fast: sharded_weights.py. A layer norm is not
faster as a program, which takes as long to begin as its operations do.)

A program is for tensors of fixed shapes, compiled when it first runs, in a tenth of a second.
Shapes: K inputs and M outputs of a matrix.
"""

import collections.abc
import functools
import weakref

import tensorflow.compat.v1 as tf

from fast.xla_activation import can_compile, is_pure

MOST_INPUTS = 4095  # XLA writes converted weights to memory beside a vector of 16 KiB or more


def takes(x):
    """Whether `layer` takes x [N, K]."""
    return x.shape[0] == 1 and x.shape[1] <= MOST_INPUTS and can_compile()


def once_a_graph(make):
    """As functools.cache, for each graph anew: what a function reads may have changed since.

    A notebook may set a number that its activation multiplies by, and the function stays.
    """
    of_graphs = weakref.WeakKeyDictionary()

    @functools.wraps(make)
    def made(*arguments):
        results = of_graphs.setdefault(tf.get_default_graph(), {})
        if arguments not in results:
            results[arguments] = make(*arguments)
        return results[arguments]

    return made


def layer(product, x, b, activation, *weights):
    """A linear layer of one row as a program: [1, M].

    product: (x, *weights) -> [M]; a function of a module, as a graph keeps a program of each.
    x: [1, K].  b: [M], or a scalar.  activation: a function of each output, or None.
    """
    inside = activation if activation and may_be_inside(activation) else None
    tensors = x, b, *weights
    signature = tuple(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors)
    y = program(product, inside, signature)(*tensors)
    return activation(y) if activation and not inside else y


def may_be_inside(activation):
    """Whether it may be part of a program: all that it depends on is its input."""
    return isinstance(activation, collections.abc.Hashable) and is_pure_function(activation)


@once_a_graph
def is_pure_function(activation):
    with tf.Graph().as_default():
        return is_pure(activation, tf.placeholder(tf.float32, [1, 64]))


@once_a_graph
def program(product, activation, signature):
    @tf.function(jit_compile=True, autograph=False)
    def layer(x, b, *weights):
        # The product is of rank 1: else XLA first writes all weights to memory as float32.
        y = product(x, *weights)[None] + b
        return activation(y) if activation else y

    # Called as it is, it would be in a control flow context of XLA's, in which TensorFlow does not
    # find what is outside of a loop.
    with tf.Graph().as_default():
        return layer.get_concrete_function(*signature)


def rounded_to_bfloat16(x):
    """float32 x with the precision of bfloat16, in a program: XLA leaves out casts to and fro."""
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_reduce_precision  # only with XLA

    return xla_reduce_precision(x, exponent_bits=8, mantissa_bits=7)
