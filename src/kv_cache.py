"""A key/value cache that is allocated once and written in place.

Shapes: B batch, S new positions, C slots of the cache (its capacity), H heads, D head width.

The 2019 sampler appended to its past with tf.concat, which copies everything once a token. Here
keys and values are in buffers [B, H, C, D], two a layer, and each step writes its own slots of
them. Prompts of different lengths are padded on the left, so that all rows write the same slots;
what a row may see is the slots from its first real token to the present one.
"""

import functools
import typing

import tensorflow.compat.v1 as tf

import model
from model import mask_bias, shape_list


class Cache(typing.NamedTuple):
    keys: list  # of L buffers [B, H, C, D]
    values: list  # the same


def empty_cache(hparams, batch, capacity):
    """A cache without any position in it.

    Its buffers are zeros, for a NaN in an unused slot would outlive any mask; but not tf.zeros:
    equal constants are merged into one, and these are written to.
    """
    shape = tf.stack([batch, hparams.n_head, capacity, hparams.n_embd // hparams.n_head])

    def buffers():
        empty = tf.raw_ops.Empty
        return [empty(shape=shape, dtype=tf.float32, init=True) for _ in range(hparams.n_layer)]

    return Cache(keys=buffers(), values=buffers())


def grown(cache, capacity):
    """A copy of a cache with more slots, zeros after the others."""
    more = capacity - shape_list(cache.keys[0])[2]
    paddings = tf.convert_to_tensor([[0, 0], [0, 0], [0, more], [0, 0]])
    return Cache(*([tf.pad(buffer, paddings) for buffer in buffers] for buffers in cache))


def slot_positions(slots, padding):
    """The position that a slot holds in each row: [B, slots]; in the padding it is kept at 0.

    slots: int32 [S] or [B, S], slot numbers.  padding: int32 [B], slots without a token on the
        left.
    """
    return tf.maximum(slots - padding[:, None], 0)


def visible(query_slots, key_slots, padding):
    """Which keys a query sees: those of its own row's tokens up to itself. [B, 1, queries, keys]

    query_slots: the same of all rows [S], or each row's own [B, S].
    """
    real = key_slots >= padding[:, None]
    past = model.may_see(query_slots[..., None], key_slots)
    return tf.logical_and(real[:, None, None, :], past[..., None, :, :])


class CachedMemory(model.Memory):
    """A layer's memory that writes the new positions, then attends to the whole buffer.

    write: (buffer, x) -> the buffer with x in it.  attention: (q, k, v) -> as `model.attend`.
    written: the buffers of keys and values after they were written, once the layer has attended.
    """

    def __init__(self, keys, values, write, attention):
        self.keys, self.values = keys, values
        self.write, self.attention = write, attention

    def remember(self, k, v):
        self.written = self.write(self.keys, k), self.write(self.values, v)
        return self.written


def plain_attention(bias):
    """What attends with a bias [B, 1, S, C]: (q, k, v) -> `model.attend`."""
    return functools.partial(model.attend, bias=bias)


def memories(cache, slots, padding, *, attention=plain_attention, writer=None):
    """A CachedMemory for each layer, for a step that writes `slots` (int32 [S]) of all rows.

    attention: as `plain_attention`.  writer: as `in_place`, for buffers of other kinds or for slots
        that differ between rows, [B, S].
    """
    example = cache.keys[0]
    capacity = shape_list(example)[2]
    bias = mask_bias(visible(slots, tf.range(capacity), padding), example.dtype)
    how = (writer or in_place)(example, slots), attention(bias)
    return [CachedMemory(k, v, *how) for k, v in zip(cache.keys, cache.values, strict=True)]


def in_place(example, slots):
    """A function (buffer, x) that writes x [B, H, S, D] into `slots` of a buffer without a copy.

    It returns the buffer, which must be read through this result only: InplaceUpdate changes its
    input. Steps cannot overtake each other: the next token depends on every read of this one.
    example: one of the buffers, all of which have its shape and come from outside of the loop.
    """
    batch, heads, capacity, _ = shape_list(example)
    rows = tf.range(batch * heads)[:, None] * capacity + slots
    rows = tf.reshape(rows, [-1])  # of a buffer seen as [B * H * C, D]
    return writes(example, rows)


def in_own_slots(example, slots):
    """As `in_place`, into other slots of each row: int32 [B, S], or of the first B rows."""
    _, heads, capacity, _ = shape_list(example)
    batch = shape_list(slots)[0]
    first = tf.reshape(tf.range(batch * heads) * capacity, [batch, heads, 1])
    return writes(example, tf.reshape(first + slots[:, None], [-1]))


def writes(example, rows):
    """`in_place` into rows of the buffer seen as [B * H * C, D]: int32 [B * H * S]."""
    shape = tf.shape(example)
    width = example.shape[-1].value
    flat = tf.constant([-1, width])

    def write(buffer, x):
        with tf.control_dependencies(None):  # outside of the loop: once
            buffer = tf.reshape(buffer, [-1, width])
        update = tf.raw_ops.InplaceUpdate(x=buffer, i=rows, v=tf.reshape(x, flat))
        return tf.reshape(update, shape)

    return write
