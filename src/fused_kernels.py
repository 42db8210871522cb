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

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import kernels, op_def_library

import model
from tf_session import session_config


def gelu_of_product(x, w, b):
    """gelu(x w + b) for rows x [N, k], a matrix w [k, m] and a bias [m], all float32: [N, m]."""
    return op_def_library.apply_op(
        '_FusedMatMul',
        name='gelu_of_product',
        a=x,
        b=w,
        args=[b],
        fused_ops=['BiasAdd', 'GeluApproximate'],
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
    if tf.config.list_physical_devices('GPU'):
        return False
    if os.environ.get('TF_ENABLE_ONEDNN_OPTS', '').lower() in ('0', 'false'):
        return False
    return bool(kernels.get_registered_kernels_for_op(operation).kernel)


@functools.cache
def has_fused_kernels():
    """Whether all kernels are there and compute what model.py says: they are tried once.

    So a researcher's other `gelu`, `norm` or `attend` is what runs. The session is configured as
    all are, since the first one makes the threads of the process.
    """
    if not all(map(has_kernel, ('_FusedMatMul', '_MklFusedBatchMatMulV2', '_MklLayerNorm'))):
        return False
    numbers = np.linspace(-2, 3, 256, dtype=np.float32).reshape(16, 16)
    try:
        with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
            x = tf.constant(numbers)
            heads, g, b, epsilon = x[None, None], tf.ones([16]), tf.zeros([16]), 1e-5
            pairs = [
                (gelu_of_product(x, x, x[0]), model.gelu(tf.matmul(x, x) + x[0])),
                (layer_norm(x, g, b, epsilon), model.norm(x, 'norm', epsilon=epsilon)),
                (attend(heads, heads, heads, heads), model.attend(heads, heads, heads, heads)),
            ]
            session.run(tf.global_variables_initializer())
            return all(np.allclose(*pair, rtol=1e-4, atol=1e-4) for pair in session.run(pairs))
    except (tf.errors.OpError, RuntimeError, TypeError):  # unknown, or with other attributes
        return False
