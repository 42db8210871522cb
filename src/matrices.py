"""Weights that know how they are used: in bfloat16 and int8, or by kernels that do several things.

model.py asks tf.get_variable for its weights; the getters `stored_as` and `fused` give it one of
these for matrices and gains, and float32 variables for the rest. So one forward pass serves all.

Shapes: N rows of activations, K inputs and M outputs of a matrix. The token embedding is [M, K]:
V outputs, and its rows are what tokens are embedded as; the others are [K, M].
"""

import concurrent.futures
import contextlib
import copy
import functools
import os

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_library

import model
import quantized_file
import sharded_weights
from compiled_activation import activate
from fused_kernels import has_fused_kernels, has_kernel, layer_norm, linear
from tf_session import session_config

LARGEST = 127  # of an int8 whose range is symmetric
LEAST = 1e-30  # divides where a row is all zeros
OUTPUTS_AT_ONCE = 256  # are quantized by a thread, for little memory beside the result
WORTH_KEEPING = 2**26  # weights; fewer are quantized about as fast as they are read
LOADED_AT_ONCE = 2**25  # bytes that are set by one run of the session: each takes 20 ms to prepare


def stored_as(dtype, heads=()):
    """Return a getter for tf.variable_scope, and a dict of the matrices that `load` has to set.

    dtype: one of settings.DTYPES; float32 matrices are variables, which a checkpoint sets itself,
        or in shards.
    heads: of each shard (shards.py), in float32.
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
        last = name.split('/')[-1]
        if len(heads) > 1 and name not in matrices:
            weight = sharded_weights.sharded(name, shape, heads)
            if weight:
                matrices[name] = weight
        if name in matrices:
            return matrices[name]
        if last not in kinds:
            if shape is not None:  # else the initializer is the value, which tells the shape
                kwargs['initializer'] = fed
            return getter(name, shape, *args, **kwargs)
        matrices[name] = kinds[last](name, shape)
        return matrices[name]

    return getter, matrices


def fed(shape, dtype, **more):
    """An initializer that takes no time to build, of variables that a checkpoint sets."""
    return tf.placeholder(dtype, shape)


def fused(getter, name, *args, **kwargs):
    """A getter within that of `stored_as`, where hundreds of positions run at a time.

    Matrices in shards stay as they are: their blocks would have to be put together each time.
    """
    weight = getter(name, *args, **kwargs)
    if isinstance(weight, Int8Matrix):
        return weight.ordered_each_time()
    kinds = {'g': FusedGain, 'w': FusedMatrix}
    last = name.split('/')[-1]
    if last in kinds and tf.is_tensor(weight) and has_fused_kernels():
        return kinds[last](weight)
    return weight


def activated(y, activation):
    return activation(y) if activation else y


class FusedGain:
    """The gain [n] of a norm that is one kernel; elsewhere TensorFlow takes it for the variable."""

    def __init__(self, variable):
        self.variable = variable

    def norm(self, x, b, epsilon):
        return layer_norm(x, tf.convert_to_tensor(self.variable), b, epsilon)


class FusedMatrix:
    """A float32 variable [1, K, M] whose product, bias and GELU are one kernel; as FusedGain."""

    def __init__(self, variable):
        self.variable = variable
        self.values = tf.reshape(variable, variable.shape[-2:])

    def product(self, x):
        return tf.matmul(x, self.values)

    def layer(self, x, b, activation):
        if activation is model.gelu:
            return linear(x, self.values, b, 'GeluApproximate')
        return activated(linear(x, self.values, b), activation)


class TrainedMatrix(FusedMatrix):
    """One [1, K, M] whose activation and its gradient are compiled if they can be."""

    def layer(self, x, b, activation):
        return activate(activation, self.product(x) + b)


tf.register_tensor_conversion_function(
    (FusedGain, FusedMatrix),
    lambda weight, dtype, name, as_ref: tf.convert_to_tensor(weight.variable, dtype, name),
)


class Matrix:
    """What matrices of other dtypes have in common; name and shape are those in checkpoints.

    A subclass makes `variables`, and from the float32 weights the `arrays` that belong in them.
    """

    worth_keeping = False  # the arrays, in a file

    def __init__(self, name, shape):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.transposed = name.endswith('wte')
        self.matrix_shape = self.shape.as_list()[-2:]
        self.n_outputs = self.matrix_shape[0 if self.transposed else 1]
        with tf.control_dependencies(None):  # outside of loops
            self.make()

    def layer(self, x, b, activation):
        return activated(self.product(x) + b, activation)


class Bfloat16Matrix(Matrix):
    """The upper half of each float32, 8 bits of precision; so are what it is multiplied with."""

    def make(self):
        stored = local_variable(self.matrix_shape, tf.bfloat16)
        self.variables = [stored]
        self.values = stored.read_value()

    def arrays(self, values):
        return [values.reshape(self.matrix_shape).astype(tf.bfloat16.as_numpy_dtype)]

    def product(self, x):
        return tf.cast(tf.matmul(tf.cast(x, tf.bfloat16), self.values), tf.float32)


class Int8Matrix(Matrix):
    """Multiples of a scale, one for each output; activations become int8 too, row by row.

    Both scales are symmetric and take the largest magnitude to 127. Sums are exact, in int32.
    """

    worth_keeping = True
    # oneDNN orders the values for its products in memory of its own. For one position it does so
    # once and keeps them; for hundreds, each time, which is little beside them and holds no memory.
    ordered_once = True

    def ordered_each_time(self):
        other = copy.copy(self)
        other.ordered_once = False
        return other

    def make(self):
        stored = local_variable(self.matrix_shape, tf.int8)
        ranges = local_variable([2, self.n_outputs], tf.float32)
        self.variables = [stored, ranges]
        self.values = stored.read_value()
        # What -127 and 127 stand for. These and the rest are as the kernel asks for them.
        self.least, self.most = tf.unstack(ranges.read_value())
        self.quantized = tf.bitcast(self.values, tf.qint8)
        self.bias = shared(0.0, [self.n_outputs])
        self.input_range = shared(-1.0, []), shared(1.0, [])

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
        # product.
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
            is_weight_const=self.ordered_once,
            is_bias_const=True,
            fused_ops=['BiasAdd', 'Dequantize'],
            input_quant_mode='SCALED',
            output_quant_mode='SCALED',
            leakyrelu_alpha=0.0,
        )
        product.set_shape([x.shape[0], self.n_outputs])
        return product


def local_variable(shape, dtype):
    """A variable that is in no checkpoint, without an initial value: set it before it is read."""
    return tf.Variable(
        lambda: tf.placeholder(dtype, shape),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES],
    )


def shared(value, shape):
    """A float32 constant that a graph's matrices have in common: 49 of each take time to build.

    It is made outside of loops, as matrices are.
    """
    name = f'shared/{value}/{shape}'
    if not tf.get_collection(name):
        tf.add_to_collection(name, tf.constant(value, tf.float32, shape))
    return tf.get_collection(name)[0]


def load(session, path, reader, matrices):
    """Set matrices from the checkpoint at `path`, whose reader gives weights by their names.

    What takes long to make comes from a file beside the checkpoint, once there is one.
    """
    in_shards = [matrix for matrix in matrices if not isinstance(matrix, Matrix)]
    sharded_weights.restore(session, path, in_shards)
    matrices = [matrix for matrix in matrices if isinstance(matrix, Matrix)]
    size = sum(matrix.shape.num_elements() for matrix in matrices if matrix.worth_keeping)
    if size < WORTH_KEEPING:
        return assign(session, made(reader, matrices))
    with contextlib.suppress(*quantized_file.UNREADABLE):
        return map_kept(session, path, matrices)
    writer = quantized_file.Writer(path)
    try:
        for matrix in matrices:
            if writer.archive:  # there is none where it cannot be written
                writer.add(matrix.name, matrix.arrays(reader.get_tensor(matrix.name)))
    except BaseException:
        writer.abandon()
        raise
    writer.finish()
    try:
        map_kept(session, path, matrices)
    except quantized_file.UNREADABLE:  # it could not be written, or not be mapped
        assign(session, made(reader, matrices))


def made(reader, matrices):
    """Yield matrices with their arrays."""
    for matrix in matrices:
        yield matrix, matrix.arrays(reader.get_tensor(matrix.name))


def map_kept(session, path, matrices):
    """Set matrices to what is in the file beside a checkpoint, where TensorFlow then reads values.

    oneDNN reads them once, to order them. So they need not stay in memory, and if there is little
    of it the system takes theirs back. Ranges are few and read for each request: these are copied.
    """
    with quantized_file.reading(path) as places:
        pairs = [
            pair
            for matrix in matrices
            for pair in zip(matrix.variables, places(matrix.name), strict=True)
        ]
        ranges = [pair for pair in pairs if pair[1].dtype != np.int8]
        initialize(session, [(each, quantized_file.array(path, place)) for each, place in ranges])
        values = [pair for pair in pairs if pair[1].dtype == np.int8]
        try:
            map_values(session, path + quantized_file.SUFFIX, values)
        except tf.errors.OpError as error:  # deleted meanwhile, or where files cannot be mapped
            raise OSError(error.message) from error


def map_values(session, name, pairs):
    """Set variables to parts of a file: pairs of a variable and a quantized_file.Place."""
    with session.graph.as_default(), tf.device('CPU:0'):
        content = tf.raw_ops.ImmutableConst(
            dtype=tf.int8, shape=[os.path.getsize(name)], memory_region_name=name
        )

        def part(place):  # which shares the memory of the whole
            items = tf.slice(content, [place.offset], [int(np.prod(place.shape))])
            return tf.reshape(items, place.shape)

        session.run([variable.assign(part(place)).op for variable, place in pairs])


def assign(session, pairs):
    """Set the variables of matrices: pairs of a Matrix and its arrays, read as they are needed."""
    waiting, size = [], 0
    for matrix, arrays in pairs:
        waiting += zip(matrix.variables, arrays, strict=True)
        size += sum(values.nbytes for values in arrays)
        if size > LOADED_AT_ONCE:
            initialize(session, waiting)
            waiting, size = [], 0
    initialize(session, waiting)


def initialize(session, pairs):
    """Set variables: list of (variable, NumPy array)."""
    feed = {variable.initializer.inputs[1]: values for variable, values in pairs}
    session.run([variable.initializer for variable, _ in pairs], feed)


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
    return has_kernel('_QuantizedMatMul') and is_exact()


def is_exact():
    """Try the int8 product: x86 processors before VNNI add two products in 16 bits, too few.

    They saturate (oneDNN's developer guide, "Nuances of int8 computations"): 4 % of perplexity.
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
