"""Tensor parallelism (Shoeybi et al. 2019, section 3): a model by shards, one for each core.

A shard has some heads of each attention and as much of each MLP, with the columns and rows of their
matrices. Its part of a layer depends on no other shard's; what they contribute to the layer's
output is added. So a core computes one operation of its shard after another, and waits for the
others twice in a layer instead of with each operation, which is what takes time where operations
are as small as those of a single token.

The forward pass is the one in model.py: seam.py lets `attn` and `mlp` be called for each shard,
with its number of heads and its weights. That is right where heads are independent. model.py
declares so, and trial.py tries whether it is true.
"""

import dataclasses
import functools
import os
import typing

import tensorflow.compat.v1 as tf

import kv_cache as kv
import seam
from fast import sharded_weights
from fast.attention import attention_of_steps
from fast.getters import Stored, full_name
from fast.int8 import has_int8_kernel
from fast.sharded_weights import SPLIT_ROWS_BIAS, how_split

MEASURED_CORES = 2  # With more cores, no shards: each operation uses all cores.
LARGE = 2**26  # weights of the layers: the 124M has more


def best_number(hparams, dtype):
    """How many shards are fastest here: two on two cores, else none, as far as was measured.

    Operations of small models are short: there int8 is faster by layers as a whole. A large model
    gains from two shards even on one core, except in int8: packed weights are read faster.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    if not cores or cores > MEASURED_CORES or hparams.n_head < 2:
        return 1
    if tf.config.list_physical_devices('GPU'):
        return 1
    large = hparams.n_layer * 12 * hparams.n_embd**2 >= LARGE
    if dtype == 'int8':
        worth_it = cores == 2 and large and has_int8_kernel()
    else:
        worth_it = cores == 2 or large
    return 2 if worth_it else 1


class TensorParallel(Stored):
    """Weights by parts of several shards, each of which computes its share of a layer.

    heads: how many each shard has.
    """

    def __init__(self, heads, dtype='float32'):
        super().__init__(dtype)
        self.heads = heads

    def weight(self, kind, name, shape, initializer):
        if name == 'wte':
            return self.sharded(full_name(name), shape)
        return super().weight(kind, name, shape, initializer)

    def sharded(self, name, shape):
        """A weight by parts; name, shape: as in checkpoints."""
        make = functools.partial(
            sharded_weights.sharded, heads=self.heads, kinds=self.sharded_kinds
        )
        weight = self.load_later(make, name, shape)
        return weight.for_many_rows() if self.many_rows else weight

    def shards(self):
        return [Shard(self, i) for i in range(len(self.heads))]

    def attention(self, attn, x, scope, n_state, *, memory, **more):
        results = [
            shard.call(attn, x, scope, n_state, memory=part, **more)
            for shard, part in zip(self.shards(), memory.parts, strict=True)
        ]
        outputs, presents = zip(*results, strict=True)
        return tf.add_n(outputs), tf.concat(presents, axis=2)

    def feed_forward(self, mlp, x, scope, n_state, **more):
        return tf.add_n([shard.call(mlp, x, scope, n_state, **more) for shard in self.shards()])


class Shard(seam.Execution):
    """Carries out one shard's share of a layer.

    Weights with names that shards do not split are whole in each of them.
    """

    def __init__(self, whole, i):
        self.whole, self.i = whole, i

    def share(self, n):
        """How many of n items that belong to all heads are this shard's."""
        return n * self.whole.heads[self.i] // sum(self.whole.heads)

    def weight(self, kind, name, shape, initializer):
        full = full_name(name)
        how = how_split(full)
        if how is None:
            added_once = full.endswith(SPLIT_ROWS_BIAS) and self.i
            if added_once:
                return kind(tf.zeros(shape))
            return self.whole.weight(kind, name, shape, initializer)
        axis, _ = how
        shape = list(shape)
        shape[axis] = shape[axis] * sum(self.whole.heads) // self.whole.heads[self.i]
        return self.whole.sharded(full, shape).parts[self.i]

    def call(self, sublayer, x, scope, n_state, *, hparams, **more):
        """What `model.attn` or `model.mlp` make of this shard."""
        n_embd = self.share(hparams.n_embd)
        hparams = dataclasses.replace(hparams, n_head=self.whole.heads[self.i], n_embd=n_embd)
        with seam.carried_out_by(self):
            return sublayer(x, scope, self.share(n_state), hparams=hparams, **more)


class Parts(typing.NamedTuple):
    """A layer's memory by shards: a model.Memory of each."""

    parts: tuple

    @property
    def written(self):
        return [part.written for part in self.parts]


def empty_cache(hparams, heads, batch, capacity):
    """A KV cache by shards: a kv_cache.Cache of each."""
    width = hparams.n_embd // hparams.n_head
    return [
        kv.empty_cache(dataclasses.replace(hparams, n_head=n, n_embd=n * width), batch, capacity)
        for n in heads
    ]


def memories(caches, slots, padding, *, attention=attention_of_steps, **how):
    """A layer's memory by shards, for each layer; arguments as kv_cache.memories takes them."""
    of_shards = [kv.memories(cache, slots, padding, attention=attention, **how) for cache in caches]
    return [Parts(parts) for parts in zip(*of_shards, strict=True)]
