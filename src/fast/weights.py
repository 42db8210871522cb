"""Weights stored in other dtypes than their checkpoint: what int8.py and bfloat16.py share.

Shapes: K inputs and M outputs of a matrix, which is [K, M]; an embedding is [M, K].
"""

import tensorflow.compat.v1 as tf


class StoredWeight:
    """What weights of other dtypes have in common; name and shape are those in checkpoints.

    A subclass has the methods of seam.Matrix or seam.Embedding. In `make` it makes `variables`, and
    in `arrays` what belongs in them, from the float32 weights.
    """

    worth_caching = False  # whether the arrays take long to make, and are cached in a file

    def __init__(self, name, shape):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.transposed = name.endswith('wte')
        self.matrix_shape = self.shape.as_list()[-2:]
        self.n_outputs = self.matrix_shape[0 if self.transposed else 1]
        with tf.control_dependencies(None):  # outside of loops
            self.make()

    def for_many_rows(self):
        """The same weight for hundreds of rows at a time."""
        return self

    def layer(self, x, b, activation=None):
        y = self.product(x) + b
        return activation(y) if activation else y


def local_variable(shape, dtype):
    """A variable that is in no checkpoint, without an initial value: set it before it is read."""
    return tf.Variable(
        lambda: tf.placeholder(dtype, shape),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES],
    )


def shared(value, shape):
    """A float32 constant that all matrices of a graph share: one for each would take time to build.

    It is made outside of loops, as matrices are.
    """
    name = f'shared/{value}/{shape}'
    if not tf.get_collection(name):
        tf.add_to_collection(name, tf.constant(value, tf.float32, shape))
    return tf.get_collection(name)[0]
