"""Weights that a checkpoint sets: as they are in it, and what int8.py and bfloat16.py share.

Shapes: K inputs and M outputs of a matrix, which is [K, M]; an embedding is [M, K].
"""

import tensorflow.compat.v1 as tf

import seam  # noqa: F401 (graphs and sessions as in 2019, and shapes of their numbers)


class Store:
    """A variable with only those operations that are used here, in place of tf.Variable.

    Each of a tf.Variable's ten operations takes 0.3 ms to make, and the 124M has 145 variables.
    name: as in checkpoints, or any other.  shape: list, where None is a size that may change.
    """

    def __init__(self, name, shape, dtype=tf.float32):
        self.name, self.shape, self.dtype = name, tf.TensorShape(shape), dtype
        with tf.control_dependencies(None):  # outside of loops
            unique = tf.get_default_graph().unique_name(name)  # those of one name are one variable
            self.handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=self.shape, shared_name=unique)
            self.values = self.read_value()

    def read_value(self):
        return tf.raw_ops.ReadVariableOp(resource=self.handle, dtype=self.dtype)

    def assign(self, values):
        """The operation that sets it to a tensor of its shape."""
        return tf.raw_ops.AssignVariableOp(resource=self.handle, value=values)


# So it may be given to operations, which read it where they are.
tf.register_tensor_conversion_function(Store, lambda store, **how: store.read_value())


class StoredWeight:
    """What weights of other dtypes have in common; name and shape are those in checkpoints.

    A subclass has the methods of seam.Matrix or seam.Embedding. In `make` it makes `variables`, and
    in `arrays` what belongs in them, from the float32 weights.
    """

    worth_caching = False  # whether the arrays take long to make, and are cached in a file
    layout = ''  # what tells its arrays from those of the same weight in other parts

    def __init__(self, name, shape):
        self.name = name
        self.shape = tf.TensorShape(shape)
        self.transposed = name.endswith('wte')
        self.matrix_shape = self.shape.as_list()[-2:]
        sizes = self.matrix_shape if self.transposed else self.matrix_shape[::-1]
        self.n_outputs, self.n_inputs = sizes
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


def shared(value, dtype=tf.int32, shape=None):
    """A constant that all weights of a graph share: one for each would take time to build.

    value: a number or a list of numbers, a string or a list of strings.
    """
    name = f'shared/{value}/{dtype.name}/{shape}'
    if not tf.get_collection(name):
        with tf.control_dependencies(None):  # outside of loops
            tf.add_to_collection(name, tf.constant(value, dtype, shape))
    return tf.get_collection(name)[0]
