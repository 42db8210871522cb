"""Small checkpoints that are loaded as int8."""

import numpy as np
import tensorflow.compat.v1 as tf

from fast.int8 import Int8Matrix
from fast.restore import load as load_weights
from loading import checkpoint

NAMES = 'a/c_fc/w', 'b/c_proj/w'


def write_checkpoint(path, seed):
    values = np.random.default_rng(seed).normal(size=[len(NAMES), 1, 24, 32])
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [
            tf.get_variable(name, initializer=each.astype(np.float32))
            for name, each in zip(NAMES, values, strict=True)
        ]
        session.run(tf.global_variables_initializer())
        checkpoint.write(checkpoint.saver(variables), session, path)


def load(path, kind=Int8Matrix):
    """What int8 matrices hold after they were loaded."""
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = [kind(name, [1, 24, 32]) for name in NAMES]
        load_weights(session, path, tf.train.load_checkpoint(path), loaded)
        return [session.run(matrix.variables) for matrix in loaded]
