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
from fast.sharded_weights import PARTS_OF_A_SHARD, parts_of, shares
from fast.weights import StoredWeight, local_variable, shared

LARGEST = 127  # of an int8 whose range is symmetric
LEAST = 1e-30  # what divides where a row is all zeros
OUTPUTS_AT_ONCE = 256  # how many a thread quantizes at a time, for little memory beside the result


class Integers:
    """A matrix of multiples of a scale, one for each output; activations become int8, too.

    Both scales are symmetric and take the largest magnitude to 127; activations have one a row.
    Sums are exact, in int32.
    values: int8 tensor [K, M], or [M, K] if transposed.
    ranges: float32 tensor [2, M], what -127 and 127 stand for.
    """

    # oneDNN packs the values for its matmuls in memory of its own. For one position it does so once
    # and keeps the result; for hundreds each time, which is little beside them and holds no memory.
    packed_once = True

    def __init__(self, values, ranges, transposed=False):
        self.values, self.transposed = values, transposed
        self.n_outputs = values.shape[0 if transposed else 1].value
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


def products(x, matrices):
    """Rows x [N, K] times each of several Integers; x becomes int8 once for all of them."""
    if not has_int8_kernel():  # then int8 saves memory only
        return [
            tf.matmul(x, tf.cast(each.values, tf.float32), transpose_b=each.transposed)
            * (each.most / LARGEST)
            for each in matrices
        ]
    largest = tf.maximum(tf.reduce_max(tf.abs(x), axis=-1, keepdims=True), LEAST)
    x = tf.cast(tf.round(x * (LARGEST / largest)), tf.int8)
    return [each.kernel(x) * largest for each in matrices]


def int8_variables(shape, n_outputs):
    """Variables for the values and ranges of Integers, without initial values."""
    return [local_variable(shape, tf.int8), local_variable([2, n_outputs], tf.float32)]


def integers_of(variables, transposed=False):
    stored, ranges = variables
    return Integers(stored.read_value(), ranges.read_value(), transposed)


def arrays_of(values, transposed=False):
    """What belongs in the variables of a float32 matrix: int8 values and float32 ranges."""
    quantized, scales = quantize(values, transposed)
    return [quantized, np.stack([-scales, scales]) * np.float32(LARGEST)]


class Int8Matrix(StoredWeight):
    """A weight in int8."""

    worth_caching = True

    def make(self):
        self.variables = int8_variables(self.matrix_shape, self.n_outputs)
        self.integers = integers_of(self.variables, self.transposed)

    def arrays(self, values):
        return arrays_of(values.reshape(self.matrix_shape), self.transposed)

    def for_many_rows(self):
        return self.integers.for_many_rows()

    def rows(self, ids):
        return self.integers.rows(ids)

    def product(self, x):
        return self.integers.product(x)


class ShardedInt8(StoredWeight):
    """What int8 weights by shards have in common.  heads: of each shard."""

    worth_caching = True

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
        pairs = [int8_variables(shape, shape[1]) for shape in self.part_shapes()]
        self.variables = [variable for pair in pairs for variable in pair]
        self.parts = list(map(integers_of, pairs))

    def part_shapes(self):
        nothing = np.broadcast_to(np.float32(0), self.matrix_shape)  # takes no memory
        return [part.shape for part in self.split(nothing)]

    def arrays(self, values):
        parts = self.split(values.reshape(self.matrix_shape))
        return [array for part in parts for array in arrays_of(part)]

    def split(self, values):
        return parts_of(values, self.name, self.heads)


class ShardedInt8Embedding(ShardedInt8):
    """The token embedding, in parts each of which gives some tokens their logits."""

    def make(self):
        self.variables = int8_variables(self.matrix_shape, self.n_outputs)
        values, ranges = [variable.read_value() for variable in self.variables]
        self.rows = Integers(values, ranges, transposed=True).rows
        n_parts = min(PARTS_OF_A_SHARD * len(self.heads), self.n_outputs)
        sizes = shares(self.n_outputs, n_parts)
        # The parts of the values share their memory.
        pairs = zip(tf.split(values, sizes), tf.split(ranges, sizes, axis=1), strict=True)
        self.parts = [Integers(*pair, transposed=True) for pair in pairs]

    def arrays(self, values):
        return arrays_of(values, transposed=True)

    def product(self, x):
        return tf.concat(products(x, self.parts), axis=-1)


KINDS = {'w': Int8Matrix, 'wte': Int8Matrix}
SHARDED = {'w': ShardedInt8Matrix, 'wte': ShardedInt8Embedding}


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
            x = tf.fill([1, 64], tf.constant(LARGEST, tf.int8))
            product = session.run(matrix.integers.kernel(x))
    except tf.errors.OpError:
        return False
    return np.allclose(product, 64, rtol=1e-3)
