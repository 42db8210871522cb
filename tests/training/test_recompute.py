import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from hparams import HParams
from training.dropout import Training
from training.recompute import recomputed

HPARAMS = HParams(n_vocab=50, n_ctx=64, n_embd=32, n_head=2, n_layer=6)
TOKENS = np.random.default_rng(0).integers(0, 50, [16, 64]).astype(np.int32)


@pytest.fixture
def session():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        yield session


def gradients(recompute, rate=0.0):
    training = Training(dropout=rate, seed=tf.constant([3, 4]), recompute=recompute)
    with seam.carried_out_by(training):
        outputs = model.model(HPARAMS, tf.constant(TOKENS), reuse=tf.AUTO_REUSE)
        hidden = outputs['hidden']
        found = tf.gradients(tf.reduce_mean(tf.square(hidden)), tf.trainable_variables())
    # The output embedding has no part in the hidden states; its gradient is that of the input.
    return [tf.convert_to_tensor(gradient) for gradient in found]


@pytest.mark.parametrize('rate', [0, 0.3])
def test_gradients_are_those_of_the_layer_that_keeps_its_inside(session, rate):
    kept, recomputed = gradients(False, rate), gradients(True, rate)
    session.run(tf.global_variables_initializer())
    for a, b in zip(*session.run([kept, recomputed]), strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)


def test_a_layer_has_no_past():
    with pytest.raises(AssertionError), tf.Graph().as_default():
        recomputed(model.block)(tf.zeros([1, 1, 32]), 'h0', past=tf.zeros([]), hparams=HPARAMS)


def peak(session, fetches):
    """The most bytes that a run has in use at a time."""
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    session.run(fetches, options=options, run_metadata=metadata)
    records = [
        (record.alloc_micros, record.alloc_bytes)
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
        for memory in node.memory
        for record in memory.allocation_records
    ]
    return np.cumsum([n_bytes for _, n_bytes in sorted(records)]).max()


def test_less_is_kept_for_the_backward_pass(session):
    kept, recomputed = gradients(False), gradients(True)
    session.run(tf.global_variables_initializer())
    # 0.53 with a single thread, less otherwise.
    assert peak(session, recomputed) < 0.6 * peak(session, kept)
