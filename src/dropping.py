"""Dropout (Srivastava et al. 2014) whose choice depends on seed, step and place alone.

model.py marks the places that GPT (Radford et al. 2018, section 4.1) drops values at: embeddings,
attention weights, and what each layer adds to the residual stream.
"""

import contextlib
import zlib

import tensorflow.compat.v1 as tf


@contextlib.contextmanager
def dropout(rate, seed):
    """Let models that are built in this block drop values.

    rate: the probability of each value, known when the graph is built; 0 does nothing.
    seed: int32 tensor [2]. The same seed drops the same values at a place, a name within a variable
        scope: in a layer that is computed a second time, and in a run that was resumed.
    """
    functions = tf.get_collection_ref('dropout')

    def drop(x, place):
        name = f'{tf.get_variable_scope().name}/{place}'
        own_seed = seed + [0, zlib.crc32(name.encode()) - 2**31]
        kept = tf.random.stateless_uniform(tf.shape(x), own_seed) >= rate
        scaled = tf.cast(x, tf.float32) / (1 - rate)  # bfloat16 has no 0.9
        return tf.where(kept, tf.cast(scaled, x.dtype), tf.zeros_like(x))

    functions.append(drop if rate else lambda x, place: x)
    try:
        yield
    finally:
        functions.pop()
