"""Whether model.py is computed rightly by tensor parallelism and by other attention: a trial.

model.py may have been edited. What it declares is tried on a small model of random weights with as
many heads: the plain forward pass and the fast one must give the same logits for a token that sees
a whole cache. An edit for later layers than the second alone, or for larger sizes, is not found.
"""

import functools
import zlib

import numpy as np
import tensorflow.compat.v1 as tf

import kv_cache as kv
import model
import sample
import seam
from fast import shards
from fast.getters import Stored
from fast.session import session_config
from fast.weights import Store
from hparams import HParams

N_LAYER = 2
WIDTH = 4  # of a head
ROWS = 2
SLOTS = 256  # of the cache, filled with random numbers
DECLARED = {'attn': 'attention', 'mlp': 'feed_forward'}


class Constant:
    """In place of a Store: random numbers, the same ones for a name."""

    def __init__(self, name, shape):
        self.values = tf.constant(drawn(name, shape))


class Drawn(Stored):
    """Weights that are random numbers."""

    def load_later(self, make, name, shape):
        return super().load_later(Constant if make is Store else make, name, shape)


class DrawnShards(Drawn, shards.TensorParallel):
    """Weights by shards, of the same numbers; those by parts are still to be assigned."""


def drawn(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return random.normal(scale=0.5, size=[int(n) for n in shape]).astype(np.float32)


def agrees(heads, attention):
    """Whether shards of so many heads each, with this attention, compute what model.py says.

    heads: tuple; a single number stands for a layer as a whole.
    attention: as kv_cache.plain_attention.
    """
    if len(heads) > 1 and not is_declared():
        return False
    functions = tuple(f for f in vars(model).values() if callable(f))  # those of a notebook change
    return _agrees(heads, attention, functions)


def is_declared():
    """Whether model.py declares heads and hidden units to be independent."""
    return all(getattr(vars(model)[name], 'declared', '') == how for name, how in DECLARED.items())


@functools.cache
def _agrees(heads, attention, functions):
    hparams = HParams(
        n_vocab=7, n_ctx=SLOTS, n_embd=sum(heads) * WIDTH, n_head=sum(heads), n_layer=N_LAYER
    )
    in_shards = len(heads) > 1
    execution = DrawnShards(list(heads)) if in_shards else Drawn()
    memories = functools.partial(shards.memories if in_shards else kv.memories, attention=attention)
    config = session_config(n_shards=2)  # with few threads, which take time to start
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        try:
            cache = random_cache(hparams)
            shared = split(cache, heads) if in_shards else tensors(cache)
            expected = logits(hparams, Drawn(), tensors(cache), kv.memories)
            found = logits(hparams, execution, shared, memories)
            weights = tf.global_variables()
            values = [w.assign(drawn(w.op.name, w.shape)).op for w in weights]
            parts = [w for w in execution.loaded.values() if not isinstance(w, Constant)]
            values += [w.assign(tf.constant(drawn(w.name, w.shape))) for w in parts]
            expected, _ = session.run([expected, values])
            return np.allclose(expected, session.run(found), rtol=1e-3, atol=1e-3)
        except (tf.errors.OpError, TypeError, ValueError, AttributeError):
            return False  # such as a weight of other sizes where there are fewer heads


def random_cache(hparams):
    """Keys and values of each layer in all slots, as arrays."""
    shape = [ROWS, hparams.n_head, SLOTS, WIDTH]
    layers = range(hparams.n_layer)
    return kv.Cache(*([drawn(f'{name}{i}', shape) for i in layers] for name in kv.Cache._fields))


def tensors(cache):
    return kv.Cache(*([tf.constant(buffer) for buffer in buffers] for buffers in cache))


def split(cache, heads):
    """A cache by shards."""
    ends = np.cumsum(heads)[:-1]
    parts = [[np.split(buffer, ends, axis=1) for buffer in buffers] for buffers in cache]
    shards = [kv.Cache(*([b[i] for b in buffers] for buffers in parts)) for i in range(len(heads))]
    return list(map(tensors, shards))


def logits(hparams, execution, cache, memories):
    """The logits after a token in the last slot, [rows, V]."""
    token, padding = tf.constant([[3], [1]]), tf.constant([0, 5])
    state = sample.State(cache, padding, *[None] * (len(sample.State._fields) - 2))
    with seam.carried_out_by(execution), tf.variable_scope('', reuse=tf.AUTO_REUSE):
        return sample.read(hparams, state, token, SLOTS - 1, memories)[0]
