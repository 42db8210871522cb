"""Training's execution of the forward pass: weights in a dtype, dropout, gradient checkpointing.

Dropout (Srivastava et al. 2014) here depends on seed, step and place alone. model.py marks the
places that GPT (Radford et al. 2018, section 4.1) drops values at: embeddings, attention weights,
and what each layer adds to the residual stream.
"""

import zlib

import tensorflow.compat.v1 as tf

import seam
from training.recompute import recomputed


class Training(seam.Execution):
    """Carries out a forward pass to be trained.

    dtype: what float32 variables are read as.  matrix: the kind of matrices, as seam.Matrix.
    dropout: the probability that a value is dropped; 0 drops none.
    seed: int32 tensor [2]. The same seed drops the same values at a place, a name within a variable
        scope: in a layer that is computed a second time, and in a run that was resumed.
    recompute: whether layers are computed twice to save memory.
    """

    def __init__(self, dtype='float32', matrix=seam.Matrix, dropout=0, seed=None, recompute=False):
        self.dtype, self.matrix = dtype, matrix
        self.rate, self.seed = dropout, seed
        self.recompute = recompute

    def weight(self, kind, name, shape, initializer):
        kind = self.matrix if kind is seam.Matrix else kind
        variable = tf.get_variable(name, shape, initializer=initializer)
        return kind(variable if self.dtype == 'float32' else tf.cast(variable, self.dtype))

    def dropout(self, x, place):
        if not self.rate:
            return x
        name = f'{tf.get_variable_scope().name}/{place}'
        own_seed = self.seed + [0, zlib.crc32(name.encode()) - 2**31]
        kept = tf.random.stateless_uniform(tf.shape(x), own_seed) >= self.rate
        scaled = tf.cast(x, tf.float32) / (1 - self.rate)  # bfloat16 has no 0.9
        return tf.where(kept, tf.cast(scaled, x.dtype), tf.zeros_like(x))

    def block(self, block, *arguments, **more):
        return (recomputed(block) if self.recompute else block)(*arguments, **more)
