import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import cache
from hparams import HParams

HPARAMS = HParams(n_vocab=5, n_ctx=8, n_embd=6, n_head=2, n_layer=2)


def evaluate(tensors):
    with tf.Session() as session:
        return session.run(tensors)


def test_slots_show_the_mask_and_positions_of_left_padding():
    with tf.Graph().as_default():
        slots, padding = tf.range(4), tf.constant([0, 2])
        seen, positions = evaluate(
            [cache.visible(slots, slots, padding), cache.slot_positions(slots, padding)]
        )
    np.testing.assert_array_equal(positions, [[0, 1, 2, 3], [0, 0, 0, 1]])
    triangle = np.tril(np.ones([4, 4], bool))
    np.testing.assert_array_equal(seen[0, 0], triangle)
    np.testing.assert_array_equal(seen[1, 0], triangle & (np.arange(4) >= 2))


@pytest.mark.parametrize('slots', [[0], [3], [1, 2, 3]])
def test_new_positions_are_written_to_their_slots_and_nowhere_else(slots):
    new = np.random.default_rng(0).normal(size=[3, 2, len(slots), 3]).astype(np.float32)
    with tf.Graph().as_default():
        memory = cache.memories(
            cache.empty_cache(HPARAMS, 3, 5), tf.constant(slots), tf.zeros([3], tf.int32)
        )[1]
        memory(tf.zeros([3, 2, len(slots), 3]), tf.constant(new), tf.constant(-new))
        keys, values, bias = evaluate([*memory.written, memory.attend.keywords['bias']])
    expected = np.zeros([3, 2, 5, 3], np.float32)
    expected[:, :, slots] = new
    np.testing.assert_array_equal(keys, expected)
    np.testing.assert_array_equal(values, -expected)
    np.testing.assert_array_equal(bias[0, 0] == 0, np.arange(5) <= np.array(slots)[:, None])


def test_buffers_are_written_in_place_and_are_not_one():
    """The result shares memory with the buffer; equal empty buffers do not share theirs."""
    with tf.Graph().as_default():
        empty = cache.empty_cache(HPARAMS, 1, 4)
        one, other = empty.keys
        written = cache.in_place(one, tf.constant([0]))(one, tf.ones([1, 2, 1, 3]))
        with tf.control_dependencies([written]):
            before, beside = tf.identity(one), tf.identity(other)
        written, before, beside = evaluate([written, before, beside])
    assert written.sum() == 6
    np.testing.assert_array_equal(before, written)
    assert not beside.any()


def test_a_grown_cache_keeps_its_slots_and_adds_zeros():
    with tf.Graph().as_default():
        ones, twos = tf.ones([2, 2, 3, 4]), tf.fill([2, 2, 3, 4], 2.0)
        grown = cache.grown(cache.Cache(keys=[ones, ones], values=[twos, ones]), 5)
        keys, values = evaluate([grown.keys, grown.values])
    for out, number in [(keys[0], 1), (keys[1], 1), (values[0], 2), (values[1], 1)]:
        assert out.shape == (2, 2, 5, 4)
        assert (out[:, :, :3] == number).all() and not out[:, :, 3:].any()
