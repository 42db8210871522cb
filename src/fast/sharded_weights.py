"""Weights of a tensor-parallel model (shards.py): variables by parts, matrices packed in blocks.

Shapes: N rows of activations, K inputs and M outputs of a matrix, W outputs of a block.

For a few positions a matmul takes as long as its matrix takes to be read. oneDNN computes some
outputs at a time. In [K, M] the weights of these outputs are spread over all of it, a few numbers
of each row. Packed in blocks [M / W, K, W] they are in the order in which they are read, so that
one core reads them as fast as it reads memory. Where several cores share a matmul, packing gains
nothing.
"""

import math

import numpy as np
import tensorflow.compat.v1 as tf

from fast.weights import Store, shared

# The axis along which a layer's weights are split, and of how many matrices side by side they are.
# Weights with other names are whole in each shard; the bias of rows is added once.
COLUMNS, ROWS = -1, -2
SPLIT = {'c_attn': (COLUMNS, 3), 'c_fc': (COLUMNS, 1), 'c_proj': (ROWS, 1)}
SPLIT_ROWS_BIAS = 'c_proj/b'
WIDTH = 64  # outputs of a block: those for which oneDNN's sums stay in a processor's registers
PARTS_OF_A_SHARD = 4  # Parts of the embedding a shard: a core that is faster takes more of them.


