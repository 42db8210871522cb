"""Attention in parts against attention at once."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from test_fused_kernels import normal, skip_without_kernels

import attend_in_parts
import model


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('before, behind', [(0, 0), (5, 0), (21, 9)])
@pytest.mark.parametrize('n', [1, 3, 15, 16, 17, 64])
def test_parts_are_the_whole(monkeypatch, n, before, behind, fused):
    """Also where a part is empty, and where a bias hides more than the future."""
    if fused:
        skip_without_kernels()
    monkeypatch.setattr(attend_in_parts, 'has_fused_kernels', lambda: fused)
    n_keys = before + n + behind
    seen = np.random.RandomState(0).rand(2, 1, n, n_keys) < 0.5
    seen = np.tril(seen, before) | np.eye(n, n_keys, before, dtype=bool)
    with tf.Graph().as_default(), tf.Session() as session:
        q, k, v = (
            tf.placeholder_with_default(normal(2, 3, rows, 8), [None, 3, None, 8])
            for rows in (n, n_keys, n_keys)
        )
        bias = model.mask_bias(tf.constant(seen), tf.float32)
        parts = attend_in_parts.attention_in_parts(tf.shape(q)[2], bias, before)(q, k, v)
        parts, whole = session.run([parts, model.attend_all(q * 8**-0.5, k, v, bias)])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_texts_are_read_in_parts():
    """Numbers in the largest tensor of scores: a quarter of all pairs of positions."""
    n = 64
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [1, 1, None, 8])
        attend = attend_in_parts.attention_in_parts(tf.shape(x)[2], tf.zeros([1, 1, n, n]))
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
