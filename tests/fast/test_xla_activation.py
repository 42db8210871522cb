import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from fast.xla_activation import can_compile, compiled

pytestmark = pytest.mark.skipif(not can_compile(), reason='no XLA, or a GPU')


def relu_squared(x):
    """What somebody may put in the place of GELU."""
    return tf.square(tf.nn.relu(x))


@pytest.mark.parametrize('dtype, error', [(tf.float32, 1e-5), (tf.bfloat16, 0.02)])
@pytest.mark.parametrize('activation', [model.gelu, relu_squared])
def test_values_and_gradients_are_those_of_the_plain_function(activation, dtype, error):
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(random.normal(scale=3, size=[5, 7, 33]), dtype)
        dy = tf.constant(random.normal(size=[5, 7, 33]), dtype)
        results = []
        for function in (activation, compiled(activation)):
            y = function(x)
            results += [y, *tf.gradients(y, [x], dy)]
        y, dx, compiled_y, compiled_dx = session.run([tf.cast(r, tf.float32) for r in results])
    assert compiled_y.shape == y.shape and abs(dx).max() > 1
    np.testing.assert_allclose(compiled_y, y, rtol=error, atol=error)
    np.testing.assert_allclose(compiled_dx, dx, rtol=error, atol=error)


def test_the_way_back_keeps_the_input_alone():
    """Of operation by operation GELU four tensors wait for the gradient."""
    with tf.Graph().as_default() as graph:
        x = tf.ones([3, 4])
        tf.gradients(compiled(model.gelu)(x), [x])
        kinds = [operation.type for operation in graph.get_operations()]
    assert 'Sigmoid' not in kinds and 'SigmoidGrad' not in kinds
    assert sum(kind.endswith('PartitionedCall') for kind in kinds) == 2
