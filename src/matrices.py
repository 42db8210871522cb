"""Weight matrices in another dtype than float32: how they are stored, loaded and multiplied.

model.py asks tf.get_variable for its weights; `stored_as` is a getter that gives it one of these
for each matrix, and float32 variables for the rest. So one forward pass serves all dtypes.

Shapes: N rows of activations, K inputs and M outputs of a matrix. The token embedding is [M, K]:
V outputs, and its rows are what tokens are embedded as; the others are [K, M].
"""

import concurrent.futures
import functools
import os

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import kernels, op_def_library

from tf_session import session_config

LARGEST = 127  # of an int8 whose range is symmetric
LEAST = 1e-30  # divides where a row is all zeros
OUTPUTS_AT_ONCE = 256  # are quantized by a thread, for little memory beside the result
LOADED_AT_ONCE = 2**25  # bytes that are set by one run of the session: each takes 20 ms to prepare


def stored_as(dtype):
    """Return a getter for tf.variable_scope, and a dict of the matrices that it will have made.

    dtype: 'bfloat16' or 'int8'; with 'float32' there are none, and the getter is None.
    """
    matrices = {}
    kinds = {
        'float32': {},
        # TensorFlow rounds a bfloat16 product to bfloat16. Logits do not bear that: near -100, as
        # those of the released models are, neighbours are 0.5 apart. The embedding stays float32.
        'bfloat16': {'w': Bfloat16Matrix},
        'int8': {'w': Int8Matrix, 'wte': Int8Matrix},
    }[dtype]

    def getter(getter, name, shape=None, *args, **kwargs):
        kind = kinds.get(name.split('/')[-1])
        if kind is None:
            return getter(name, shape, *args, **kwargs)
        if name not in matrices:
            matrices[name] = kind(name, shape)
        return matrices[name]

    return (getter if kinds else None), matrices


class Matrix:
    """What matrices of all kinds have in common; `name` and `shape` are those in checkpoints."""

    def __init__(self, name, shape):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.transposed = name.endswith('wte')
        self.matrix_shape = self.shape.as_list()[-2:]
        self.n_outputs = self.matrix_shape[0 if self.transposed else 1]
        with tf.control_dependencies(None):  # outside of loops
            self.make()

    def variable(self, shape, dtype):
        return tf.Variable(
            lambda: tf.zeros(shape, dtype),
            trainable=False,
            collections=[tf.GraphKeys.LOCAL_VARIABLES],
        )


class Bfloat16Matrix(Matrix):
    """The upper half of each float32, 8 bits of precision; so are what it is multiplied with."""

    def make(self):
        self.stored = self.variable(self.matrix_shape, tf.bfloat16)
        self.values = self.stored.read_value()

    def assignments(self, values):
        values = values.reshape(self.matrix_shape)
        return [(self.stored, values.astype(tf.bfloat16.as_numpy_dtype))]

    def product(self, x):
        return tf.cast(tf.matmul(tf.cast(x, tf.bfloat16), self.values), tf.float32)


