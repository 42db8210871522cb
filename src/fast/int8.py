"""Weight matrices in int8: a quarter of the memory, and integer matmuls where there are any.

Shapes: N rows of activations, K inputs and M outputs of a matrix. The token embedding is [M, K]:
V outputs, and its rows are what tokens are embedded as; the others are [K, M].
"""

import concurrent.futures
import copy
import functools
import os

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_library

from fast.onednn import has_kernel
from fast.restore import assign
from fast.session import session_config
from fast.weights import StoredWeight, local_variable, shared

LARGEST = 127  # of an int8 whose range is symmetric
LEAST = 1e-30  # what divides where a row is all zeros
OUTPUTS_AT_ONCE = 256  # how many a thread quantizes at a time, for little memory beside the result


class Int8Matrix(StoredWeight):
    """Multiples of a scale, one for each output; activations become int8 too, row by row.

    Both scales are symmetric and take the largest magnitude to 127. Sums are exact, in int32.
    """

    worth_caching = True
    # oneDNN packs the values for its matmuls in memory of its own. For one position it does so once
    # and keeps the result; for hundreds each time, which is little beside them and holds no memory.
    packed_once = True

    def for_many_rows(self):
        other = copy.copy(self)
        other.packed_once = False
        return other

    def make(self):
        stored = local_variable(self.matrix_shape, tf.int8)
        ranges = local_variable([2, self.n_outputs], tf.float32)
        self.variables = [stored, ranges]
        self.values = stored.read_value()
        # What -127 and 127 stand for. These and the rest are as the kernel asks for them.
        self.least, self.most = tf.unstack(ranges.read_value())
        self.quantized = tf.bitcast(self.values, tf.qint8)
        self.bias = shared(0.0, tf.float32, [self.n_outputs])
        self.input_range = shared(-1.0, tf.float32), shared(1.0, tf.float32)

    def arrays(self, values):
        quantized, scales = quantize(values.reshape(self.matrix_shape), self.transposed)
        return quantized, np.stack([-scales, scales]) * np.float32(LARGEST)

    def rows(self, ids):
        rows = tf.cast(tf.gather(self.values, ids), tf.float32)
        return rows * (tf.gather(self.most, ids)[..., None] / LARGEST)

    def product(self, x):
        if not has_int8_kernel():  # then int8 saves memory only
            values = tf.cast(self.values, tf.float32)
            return tf.matmul(x, values, transpose_b=self.transposed) * (self.most / LARGEST)
        largest = tf.maximum(tf.reduce_max(tf.abs(x), axis=-1, keepdims=True), LEAST)
        x = tf.cast(tf.round(x * (LARGEST / largest)), tf.int8)
        return self.kernel(x) * largest

    def kernel(self, x):
        """x as integers in units of 1 / 127: [N, K] -> [N, M]."""
        # The operation that TensorFlow's own rewriting of quantized graphs ends in: oneDNN's int8
        # matmul.
        (product,), _ = op_def_library.apply_op(
            '_QuantizedMatMul',
            name='product',
            device_inputs=[
                tf.bitcast(x, tf.qint8),
                self.quantized,
                self.bias,
                *self.input_range,
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
            is_weight_const=self.packed_once,
            is_bias_const=True,
            fused_ops=['BiasAdd', 'Dequantize'],
            input_quant_mode='SCALED',
            output_quant_mode='SCALED',
            leakyrelu_alpha=0.0,
        )
        product.set_shape([x.shape[0], self.n_outputs])
        return product


KINDS = {'w': Int8Matrix, 'wte': Int8Matrix}


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
        # Of weights that are NaN or infinite the scales are, too, and then the logits.
        with np.errstate(invalid='ignore'):
            quantized_by_output[some] = np.rint(part / scales[some, None])

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(quantize_some, range(0, len(by_output), OUTPUTS_AT_ONCE)))
    return quantized, scales


@functools.cache
def has_int8_kernel():
    """Whether int8 matmuls run as such: TensorFlow for x86 processors with VNNI can, no GPU."""
    return has_kernel('_QuantizedMatMul') and is_exact()


def is_exact():
    """Try the int8 matmul: x86 processors before VNNI add two products in 16 bits, too few.

    The sums saturate (oneDNN's developer guide, "Nuances of int8 computations"): 4 % of perplexity.
    """
    ones = np.ones([1, 64, 16], np.float32)
    try:
        with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
            matrix = Int8Matrix('w', ones.shape)
            assign(session, [(matrix, matrix.arrays(ones))])
            product = session.run(matrix.kernel(tf.fill([1, 64], tf.constant(LARGEST, tf.int8))))
    except tf.errors.OpError:
        return False
    return np.allclose(product, 64, rtol=1e-3)
