"""Weight matrices in int8: a quarter of the memory, and integer matmuls where there are any.

Shapes: N rows of activations, K inputs and M outputs of a matrix. In int8 each is [M, K], as the
token embedding is in checkpoints: V outputs, and its rows are what tokens are embedded as.
"""

import concurrent.futures
import copy
import functools
import os

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_library

from fast import one_row
from fast.onednn import has_kernel
from fast.restore import assign
from fast.session import session_config
from fast.sharded_weights import PARTS_OF_A_SHARD, parts_of, shares
from fast.weights import StoredWeight, local_variable, shared

LARGEST = 127  # of an int8 whose range is symmetric
LEAST = 1e-30  # what divides where a row is all zeros
OUTPUTS_AT_ONCE = 256  # how many a thread quantizes at a time, for little memory beside the result


class Integers:
    """A matrix of multiples of a scale, one for each output; activations become int8, too.

    Both scales are symmetric and take the largest magnitude to 127; activations have one a row.
    Sums are exact, in int32.
    values: int8 tensor [M, K].
    ranges: float32 tensor [2, M], what -127 and 127 stand for.
    """

    # oneDNN packs the values for its matmuls in memory of its own. For one position it does so once
    # and keeps the result; for hundreds each time, which is little beside them and holds no memory.
    packed_once = True

    def __init__(self, values, ranges):
        self.values = values
        self.n_outputs, self.n_inputs = values.shape.as_list()
        # These and the rest are as the kernel asks for them.
        self.least, self.most = tf.unstack(ranges)
        self.quantized = tf.bitcast(values, tf.qint8)
        self.bias = shared(0.0, tf.float32, [self.n_outputs])
        self.input_range = shared(-1.0, tf.float32), shared(1.0, tf.float32)

    def for_many_rows(self):
        other = copy.copy(self)
        other.packed_once = False
        return other

    def rows(self, ids):
        rows = tf.cast(tf.gather(self.values, ids), tf.float32)
        return rows * (tf.gather(self.most, ids)[..., None] / LARGEST)

    def product(self, x):
        (y,) = products(x, [self])
        return y

    def layer(self, x, b, activation=None):
        y = self.product(x) + b
        return activation(y) if activation else y

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
            transpose_b=True,
            is_weight_const=self.packed_once,
            is_bias_const=True,
            fused_ops=['BiasAdd', 'Dequantize'],
            input_quant_mode='SCALED',
            output_quant_mode='SCALED',
            leakyrelu_alpha=0.0,
        )
        product.set_shape([x.shape[0], self.n_outputs])
        return product


def products(x, matrices):
    """Rows x [N, K] times each of several Integers; x becomes int8 once for all of them."""
    if not has_int8_kernel():  # then int8 saves memory only
        return [
            tf.matmul(x, tf.cast(each.values, tf.float32), transpose_b=True) * (each.most / LARGEST)
            for each in matrices
        ]
    x, largest = rounded(x)
    x = tf.cast(x, tf.int8)
    return [each.kernel(x) * largest for each in matrices]


def rounded(x):
    """Rows x [N, K] as whole numbers of magnitudes up to 127, and what 127 stands for: [N, 1]."""
    largest = tf.maximum(tf.reduce_max(tf.abs(x), axis=-1, keepdims=True), LEAST)
    return tf.round(x * (LARGEST / largest)), largest


class RowIntegers(Integers):
    """Integers of a shard, by which one row is multiplied in a program (one_row.py).

    The sums are of the same integers, but rounded to float32.
    """

    def layer(self, x, b, activation=None):
        if self.takes(x):
            return one_row.layer(product_of_row, x, b, activation, self.values, self.most)
        return super().layer(x, b, activation)

    def takes(self, x):
        return one_row.takes(x) and has_int8_kernel()


def product_of_row(x, values, most):
    integers, largest = rounded(x)
    y = tf.linalg.matvec(tf.cast(values, tf.float32), integers[0])
    return y * most * (largest[0] / LARGEST**2)


def int8_variables(n_outputs, n_inputs):
    """Variables for the values and ranges of Integers, without initial values."""
    shapes = [n_outputs, n_inputs], [2, n_outputs]
    return [local_variable(*pair) for pair in zip(shapes, (tf.int8, tf.float32), strict=True)]