def shares(n_items, n):
    """How many of n_items, such as heads, each of n shards has."""
    return [(i + 1) * n_items // n - i * n_items // n for i in range(n)]


def how_split(name):
    """The axis along which a weight is split, and of how many matrices it consists, or None."""
    *_, layer, kind = f'/{name}'.split('/')
    axis, n_matrices = SPLIT.get(layer, (None, 1))
    if axis is None or (axis == ROWS and kind == 'b'):
        return None
    return axis, n_matrices


def sizes_of(name, shape):
    """Whether a matrix is split along its inputs, how many it consists of, and K and M of each."""
    axis, n_matrices = how_split(name)
    _, n_inputs, n_outputs = shape
    return axis == ROWS, n_matrices, n_inputs, n_outputs // n_matrices


class Blocks:
    """A matrix [K, M] in blocks: `values` [M / W, K, W]."""

    def __init__(self, values):
        self.values = values

    def product(self, x):
        """Rows x [N, K] times the matrix: [N, M]."""
        n_blocks, _, width = self.values.shape.as_list()
        if x.shape[0] == 1:
            # Eigen's kernel reads the blocks a third faster than oneDNN's, for a single row.
            y = tf.raw_ops.BatchMatMulV3(x=x, y=self.values, Tout=tf.float32)  # [M / W, 1, W]
        else:
            y = tf.matmul(x, self.values)  # [M / W, N, W]
            y = tf.transpose(y, shared([1, 0, 2]))
        return tf.reshape(y, shared([-1, n_blocks * width]))

    def layer(self, x, b, activation=None):
        """The matmul and a bias [M], through a function of each output or None: [N, M]."""
        y = self.product(x) + b
        return activation(y) if activation else y


def sharded(name, shape, heads, kinds=None):
    """A weight by parts, one or more a shard, or None where all shards have it whole.

    name, shape: as in checkpoints, where a matrix is [1, K, M].  heads: of each shard.
    kinds: those of a dtype in place of some of KINDS.
    Its `parts` are Blocks or other weights, or tensors [M] for a bias. Those of KINDS have an
    `assign`: the operation that sets them to a tensor of that shape.
    """
    kinds = KINDS | (kinds or {})
    if name.split('/')[-1] == 'wte':
        return kinds['wte'](name, shape, heads)
    if how_split(name) is None:
        return None
    return kinds['b' if len(shape) == 1 else 'w'](name, shape, heads)


def in_proportion(n_items, heads):
    """How many of n_items that belong to all heads each shard has."""
    return [n_items * n // sum(heads) for n in heads]


def parts_of(values, name, heads):
    """The parts of each shard of a matrix [K, M], as arrays: the rows or columns of its heads."""
    axis, n_matrices = how_split(name)
    if axis == ROWS:
        return np.split(values, np.cumsum(in_proportion(len(values), heads))[:-1])
    matrices = values.reshape(len(values), n_matrices, -1)
    ends = np.cumsum(in_proportion(matrices.shape[2], heads))[:-1]
    return [part.reshape(len(values), -1) for part in np.split(matrices, ends, axis=2)]


def assign_part(store, part):
    return store.assign(tf.reshape(part, shared(store.shape.as_list())))


class Sharded:
    """A weight by parts."""

    def for_many_rows(self):
        """The same weight for hundreds of rows at a time."""
        return self


class ShardedBias(Sharded):
    """The bias of one or more matrices side by side; a part has its heads' outputs of each."""

    def __init__(self, name, shape, heads):
        self.name = name
        self.shape = tf.TensorShape(shape)
        _, self.n_matrices = how_split(name)
        self.sizes = in_proportion(shape[0] // self.n_matrices, heads)
        self.stores = [
            Store(f'{name}/{i}', [self.n_matrices * n]) for i, n in enumerate(self.sizes)
        ]
        self.parts = [store.values for store in self.stores]

    def assign(self, values):
        values = tf.reshape(values, shared([self.n_matrices, -1]))
        parts = tf.split(values, shared(self.sizes), shared(1), num=len(self.sizes))
        return tf.group(list(map(assign_part, self.stores, parts)))


class ShardedMatrix(Sharded):
    """One or more matrices side by side; a part has its heads' columns of each, or their rows."""

    def __init__(self, name, shape, heads):
        self.name = name
        self.shape = tf.TensorShape(shape)
        by_rows, n_matrices, n_inputs, n_outputs = sizes_of(name, shape)
        # Shards have whole blocks: none goes beyond what belongs to the same heads in all.
        of_heads = n_outputs if by_rows else n_outputs * math.gcd(*heads) // sum(heads)
        width = of_heads if of_heads % WIDTH else WIDTH
        n_blocks = n_outputs // width
        self.stacked = [n_matrices, n_blocks, n_inputs, width]
        if by_rows:
            self.axis, self.sizes = 2, in_proportion(n_inputs, heads)
            shapes = [[n_matrices * n_blocks, n, width] for n in self.sizes]
        else:
            self.axis, self.sizes = 1, in_proportion(n_blocks, heads)
            shapes = [[n_matrices * n, n_inputs, width] for n in self.sizes]
        self.stores = [Store(f'{name}/{i}', shape) for i, shape in enumerate(shapes)]
        self.parts = [Blocks(store.values) for store in self.stores]

    def assign(self, values):
        n_matrices, n_blocks, n_inputs, width = self.stacked
        values = tf.reshape(values, shared([n_inputs, n_matrices, n_blocks, width]))
        values = tf.transpose(values, shared([1, 2, 0, 3]))
        # Whole, then split: parts of each of its sizes, freed, would leave gaps in memory.
        parts = tf.split(values, shared(self.sizes), shared(self.axis), num=len(self.sizes))
        return tf.group(list(map(assign_part, self.stores, parts)))


class ShardedEmbedding(Sharded):
    """The token embedding [V, E], in parts each of which gives some tokens their logits.

    As a matrix of V outputs it is packed in blocks, with zeros after the last token.
    """

    def __init__(self, name, shape, heads):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.n_vocab, self.n_embd = shape
        n_blocks = -(-self.n_vocab // WIDTH)
        sizes = shares(n_blocks, min(PARTS_OF_A_SHARD * len(heads), n_blocks))
        self.store = Store(name, [n_blocks, self.n_embd, WIDTH])
        with tf.control_dependencies(None):  # outside of loops
            # These share its memory.
            self.parts = [Blocks(part) for part in tf.split(self.store.values, sizes)]
            self.numbers = tf.reshape(self.store.values, [-1])

    def assign(self, values):
        n_blocks = self.store.values.shape[0].value
        values = tf.pad(values, [[0, n_blocks * WIDTH - self.n_vocab], [0, 0]])
        blocks = tf.reshape(values, [n_blocks, WIDTH, self.n_embd])
        return self.store.assign(tf.transpose(blocks, [0, 2, 1]))

    def rows(self, ids):
        """The embeddings of tokens, each below V: [..., E]."""
        dtype = tf.int32 if self.n_vocab * self.n_embd < 2**30 else tf.int64
        ids = tf.cast(ids, dtype)
        # Token t is at t % W in block t // W; its numbers are W apart.
        first = ids + ids // WIDTH * (WIDTH * (self.n_embd - 1))
        others = np.arange(self.n_embd, dtype=dtype.as_numpy_dtype) * WIDTH
        return tf.gather(self.numbers, tf.expand_dims(first, -1) + others)

    def product(self, x):
        """Rows x [N, E] times the embedding: logits [N, V]."""
        *logits, last = [part.product(x) for part in self.parts]
        n_last = self.n_vocab - sum(some.shape[1].value for some in logits)
        return tf.concat([*logits, last[:, :n_last]], axis=-1)


KINDS = {'w': ShardedMatrix, 'b': ShardedBias, 'wte': ShardedEmbedding}
