import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import kv_cache
import model
import sample
import seam
from fast.trial import Drawn
from hparams import HParams

HPARAMS = HParams(n_vocab=5, n_ctx=8, n_embd=6, n_head=2, n_layer=2)


def evaluate(tensors):
    with tf.Session() as session:
        return session.run(tensors)


def test_slots_show_the_mask_and_positions_of_left_padding():
    with tf.Graph().as_default():
        slots, padding = tf.range(4), tf.constant([0, 2])
        seen, positions = evaluate(
            [kv_cache.visible(slots, slots, padding), kv_cache.slot_positions(slots, padding)]
        )
    np.testing.assert_array_equal(positions, [[0, 1, 2, 3], [0, 0, 0, 1]])
    triangle = np.tril(np.ones([4, 4], bool))
    np.testing.assert_array_equal(seen[0, 0], triangle)
    np.testing.assert_array_equal(seen[1, 0], triangle & (np.arange(4) >= 2))


@pytest.mark.parametrize('slots', [[0], [3], [1, 2, 3]])
def test_new_positions_are_written_to_their_slots_and_nowhere_else(slots):
    new = np.random.default_rng(0).normal(size=[3, 2, len(slots), 3]).astype(np.float32)
    with tf.Graph().as_default():
        memory = kv_cache.memories(
            kv_cache.empty_cache(HPARAMS, 3, 5), tf.constant(slots), tf.zeros([3], tf.int32)
        )[1]
        memory.attend(tf.zeros([3, 2, len(slots), 3]), tf.constant(new), tf.constant(-new), None)
        keys, values, bias = evaluate([*memory.written, memory.attention.keywords['bias']])
    expected = np.zeros([3, 2, 5, 3], np.float32)
    expected[:, :, slots] = new
    np.testing.assert_array_equal(keys, expected)
    np.testing.assert_array_equal(values, -expected)
    np.testing.assert_array_equal(bias[0, 0] == 0, np.arange(5) <= np.array(slots)[:, None])


def test_buffers_are_written_in_place_and_are_not_one():
    """The result shares memory with the buffer; equal empty buffers do not share theirs."""
    with tf.Graph().as_default():
        empty = kv_cache.empty_cache(HPARAMS, 1, 4)
        one, other = empty.keys
        written = kv_cache.in_place(one, tf.constant([0]))(one, tf.ones([1, 2, 1, 3]))
        with tf.control_dependencies([written]):
            before, beside = tf.identity(one), tf.identity(other)
        written, before, beside = evaluate([written, before, beside])
    assert written.sum() == 6
    np.testing.assert_array_equal(before, written)
    assert not beside.any()


def test_a_grown_cache_keeps_its_slots_and_adds_zeros():
    with tf.Graph().as_default():
        ones, twos = tf.ones([2, 2, 3, 4]), tf.fill([2, 2, 3, 4], 2.0)
        grown = kv_cache.grown(kv_cache.Cache(keys=[ones, ones], values=[twos, ones]), 5)
        keys, values = evaluate([grown.keys, grown.values])
    for out, number in [(keys[0], 1), (keys[1], 1), (values[0], 2), (values[1], 1)]:
        assert out.shape == (2, 2, 5, 4)
        assert (out[:, :, :3] == number).all() and not out[:, :, 3:].any()


def test_the_model_as_it_is_reads_into_a_cache_what_it_reads_at_once():
    """With random weights and left padding; an edit of the architecture should pass it, too."""
    hparams = HParams(n_vocab=50, n_ctx=16, n_embd=16, n_head=2, n_layer=2)
    tokens = np.random.default_rng(0).integers(50, size=[3, 12])
    padding = np.array([0, 7, 3], np.int32)
    cached, whole = [], []
    with tf.Graph().as_default(), seam.carried_out_by(Drawn()):
        state = sample.start(hparams, tf.constant(tokens, tf.int32), tf.constant(padding), 12)
        for start, end in [(0, 8), (8, 9), (9, 12)]:
            with tf.control_dependencies(cached):
                read = state.unread[:, start:end]
                cached.append(sample.read(hparams, state, read, start)[0])
        for row, n in zip(tokens, padding, strict=True):
            logits = model.model(hparams, tf.constant(row[None, n:], tf.int32))['logits'][0]
            whole.append(tf.gather(logits, [7 - n, 8 - n, 11 - n]))
        cached, whole = evaluate([tf.stack(cached, axis=1), tf.stack(whole)])
    np.testing.assert_allclose(cached, whole, rtol=1e-4, atol=1e-4)
