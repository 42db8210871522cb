"""Attention in parts against attention at once."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from fast import attention, onednn
from helpers.kernels import normal, skip_without_kernels


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('before, behind', [(0, 0), (5, 0), (21, 9)])
@pytest.mark.parametrize('n', [1, 3, 15, 16, 17, 64])
def test_parts_are_the_whole(monkeypatch, n, before, behind, fused):
    """Also where a part is empty, and where a bias hides more than the future."""
    if fused:
        skip_without_kernels()
    if not fused:
        monkeypatch.setattr(onednn, 'verified', frozenset)
    n_keys = before + n + behind
    seen = np.random.RandomState(0).rand(2, 1, n, n_keys) < 0.5
    seen = np.tril(seen, before) | np.eye(n, n_keys, before, dtype=bool)
    with tf.Graph().as_default(), tf.Session() as session:
        q, k, v = (
            tf.placeholder_with_default(normal(2, 3, rows, 8), [None, 3, None, 8])
            for rows in (n, n_keys, n_keys)
        )
        bias = model.mask_bias(tf.constant(seen), tf.float32)
        parts = attention.attention_in_parts(tf.shape(q)[2], bias, before)(q, k, v)
        parts, whole = session.run([parts, model.attend(q, k, v, bias)])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_texts_are_read_in_parts():
    """Numbers in the largest tensor of scores: a quarter of all pairs of positions."""
    n = 64
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [1, 1, None, 8])
        attend = attention.attention_in_parts(tf.shape(x)[2], tf.zeros([1, 1, n, n]))
        metadata = tf.RunMetadata()
        session.run(
            attend(x, x, x),
            {x: normal(1, 1, n, 8)},
            tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
            metadata,
        )
    scores = [
        [axis.size for axis in output.tensor_description.shape.dim]
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
        for output in node.output
        if 'softmax' in node.node_name.lower()
    ]
    assert sorted(shape[-2:] for shape in scores) == [[n // 4, i * n // 4] for i in range(1, 5)]


@pytest.mark.parametrize('known', [False, True])
@pytest.mark.parametrize('n', [1, 3])
def test_attention_of_steps_is_the_plain_one(n, known):
    """Of one position or more, whether the graph or only its run tells how many there are."""
    bias = np.where(np.random.RandomState(0).rand(2, 1, n, 9) < 0.7, 0, np.finfo('f').min / 2)
    bias[..., 0] = 0
    with tf.Graph().as_default(), tf.Session() as session:
        shape = [2, 3, n if known else None, 8]
        q = tf.placeholder_with_default(normal(2, 3, n, 8), shape)
        k, v = (tf.constant(normal(2, 3, 9, 8)) for _ in range(2))
        bias = tf.constant(bias, tf.float32)
        steps, plain = session.run(
            [attention.attention_of_steps(bias)(q, k, v), model.attend(q, k, v, bias)]
        )
    np.testing.assert_allclose(steps, plain, rtol=1e-5, atol=1e-6)
