"""Weights of a model in shards (shards.py): variables by parts, matrices in blocks of outputs.

Shapes: N rows of activations, K inputs and M outputs of a matrix, W outputs of a block.

For a few positions a product takes as long as its matrix takes to be read. oneDNN computes some
outputs at a time. In [K, M] what belongs to them is spread over all of it, a few numbers of each
row; in blocks [M / W, K, W] it lies in the order in which it is read, by one core as fast as a
core reads. Where several cores share a product, that gains nothing.
"""

import math

import numpy as np
import tensorflow.compat.v1 as tf

from shards import ROWS, how_split, shares

WIDTH = 64  # outputs of a block: those for which oneDNN's sums stay in a processor's registers
PARTS_OF_A_SHARD = 4  # of the embedding: a core that is quicker just then takes more of them
AT_ONCE = 2  # weights that are read from a checkpoint at a time: whole ones take memory


class Store:
    """A float32 variable of which there is no more than is used here, in place of tf.Variable.

    Each of a tf.Variable's ten operations takes 0.3 ms to make, and the 124M has 145 of these.
    """

    def __init__(self, name, shape):
        with tf.control_dependencies(None):  # outside of loops
            name = tf.get_default_graph().unique_name(name)  # those of one name are one variable
            self.handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=shape, shared_name=name)
            self.values = tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=tf.float32)

    def assign(self, values):
        """The operation that sets it to a tensor with as many numbers."""
        values = tf.reshape(values, self.values.shape)
        return tf.raw_ops.AssignVariableOp(resource=self.handle, value=values)


class Blocks:
    """A matrix [K, M] in blocks: `values` [M / W, K, W]."""

    def __init__(self, values):
        self.values = values

    def product(self, x):
        """Rows x [N, K] times the matrix: [N, M]."""
        n_blocks, _, width = self.values.shape.as_list()
        y = tf.matmul(x, self.values)  # [M / W, N, W]
        return tf.reshape(tf.transpose(y, [1, 0, 2]), [-1, n_blocks * width])

    def layer(self, x, b, activation):
        """The product and a bias [M], through a function of each output or None: [N, M]."""
        y = self.product(x) + b
        return activation(y) if activation else y


class ShardedWeight:
    """A float32 weight whose parts are variables of their own, one a shard.

    name, shape: as in checkpoints, where a matrix is [1, K, M].  heads: of each shard.
    parts: Blocks, or tensors [M] for a bias.

    As it is split, a weight is [3 or 1, M / W, K, W], matrices side by side in blocks, or a bias
    [3 or 1, M]: that is `stacked`, and `axis` is where shards have parts of it.
    """

    def __init__(self, name, shape, heads):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.heads = heads
        split_axis, n_matrices = how_split(name)
        n_outputs = shape[-1] // n_matrices
        self.is_matrix = len(shape) > 1
        if self.is_matrix:
            by_rows = split_axis == ROWS
            # Shards have whole blocks: none goes beyond what belongs to the same heads in all.
            of_heads = n_outputs if by_rows else n_outputs * math.gcd(*heads) // sum(heads)
            width = of_heads if of_heads % WIDTH else WIDTH
            self.stacked = [n_matrices, n_outputs // width, shape[-2], width]
            self.axis = 2 if by_rows else 1
        else:
            self.stacked, self.axis = [n_matrices, n_outputs], 1
        self.stores = []
        for i, n in enumerate(heads):
            n_matrices, n, *others = self.sizes(n)  # of blocks or a bias's numbers
            self.stores.append(Store(f'{name}/{i}', [n_matrices * n, *others]))
        values = [store.values for store in self.stores]
        self.parts = list(map(Blocks, values)) if self.is_matrix else values

    def sizes(self, n):
        """The part of `stacked` that n heads have."""
        return [
            size * n // sum(self.heads) if axis == self.axis else size
            for axis, size in enumerate(self.stacked)
        ]

    def assign(self, values):
        """The operation that sets all parts from a tensor of the weight's shape."""
        if self.is_matrix:
            n_matrices, n_blocks, n_inputs, width = self.stacked
            values = tf.reshape(values, [n_inputs, n_matrices, n_blocks, width])
            values = tf.transpose(values, [1, 2, 0, 3])
        else:
            values = tf.reshape(values, self.stacked)
        sizes = [self.sizes(n)[self.axis] for n in self.heads]
        parts = tf.split(values, sizes, axis=self.axis)
        return tf.group(list(map(Store.assign, self.stores, parts)))


class ShardedEmbedding:
    """The token embedding [V, E], in parts each of which gives some tokens their logits.

    As a matrix of V outputs it lies in blocks, zeros behind the last token.
    """

    def __init__(self, name, shape, n_shards):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.n_vocab, self.n_embd = shape
        n_blocks = -(-self.n_vocab // WIDTH)
        sizes = shares(n_blocks, min(PARTS_OF_A_SHARD * n_shards, n_blocks))
        self.store = Store(name, [n_blocks, self.n_embd, WIDTH])
        with tf.control_dependencies(None):  # outside of loops
            # Neither is a copy.
            self.parts = [Blocks(part) for part in tf.split(self.store.values, sizes)]
            self.numbers = tf.reshape(self.store.values, [-1])

    def assign(self, values):
        """The operation that sets the variable to a tensor [V, E]."""
        n_blocks = self.store.values.shape[0].value
        values = tf.pad(values, [[0, n_blocks * WIDTH - self.n_vocab], [0, 0]])
        blocks = tf.reshape(values, [n_blocks, WIDTH, self.n_embd])
        return self.store.assign(tf.transpose(blocks, [0, 2, 1]))

    def rows(self, ids):
        """The embeddings of tokens, each below V: [..., E]."""
        dtype = tf.int32 if self.n_vocab * self.n_embd < 2**30 else tf.int64
        ids = tf.cast(ids, dtype)
        # Token t is at t % W in block t // W; its numbers lie W apart.
        first = ids + ids // WIDTH * (WIDTH * (self.n_embd - 1))
        others = np.arange(self.n_embd, dtype=dtype.as_numpy_dtype) * WIDTH
        return tf.gather(self.numbers, tf.expand_dims(first, -1) + others)

    def product(self, x):
        """Rows x [N, E] times the embedding: logits [N, V]."""
        *logits, last = [part.product(x) for part in self.parts]
        n_last = self.n_vocab - sum(some.shape[1].value for some in logits)
        return tf.concat([*logits, last[:, :n_last]], axis=-1)


def restore(session, path, weights):
    """Set weights of these kinds from the checkpoint at `path`."""
    with session.graph.as_default(), tf.device('CPU:0'):
        done = []
        # The largest first, while nothing else takes memory.
        for weight in sorted(weights, key=lambda weight: -weight.shape.num_elements()):
            with tf.control_dependencies(done[-AT_ONCE : 1 - AT_ONCE]):
                (values,) = tf.raw_ops.RestoreV2(
                    prefix=path,
                    tensor_names=[weight.name],
                    shape_and_slices=[''],
                    dtypes=[tf.float32],
                )
            done.append(weight.assign(values))
        session.run(done)
