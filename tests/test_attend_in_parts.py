"""Attention in parts against attention at once."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from test_fused_kernels import normal

import attend_in_parts
import model


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('n', [1, 3, 15, 16, 17, 64])
def test_parts_are_the_whole(monkeypatch, n, fused):
    """Also where a part is empty, and where a bias hides more than the future."""
    if fused and not attend_in_parts.has_fused_kernels():
        pytest.skip('TensorFlow has no fused kernels here')
    monkeypatch.setattr(attend_in_parts, 'has_fused_kernels', lambda: fused)
    monkeypatch.setattr(attend_in_parts, 'WORTH_PARTS', 16)
    seen = np.tril(np.random.RandomState(0).rand(2, 1, n, n) < 0.5) | np.eye(n, dtype=bool)
    with tf.Graph().as_default(), tf.Session() as session:
        q, k, v = (
            tf.placeholder_with_default(normal(2, 3, n, 8), [None, 3, None, 8]) for _ in 'qkv'
        )
        bias = model.mask_bias(tf.constant(seen), tf.float32)
        parts = attend_in_parts.attend_in_parts(q, k, v, bias)
        parts, whole = session.run([parts, model.attend_all(q * 8**-0.5, k, v, bias)])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_long_texts_are_read_in_parts():
    """Numbers in the largest tensor of scores: a quarter of all pairs of positions."""
    n = attend_in_parts.WORTH_PARTS
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [1, 1, None, 8])
        y = attend_in_parts.attend_in_parts(x, x, x, tf.zeros([1, 1, n, n]))
        metadata = tf.RunMetadata()
        session.run(
            y,
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
