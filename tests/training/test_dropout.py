import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from hparams import HParams
from training.dropout import Training

HPARAMS = HParams(n_vocab=50, n_ctx=8, n_embd=16, n_head=2, n_layer=2)


@pytest.fixture
def session():
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def dropped(session, seed, scope='', place='here', rate=0.25, shape=(200, 300)):
    training = Training(dropout=rate, seed=tf.constant(seed))
    with seam.carried_out_by(training), tf.variable_scope(scope):
        return session.run(seam.dropout(tf.ones(shape), place))


def test_a_share_is_dropped_and_the_mean_stays(session):
    x = dropped(session, [3, 4])
    assert set(np.unique(x)) == {0, np.float32(1 / 0.75)}
    assert np.mean(x == 0) == pytest.approx(0.25, abs=0.01)  # 5 standard deviations


def test_the_choice_depends_on_seed_step_scope_and_place_alone(session):
    first = dropped(session, [3, 4], 'h0', 'mlp')
    np.testing.assert_array_equal(first, dropped(session, [3, 4], 'h0', 'mlp'))
    for other in (([3, 5], 'h0', 'mlp'), ([2, 4], 'h0', 'mlp'), ([3, 4], 'h1', 'mlp')):
        agreement = np.mean((dropped(session, *other) == 0) == (first == 0))
        assert agreement == pytest.approx(0.25**2 + 0.75**2, abs=0.02)
    assert not np.array_equal(first, dropped(session, [3, 4], 'h0', 'attn'))


def test_nothing_is_dropped_outside_of_the_block_or_with_rate_0(session):
    with pytest.raises(KeyError), seam.carried_out_by(Training(dropout=0.5)):
        raise KeyError
    x = tf.ones([3])
    assert seam.dropout(x, 'here') is x
    with seam.carried_out_by(Training(dropout=0)):
        assert seam.dropout(x, 'here') is x


def test_a_model_drops_values_at_the_places_of_the_paper(session):
    """Radford et al. 2018, section 4.1: embedding, attention and residual dropouts."""
    places = []

    class Spy(Training):
        def dropout(self, x, place):
            places.append((tf.get_variable_scope().name, place, x.shape.as_list()))
            return super().dropout(x, place)

    with seam.carried_out_by(Spy(dropout=0.5, seed=tf.constant([0, 0]))):
        model.model(HPARAMS, tf.zeros([3, 8], tf.int32))
    state, weights = [3, 8, 16], [3, 2, 8, 8]
    layers = [
        [(f'model/h{i}/attn', 'weights', weights), (f'model/h{i}', 'attn', state)]
        + [(f'model/h{i}', 'mlp', state)]
        for i in range(2)
    ]
    assert places == [('model', 'embedding', state), *layers[0], *layers[1]]
