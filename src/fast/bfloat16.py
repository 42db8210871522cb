"""Weight matrices in bfloat16: half the memory, 8 bits of precision."""

import tensorflow.compat.v1 as tf

from fast.sharded_weights import Blocks, ShardedMatrix
from fast.weights import StoredWeight, local_variable


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


class Bfloat16Blocks(Blocks):
    """Blocks whose values are bfloat16; so are what they are multiplied with."""

    def product(self, x):
        return tf.cast(super().product(tf.cast(x, tf.bfloat16)), tf.float32)


class ShardedBfloat16Matrix(ShardedMatrix):
    """A matrix by shards, in bfloat16."""

    dtype, blocks = tf.bfloat16, Bfloat16Blocks


# TensorFlow rounds the result of a bfloat16 matmul to bfloat16. That is too coarse for logits: near
# -100, where those of the released models are, neighbouring numbers are 0.5 apart. So the embedding
# stays float32.
KINDS = {'w': Bfloat16Matrix}
SHARDED = {'w': ShardedBfloat16Matrix}
