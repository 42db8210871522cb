import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from training.clipping import clip


@pytest.mark.parametrize('limit, scale', [(0, 1), (26, 1), (6.5, 0.5)])
def test_clipping_scales_all_gradients_by_their_common_norm(limit, scale):
    gradients = [np.float32([[3, 4]]), np.float32([0, 12])]  # norm 13
    with tf.Graph().as_default(), tf.Session() as session:
        clipped, norm = session.run(clip([tf.constant(g) for g in gradients], limit))
    assert norm == pytest.approx(13) and len(clipped) == 2
    for before, after in zip(gradients, clipped, strict=True):
        np.testing.assert_allclose(after, scale * before, rtol=1e-6)


@pytest.mark.parametrize('limit', [1, 20])
def test_a_single_gradient_is_clipped_alone(limit):
    with tf.Graph().as_default(), tf.Session() as session:
        clipped, _ = session.run(clip([tf.constant([6.0, 8.0])], limit))
    assert len(clipped) == 1
    np.testing.assert_allclose(clipped[0], np.array([6, 8]) * min(limit / 10, 1), rtol=1e-6)


def test_a_norm_that_is_not_finite_shows():
    with tf.Graph().as_default(), tf.Session() as session:
        _, norm = session.run(clip([tf.constant([np.nan, 1.0])], 1.0))
    assert np.isnan(norm)