class Int8Matrix(Matrix):
    """Multiples of a scale, one for each output; activations become int8 too, row by row.

    Both scales are symmetric and take the largest magnitude to 127. Sums are exact, in int32.
    """

    def make(self):
        self.stored = self.variable(self.matrix_shape, tf.int8)
        self.stored_scales = self.variable([self.n_outputs], tf.float32)
        self.values = self.stored.read_value()
        self.scales = self.stored_scales.read_value()
        # What the kernel asks for; nothing of it is computed where it is not used.
        self.most = self.scales * LARGEST
        self.least = -self.most
        self.bias = tf.zeros([self.n_outputs])
        self.quantized = tf.bitcast(self.values, tf.qint8)

    def assignments(self, values):
        quantized, scales = quantize(values.reshape(self.matrix_shape), self.transposed)
        return [(self.stored, quantized), (self.stored_scales, scales)]

    def rows(self, ids):
        rows = tf.cast(tf.gather(self.values, ids), tf.float32)
        return rows * tf.gather(self.scales, ids)[..., None]

    def product(self, x):
        if not has_int8_kernel():  # then int8 saves memory only
            values = tf.cast(self.values, tf.float32)
            return tf.matmul(x, values, transpose_b=self.transposed) * self.scales
        largest = tf.maximum(tf.reduce_max(tf.abs(x), axis=-1, keepdims=True), LEAST)
        x = tf.cast(tf.round(x * (LARGEST / largest)), tf.int8)
        return self.kernel(x) * largest

    def kernel(self, x):
        """x as integers in units of 1 / 127: [N, K] -> [N, M]."""
        # The operation that TensorFlow's own rewriting of quantized graphs ends in: oneDNN's int8
        # product. It takes the ranges that -127 and 127 stand for, the weights' for each output.
        (product,), _ = op_def_library.apply_op(
            '_QuantizedMatMul',
            name='product',
            device_inputs=[
                tf.bitcast(x, tf.qint8),
                self.quantized,
                self.bias,
                tf.constant(-1.0),
                tf.constant(1.0),
                self.least,
                self.most,
            ],
            host_inputs=[],
            Tdevice_outputs=[tf.float32],
            Thost_outputs=[],
            T1=tf.qint8,
            T2=tf.qint8,
            Tbias=tf.float32,
            U=tf.float32,
            Tout=tf.float32,
            transpose_a=False,
            transpose_b=self.transposed,
            is_weight_const=True,
            is_bias_const=True,
            fused_ops=['BiasAdd', 'Dequantize'],
            input_quant_mode='SCALED',
            output_quant_mode='SCALED',
            leakyrelu_alpha=0.0,
        )
        product.set_shape([x.shape[0], self.n_outputs])
        return product


def load(session, reader, matrices):
    """Set matrices from the float32 weights that a checkpoint's reader gives by their names."""
    waiting, size = [], 0
    for matrix in matrices:
        assignments = matrix.assignments(reader.get_tensor(matrix.name))
        waiting += assignments
        size += sum(values.nbytes for _, values in assignments)
        if size > LOADED_AT_ONCE:
            assign(session, waiting)
            waiting, size = [], 0
    assign(session, waiting)


def assign(session, assignments):
    """Set variables: list of (variable, NumPy array)."""
    feed = {variable.initializer.inputs[1]: values for variable, values in assignments}
    session.run([variable.initializer for variable, _ in assignments], feed)


def quantize(values, transposed):
    """Return float32 [K, M], or [M, K] if transposed, as int8 and the scales float32 [M]."""
    by_output = values if transposed else values.T
    quantized = np.empty(values.shape, np.int8)
    quantized_by_output = quantized if transposed else quantized.T
    scales = np.empty(len(by_output), np.float32)

    def quantize_some(start):
        some = slice(start, start + OUTPUTS_AT_ONCE)
        part = by_output[some]
        scales[some] = np.maximum(np.abs(part).max(axis=1), LEAST) / LARGEST
        quantized_by_output[some] = np.rint(part / scales[some, None])

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(quantize_some, range(0, len(by_output), OUTPUTS_AT_ONCE)))
    return quantized, scales


@functools.cache
def has_int8_kernel():
    """Whether products of int8 run as such: TensorFlow for x86 processors with VNNI can, no GPU."""
    if tf.config.list_physical_devices('GPU'):
        return False
    if os.environ.get('TF_ENABLE_ONEDNN_OPTS', '').lower() in ('0', 'false'):
        return False
    return bool(kernels.get_registered_kernels_for_op('_QuantizedMatMul').kernel) and is_exact()


def is_exact():
    """Try the int8 product: x86 processors before VNNI add two products in 16 bits, too few.

    They saturate (oneDNN's developer guide, "Nuances of int8 computations"): 4 % of perplexity.
    The session is configured as all are, since the first one makes the threads of the process.
    """
    ones = np.ones([1, 64, 16], np.float32)
    try:
        with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
            matrix = Int8Matrix('w', ones.shape)
            assign(session, matrix.assignments(ones))
            product = session.run(matrix.kernel(tf.fill([1, 64], tf.constant(LARGEST, tf.int8))))
    except tf.errors.OpError:
        return False
    return np.allclose(product, 64, rtol=1e-3)