def tensors_of(variables):
    """The values and ranges of Integers."""
    return [variable.read_value() for variable in variables]


def arrays_of(by_output):
    """What belongs in the variables of a float32 matrix [M, K]: int8 values and float32 ranges."""
    quantized, scales = quantize(by_output)
    return [quantized, np.stack([-scales, scales]) * np.float32(LARGEST)]


class StoredInt8(StoredWeight):
    """What weights in int8 have in common."""

    worth_caching = True

    def by_output(self, values):
        """The float32 weights of a checkpoint as a matrix [M, K]."""
        matrix = values.reshape(self.matrix_shape)
        return matrix if self.transposed else matrix.T


class Int8Matrix(StoredInt8):
    """A weight in int8."""

    def make(self):
        self.variables = int8_variables(self.n_outputs, self.n_inputs)
        self.integers = Integers(*tensors_of(self.variables))

    def arrays(self, values):
        return arrays_of(self.by_output(values))

    def for_many_rows(self):
        return self.integers.for_many_rows()

    def rows(self, ids):
        return self.integers.rows(ids)

    def product(self, x):
        return self.integers.product(x)


class ShardedInt8(StoredInt8):
    """What int8 weights by shards have in common.  heads: of each shard."""

    def __init__(self, name, shape, heads):
        self.heads = heads
        self.layout = f'-{"+".join(map(str, heads))}'
        super().__init__(name, shape)

    def for_many_rows(self):
        other = copy.copy(self)
        other.parts = [part.for_many_rows() for part in self.parts]
        return other


class ShardedInt8Matrix(ShardedInt8):
    """One or more matrices side by side; each shard's part has scales of its own."""

    def make(self):
        nothing = np.broadcast_to(np.float32(0), self.matrix_shape)  # takes no memory
        pairs = [int8_variables(*part.shape) for part in self.split(nothing)]
        self.variables = [variable for pair in pairs for variable in pair]
        self.parts = [RowIntegers(*tensors_of(pair)) for pair in pairs]

    def arrays(self, values):
        return [array for part in self.split(values) for array in arrays_of(part)]

    def split(self, values):
        """The part of each shard, [M, K]."""
        parts = parts_of(values.reshape(self.matrix_shape), self.name, self.heads)
        return [part.T for part in parts]


class ShardedInt8Embedding(ShardedInt8):
    """The token embedding, in parts each of which gives some tokens their logits."""

    def make(self):
        self.variables = int8_variables(self.n_outputs, self.n_inputs)
        values, ranges = tensors_of(self.variables)
        self.rows = Integers(values, ranges).rows
        n_parts = min(PARTS_OF_A_SHARD * len(self.heads), self.n_outputs)
        sizes = shares(self.n_outputs, n_parts)
        # The parts of the values share their memory.
        pairs = zip(tf.split(values, sizes), tf.split(ranges, sizes, axis=1), strict=True)
        self.parts = [RowIntegers(*pair) for pair in pairs]

    def arrays(self, values):
        return arrays_of(self.by_output(values))

    def product(self, x):
        if self.parts[0].takes(x):
            nothing = shared(0.0, tf.float32)
            logits = [part.layer(x, nothing) for part in self.parts]
        else:
            logits = products(x, self.parts)
        return tf.concat(logits, axis=-1)


KINDS = {'w': Int8Matrix, 'wte': Int8Matrix}
SHARDED = {'w': ShardedInt8Matrix, 'wte': ShardedInt8Embedding}


def quantize(by_output):
    """Return a float32 matrix [M, K] as int8 and the scales of its outputs, float32 [M]."""
    quantized = np.empty(by_output.shape, np.int8)
    scales = np.empty(len(by_output), np.float32)

    def quantize_some(start):
        some = slice(start, start + OUTPUTS_AT_ONCE)
        part = by_output[some]
        scales[some] = np.maximum(np.abs(part).max(axis=1), LEAST) / LARGEST
        # Of weights that are NaN or infinite the scales are, too, and then the logits.
        with np.errstate(invalid='ignore'):
            quantized[some] = np.rint(part / scales[some, None])

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
            x = tf.fill([1, 64], tf.constant(LARGEST, tf.int8))
            product = session.run(matrix.integers.kernel(x))
    except tf.errors.OpError:
        return False
    return np.allclose(product, 64, rtol=1e-3)
