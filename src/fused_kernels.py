"""oneDNN's kernels that do in one go what takes several operations, for hundreds of positions.

Inside the MLP, 1,024 positions of the smallest model are 12 MB. GELU by itself passes over them six
times, for which it takes a quarter of the time of the product before it; within the product's
kernel it takes a twentieth. For a single position the plain operations are quicker: these kernels
take 0.1 ms to prepare.

TensorFlow's rewriting of graphs would find the same, but only a GELU that is written with tanh,
which takes half as long again where it is not fused: in training, and for few positions.
"""

import functools
import os
import platform

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import kernels, op_def_library

import model
from tf_session import session_config

OPERATIONS = '_FusedMatMul', '_MklFusedBatchMatMulV2', '_MklLayerNorm'


def linear(x, w, b, *more):
    """x w + b for rows x [N, k], a matrix w [k, m] and a bias [m], all float32: [N, m].

    more: what follows in the kernel, such as 'GeluApproximate'.
    """
    return op_def_library.apply_op(
        '_FusedMatMul',
        name='linear',
        a=x,
        b=w,
        args=[b],
        fused_ops=['BiasAdd', *more],
        transpose_a=False,
        transpose_b=False,
        epsilon=0.0,
        leakyrelu_alpha=0.0,
    )


def layer_norm(x, g, b, epsilon):
    """Layer normalization of x [..., n] with gain g [n] and bias b [n], all float32."""
    y = op_def_library.apply_op(
        '_MklLayerNorm', name='layer_norm', x=x, scale=g, offset=b, epsilon=epsilon
    )
    y.set_shape(x.shape)
    return y


def attention_scores(q, k, bias):
    """Scaled products of q [B, H, S, D] and k [B, H, T, D] plus a bias [B, 1, S, T], all float32.

    Returns [B, H, S, T].
    """
    return op_def_library.apply_op(
        '_MklFusedBatchMatMulV2',
        name='attention_scores',
        x=q,
        y=k,
        args=[tf.constant(q.shape[-1].value ** -0.5), bias],
        fused_ops=['Mul', 'Add'],
        adj_x=False,
        adj_y=True,
        epsilon=0.0,
        leakyrelu_alpha=0.0,
    )


def attend(q, k, v, bias):
    """`model.attend`, all float32."""
    return tf.matmul(model.softmax(attention_scores(q, k, bias)), v)


def has_kernel(operation):
    """Whether TensorFlow runs an operation by oneDNN: its wheels for x86 processors, no GPU."""
    if platform.machine().lower() not in ('x86_64', 'amd64'):
        return False
    if tf.config.list_physical_devices('GPU'):
        return False
    if os.environ.get('TF_ENABLE_ONEDNN_OPTS', '').lower() in ('0', 'false'):
        return False
    return bool(kernels.get_registered_kernels_for_op(operation).kernel)


@functools.cache
def has_fused_kernels():
    """Whether all kernels are there and compute what model.py says: they are tried once.

    So a researcher's other `gelu`, `norm`, `conv1d` or `attend` is what runs.
    """
    if not all(map(has_kernel, OPERATIONS)):
        return False
    numbers = np.linspace(-2, 3, 256, dtype=np.float32).reshape(16, 16)
    try:
        with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
            x, heads = tf.constant(numbers), tf.constant(numbers[None, None])
            weights = {'w': x[None, ::-1], 'b': x[3], 'g': x[9] - 1}

            def getter(getter, name, *arguments, **more):
                return weights[name.split('/')[-1]]

            with tf.variable_scope('', custom_getter=getter):
                plain = model.conv1d(x, 'plain', 16)
                layer = model.conv1d(x, 'layer', 16, activation=model.gelu)
                norm = model.norm(x, 'norm', epsilon=1e-5)
            w, b, g = weights['w'][0], weights['b'], weights['g']
            pairs = [
                (linear(x, w, b), plain),
                (linear(x, w, b, 'GeluApproximate'), layer),
                (layer_norm(x, g, b, 1e-5), norm),
                (attend(heads, heads, heads, heads), model.attend(heads, heads, heads, heads)),
            ]
            return all(np.allclose(*pair, rtol=1e-4, atol=1e-4) for pair in session.run(pairs))
    # An operation that is unknown, has other attributes or other shapes.
    except (tf.errors.OpError, RuntimeError, TypeError, ValueError):
        return False
