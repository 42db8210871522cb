"""oneDNN's kernels that fuse several operations, for hundreds of positions at a time.

Inside the MLP, 1,024 positions of the smallest model are 12 MB. GELU by itself passes over them six
times and takes a quarter of the time of the matmul before it; within the matmul's kernel it takes
a twentieth. For a single position the plain operations are faster: these kernels take
0.1 ms to prepare.

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
import seam
from fast.session import session_config

OPERATIONS = '_FusedMatMul', '_MklFusedBatchMatMulV2', '_MklLayerNorm'


def linear(x, w, b, activation=None, transposed=False):
    """x w + b for rows x [N, k], a matrix w [k, m] and a bias [m] of the same dtype: [N, m].

    transposed: whether w is [m, k].
    activation: the kernel's name of what follows in it, such as 'GeluApproximate'.
    """
    return op_def_library.apply_op(
        '_FusedMatMul',
        name='linear',
        a=x,
        b=w,
        args=[b],
        fused_ops=['BiasAdd', *filter(None, [activation])],
        transpose_a=False,
        transpose_b=transposed,
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
    """The scaled matmul of q [B, H, S, D] and k [B, H, T, D] plus a bias [B, 1, S, T], all float32.

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


class FusedGain(seam.Gain):
    """A gain whose normalization is one kernel."""

    def norm(self, x, b, *, axis=-1, epsilon=1e-5):
        if axis != -1:
            return super().norm(x, b, axis=axis, epsilon=epsilon)
        return layer_norm(x, tf.convert_to_tensor(self.values), b, epsilon)


class FusedMatrix(seam.Matrix):
    """A matrix whose matmul, bias and GELU are one kernel."""

    def layer(self, x, b, activation=None):
        if activation is model.gelu and 'gelu' in verified():
            return linear(x, self.values, b, 'GeluApproximate')
        y = linear(x, self.values, b)
        return activation(y) if activation else y


def verified():
    """Which kernels are there and compute what seam.py and model.py say: each is tried once.

    So a researcher's other `gelu`, `attend` or `Gain` is what runs, and the other kernels stay.
    """
    return _verified(model.gelu, model.attend, seam.Gain.norm)


@functools.cache
def _verified(*functions):
    return try_kernels()


def try_kernels():
    """What `verified` returns, found out anew."""
    if not all(map(has_kernel, OPERATIONS)):
        return frozenset()
    numbers = np.linspace(-2, 3, 256, dtype=np.float32).reshape(16, 16)
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        x = tf.constant(numbers)
        heads = tf.constant(np.random.default_rng(0).normal(size=[2, 3, 16, 16]), tf.float32)
        w, b, g = x[::-1], x[3], x[9] - 1
        layer, gain = seam.Matrix(w[None]).layer, seam.Gain(g)
        trials = {
            'linear': lambda: (linear(x, w, b), layer(x, b)),
            'gelu': lambda: (linear(x, w, b, 'GeluApproximate'), layer(x, b, model.gelu)),
            'norm': lambda: (layer_norm(x, g, b, 1e-5), gain.norm(x, b)),
            'attention': lambda: [
                f(heads, heads, heads, heads[:, :1]) for f in (attend, model.attend)
            ],
        }
        return frozenset(name for name, trial in trials.items() if agree(session, trial))


def agree(session, trial):
    """Whether the two tensors that a trial makes hold the same numbers."""
    try:
        return np.allclose(*session.run(list(trial())), rtol=1e-4, atol=1e-4)
    # An operation that is unknown, has other attributes or other shapes; or an edited function.
    except (tf.errors.OpError, RuntimeError, TypeError, ValueError):
        return False
