import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from training.optimizers.adamw import AdamW

RATES = [0.0, 0.01, 0.02, 0.015, 0.001]


def adamw(start, gradients, decay, beta1=0.9, beta2=0.95, epsilon=1e-8):
    """Loshchilov & Hutter 2017, algorithm 2, in float64."""
    x, m, v = start.astype(np.float64), 0.0, 0.0
    for t, (rate, g) in enumerate(zip(RATES, gradients, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        corrected = m / (1 - beta1**t), v / (1 - beta2**t)
        x = x - rate * (corrected[0] / (np.sqrt(corrected[1]) + epsilon) + decay * x)
    return x


@pytest.mark.parametrize('size', [1.0, 1e-7])  # the smaller, the more epsilon matters
def test_weights_follow_the_published_algorithm(size):
    random = np.random.default_rng(0)
    starts = [random.normal(size=shape).astype(np.float32) for shape in ([1, 5, 3], [4, 2], [3])]
    gradients = [[size * random.normal(size=s.shape) for _ in RATES] for s in starts]
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(f'x{i}', initializer=s) for i, s in enumerate(starts)]
        fed = [tf.placeholder(tf.float32, s.shape) for s in starts]
        step, rate = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
        adam = AdamW(variables, beta1=0.9, beta2=0.95, weight_decay=0.3)
        update = adam.apply(fed, step, rate)
        session.run([v.initializer for v in variables])
        session.run([v.initializer for v in adam.slots])
        for t, r in enumerate(RATES, start=1):
            feed = {f: g[t - 1] for f, g in zip(fed, gradients, strict=True)}
            session.run(update, {step: t, rate: r} | feed)
        results = session.run(variables)
    for start, result, g, decay in zip(starts, results, gradients, [0.3, 0.3, 0.0], strict=True):
        np.testing.assert_allclose(result, adamw(start, g, decay), rtol=1e-5, atol=1e-6)
        assert np.abs(result - start).max() > 1e-4
