"""Weight matrices in bfloat16: half the memory, 8 bits of precision.

Shapes: N rows of activations, K inputs and M outputs of a matrix.
"""

import tensorflow.compat.v1 as tf

from fast import one_row
from fast.onednn import has_kernel, linear
from fast.sharded_weights import (
    Sharded,
    ShardedEmbedding,
    assign_part,
    in_proportion,
    shares,
    sizes_of,
)
from fast.weights import Store, StoredWeight, local_variable, shared


class Bfloat16Matrix(StoredWeight):
    """The upper half of each float32, 8 bits of precision; so are what it is multiplied with."""

    def make(self):
        stored = local_variable(self.matrix_shape, tf.bfloat16)
        self.variables = [stored]
        self.values = stored.read_value()

    def arrays(self, values):
        return [values.reshape(self.matrix_shape).astype(tf.bfloat16.as_numpy_dtype)]

    def product(self, x):
        return tf.cast(tf.matmul(tf.cast(x, tf.bfloat16), self.values), tf.float32)


class RowBfloat16:
    """A shard's part of a matrix, [M, K] in bfloat16; one row is multiplied in a program.

    oneDNN rounds its results to bfloat16, and reads the weights more slowly for a single row. The
    program, which converts them on the way to the registers, rounds alike: a text is the same
    whether others grow beside it or not.
    """

    def __init__(self, values):
        self.values = values

    def product(self, x):
        """Rows x [N, K] times the matrix: [N, M]."""
        x = tf.cast(x, tf.bfloat16)
        # A step that is compiled as a whole is a function, in which XLA knows no such kernel.
        if has_kernel('_FusedMatMul') and not tf.get_default_graph().building_function:
            nothing = shared(0.0, tf.bfloat16, [self.values.shape[0].value])
            y = linear(x, self.values, nothing, transposed=True)
        else:
            y = tf.matmul(x, self.values, transpose_b=True)
        return tf.cast(y, tf.float32)

    def layer(self, x, b, activation=None):
        """The matmul and a bias [M], through a function of each output or None: [N, M]."""
        if one_row.takes(x):
            return one_row.layer(product_of_row, x, b, activation, self.values)
        y = self.product(x) + b
        return activation(y) if activation else y


def product_of_row(x, values):
    x = one_row.rounded_to_bfloat16(x[0])
    return one_row.rounded_to_bfloat16(tf.linalg.matvec(tf.cast(values, tf.float32), x))


def logits_of_row(x, values, one):
    # A product that is multiplied, by what XLA does not know: to one that is only added to it would
    # add inside of its loop, which takes half as long again.
    return tf.linalg.matvec(tf.cast(values, tf.float32), x[0]) * one


class ShardedBfloat16Matrix(Sharded):
    """One or more matrices side by side; a part has its heads' columns of each, or their rows."""

    def __init__(self, name, shape, heads):
        self.name = name
        self.shape = tf.TensorShape(shape)
        by_rows, n_matrices, n_inputs, n_outputs = sizes_of(name, shape)
        self.stacked = [n_inputs, n_matrices, n_outputs]
        if by_rows:
            self.axis, self.sizes = 2, in_proportion(n_inputs, heads)
            shapes = [[n_matrices * n_outputs, n] for n in self.sizes]
        else:
            self.axis, self.sizes = 1, in_proportion(n_outputs, heads)
            shapes = [[n_matrices * n, n_inputs] for n in self.sizes]
        self.stores = [Store(f'{name}/{i}', each, tf.bfloat16) for i, each in enumerate(shapes)]
        self.parts = [RowBfloat16(store.values) for store in self.stores]

    def assign(self, values):
        values = tf.reshape(tf.cast(values, tf.bfloat16), shared(self.stacked))
        values = tf.transpose(values, shared([1, 2, 0]))
        # Whole, then split: parts of each of its sizes, freed, would leave gaps in memory.
        parts = tf.split(values, shared(self.sizes), shared(self.axis), num=len(self.sizes))
        return tf.group(list(map(assign_part, self.stores, parts)))


class ShardedBfloat16Embedding(ShardedEmbedding):
    """The token embedding [V, E] rounded to bfloat16: as such for the logits of one row.

    Else it is stored in float32. TensorFlow rounds the result of a bfloat16 matmul to bfloat16,
    which is too coarse for logits: near -100, where those of the released models are, neighbouring
    numbers are 0.5 apart.
    """

    def __init__(self, name, shape, heads):
        super().__init__(name, shape, heads)
        self.rounded = Store(f'{name}/rounded', shape, tf.bfloat16)
        sizes = shares(self.n_vocab, len(self.parts))
        with tf.control_dependencies(None):  # outside of loops
            self.row_parts = tf.split(self.rounded.values, sizes)  # which share its memory

    def assign(self, values):
        rounded = tf.cast(values, tf.bfloat16)
        # The same numbers, so that the logits of a row are the same beside others.
        return tf.group(super().assign(tf.cast(rounded, tf.float32)), self.rounded.assign(rounded))

    def product(self, x):
        if not one_row.takes(x):
            return super().product(x)
        nothing, one = shared(0.0, tf.float32), shared(1.0, tf.float32)
        logits = [
            one_row.layer(logits_of_row, x, nothing, None, part, one) for part in self.row_parts
        ]
        return tf.concat(logits, axis=-1)


KINDS = {'w': Bfloat16Matrix}
SHARDED = {'w': ShardedBfloat16Matrix, 'wte': ShardedBfloat16Embedding}
