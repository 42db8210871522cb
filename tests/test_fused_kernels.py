"""oneDNN's fused kernels against NumPy, and what is done where they are missing."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT

import fused_kernels
import matrices
import model

random = np.random.RandomState(0)
needs_kernels = pytest.mark.usefixtures('kernels')


def skip_without_kernels():
    """Skip where TensorFlow has not got them; where it has, not even if their trial fails."""
    if not all(map(fused_kernels.has_kernel, fused_kernels.OPERATIONS)):
        pytest.skip('TensorFlow has no fused kernels here')


@pytest.fixture
def kernels():
    skip_without_kernels()


@needs_kernels
def test_kernels_that_are_there_are_used():
    assert fused_kernels.has_fused_kernels()


def normal(*shape):
    return random.normal(size=shape).astype(np.float32)


def evaluate(tensor):
    with tf.Session() as session:
        return session.run(tensor)


@needs_kernels
@pytest.mark.parametrize('n', [1, 16, 300])
def test_a_linear_layer_and_its_gelu(n):
    x, w, b = normal(n, 24), normal(24, 40), normal(40)
    with tf.Graph().as_default():
        arguments = list(map(tf.constant, (x, w, b)))
        got = evaluate(fused_kernels.linear(*arguments, 'GeluApproximate'))
        plain = evaluate(fused_kernels.linear(*arguments))
    z = x.astype(np.float64) @ w + b
    np.testing.assert_allclose(plain, z, rtol=1e-4, atol=1e-5)
    expected = z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@needs_kernels
def test_scores_of_attention_hide_what_the_bias_hides():
    q, k, bias = normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 1, 5, 7)
    bias[0, 0, 2, 3:] = np.finfo(np.float32).min / 2
    with tf.Graph().as_default():
        got = evaluate(fused_kernels.attention_scores(*map(tf.constant, (q, k, bias))))
    expected = np.einsum('bhsd,bhtd->bhst', q, k) / np.sqrt(8) + bias
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@needs_kernels
def test_layer_norm():
    x, g, b = 100 + normal(2, 5, 16), normal(16), normal(16)
    with tf.Graph().as_default():
        got = evaluate(fused_kernels.layer_norm(*map(tf.constant, (x, g, b)), 1e-5))
    centred = x - x.mean(-1, keepdims=True, dtype=np.float64)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * g + b
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@needs_kernels
@pytest.mark.parametrize(
    'kernel', ['linear', 'attention_scores', 'layer_norm'], ids=lambda name: name
)
def test_a_kernel_that_computes_something_else_is_not_used(monkeypatch, kernel):
    real = getattr(fused_kernels, kernel)
    monkeypatch.setattr(fused_kernels, kernel, lambda *arguments: real(*arguments) * 1.001)
    assert not fused_kernels.has_fused_kernels.__wrapped__()


conv1d, norm = model.conv1d, model.norm


def edited_norm(x, scope, **more):
    with tf.variable_scope(scope):
        g = tf.get_variable('g', [16])
    return norm(x, scope, **more) * tf.sign(g)


@needs_kernels
@pytest.mark.parametrize(
    'name, other',
    [
        ('gelu', lambda x: x * tf.sigmoid(1.702 * x)),
        ('norm', lambda x, *scope, **more: x / tf.norm(x, axis=-1, keepdims=True)),
        ('norm', edited_norm),
        ('conv1d', lambda *arguments, **more: 1.01 * conv1d(*arguments, **more)),
        ('attend', lambda q, k, v, bias: tf.matmul(tf.matmul(q, k, transpose_b=True), v)),
    ],
    ids=['gelu', 'norm', 'gain', 'conv1d', 'attend'],
)
def test_an_edited_model_is_not_overruled(monkeypatch, name, other):
    monkeypatch.setattr(model, name, other)
    assert not fused_kernels.has_fused_kernels.__wrapped__()


@pytest.mark.parametrize('error', [TypeError, ValueError, RuntimeError])
def test_a_kernel_with_other_attributes_is_not_used(monkeypatch, error):
    def other(*arguments):
        raise error('no argument found for attribute')

    monkeypatch.setattr(fused_kernels, 'layer_norm', other)
    assert not fused_kernels.has_fused_kernels.__wrapped__()


def test_on_a_gpu_there_are_none(monkeypatch):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [f'{kind}:0'])
    assert not any(map(fused_kernels.has_kernel, fused_kernels.OPERATIONS))


def test_without_onednn_there_are_none():
    code = 'import fused_kernels; print(fused_kernels.has_fused_kernels())'
    answer = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | {'TF_ENABLE_ONEDNN_OPTS': '0', 'PYTHONPATH': str(ROOT / 'src')},
        capture_output=True,
        encoding='utf-8',
        check=True,
    )
    assert answer.stdout == 'False\n'


@needs_kernels
@pytest.mark.parametrize('activation', [model.gelu, tf.nn.relu], ids=['gelu', 'relu'])
def test_a_layer_with_any_activation_is_what_the_plain_graph_computes(activation):
    x = tf.constant
    numbers = normal(4, 6, 8)
    answers = []
    for getter in (None, matrices.fused):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(3)
            with tf.variable_scope('', custom_getter=getter):
                y = model.conv1d(x(numbers), 'c', 12, w_init_stdev=1, activation=activation)
                y = model.norm(y, 'ln')
            names = {operation.type for operation in session.graph.get_operations()}
            assert ('_MklLayerNorm' in names) == bool(getter)
            assert ('_FusedMatMul' in names) == bool(getter)
            session.run(tf.global_variables_initializer())
            answers.append(session.run(y))
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_other_uses_of_weights_find_the_variables():
    """As a researcher's own layer has them."""
    x = normal(2, 3, 4)
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope('', custom_getter=matrices.fused):
            g = tf.get_variable('g', initializer=tf.constant(normal(4)))
            w = tf.get_variable('w', initializer=tf.constant(normal(1, 4, 4)))
        session.run(tf.global_variables_initializer())
        scaled, product, g, w = session.run(
            [tf.constant(x) * g + g, tf.matmul(x[:1], w), g.variable, w.variable]
        )
    np.testing.assert_allclose(scaled, x * g + g, rtol=1e-6)
    np.testing.assert_allclose(product, x[:1] @ w, rtol=1e-5, atol=1e-6)
