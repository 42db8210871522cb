"""A model in shards, one for each core: tensor parallelism (Shoeybi et al. 2019, section 3).

A shard has some heads of each attention and as much of each MLP, with the columns and rows of their
matrices. Its part of a layer depends on no other shard's; what they contribute to the layer's
output is added. So a core computes one operation of its shard after another, and waits for the
others twice in a layer instead of with each operation, which is what takes time where operations
are as small as those of a single token.

The forward pass is the one in model.py, whose `attn` and `mlp` are called for each shard, with its
number of heads and its weights. Only where it is as it came: a researcher's other layer is computed
whole, since it may not be a sum of shards.
"""

import dataclasses
import hashlib
import inspect
import os

import tensorflow.compat.v1 as tf

import model

MODEL = '61738fef72b7ff78'  # the begin of model.py's sha256; test_shards.py tells of another
FUNCTIONS = dict(inspect.getmembers(model, inspect.isfunction))
OF_THE_MODEL = 'model', 'hparams'  # where its functions are
MEASURED_CORES = 2  # with more, a layer as a whole uses them all, as it did before
# The axis that is split of a layer's weights, and of how many matrices side by side they consist.
# Weights with other names have no shards, nor has the bias of rows, which is added once.
COLUMNS, ROWS = -1, -2
SPLIT = {'c_attn': (COLUMNS, 3), 'c_fc': (COLUMNS, 1), 'c_proj': (ROWS, 1)}


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


class Shard:
    """One of several: its place among them, and the heads of each."""

    def __init__(self, i, heads):
        self.i, self.heads = i, heads

    def share(self, n):
        """How many of n items that belong to all heads are this shard's."""
        return n * self.heads[self.i] // sum(self.heads)

    def getter(self, getter, name, shape, *args, **kwargs):
        """This shard's part of a weight, whose shape is the part's; for tf.variable_scope.

        The getter outside gives what sharded_weights.sharded makes.
        """
        how = how_split(name)
        if how is None:  # a bias that is added once
            return tf.zeros(shape) if self.i else getter(name, shape, *args, **kwargs)
        axis, _ = how
        whole = list(shape)
        whole[axis] = whole[axis] * sum(self.heads) // self.heads[self.i]
        return getter(name, whole, *args, **kwargs).parts[self.i]

    def call(self, sublayer, x, scope, n_state, *, hparams, **more):
        """What `model.attn` or `model.mlp` make of this shard."""
        n_embd = self.share(hparams.n_embd)
        hparams = dataclasses.replace(hparams, n_head=self.heads[self.i], n_embd=n_embd)
        with tf.variable_scope(tf.get_variable_scope(), custom_getter=self.getter):
            return sublayer(x, scope, self.share(n_state), hparams=hparams, **more)


def block(x, scope, *, past, hparams):
    """`model.block` in shards; past: a function for each of them, as `model.attn` takes it."""
    heads = shares(hparams.n_head, len(past))
    shards = [Shard(i, heads) for i in range(len(heads))]

    def call(sublayer, *args, past=None, **kwargs):
        if past is None:  # the MLP
            return tf.add_n([shard.call(sublayer, *args, **kwargs) for shard in shards])
        results = [
            shard.call(sublayer, *args, past=its_past, **kwargs)
            for shard, its_past in zip(shards, past, strict=True)
        ]
        outputs, presents = zip(*results, strict=True)
        return tf.add_n(outputs), tf.concat(presents, axis=2)

    return model.block(x, scope, past=past, hparams=hparams, call=call)


def best_number(hparams, dtype):
    """How many shards are quickest here: one for each core, where that has been measured.

    One if model.py has been edited: whether its layers are still sums of shards, say if heads know
    of each other, cannot be found out by trying.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    if dtype != 'float32' or cores != MEASURED_CORES or hparams.n_head < cores:
        return 1
    if tf.config.list_physical_devices('GPU') or not model_is_known():
        return 1
    return cores


def model_is_known():
    """Whether model.py and its functions are those that this module was made for."""
    for name, function in FUNCTIONS.items():
        if getattr(model, name, None) is not function or function.__module__ not in OF_THE_MODEL:
            return False  # replaced from outside
    try:
        with open(model.__file__, encoding='utf-8') as file:
            text = file.read()  # with the same ends of lines on every system
    except (OSError, UnicodeError):
        return False
    return hashlib.sha256(text.encode()).hexdigest().startswith(MODEL)
