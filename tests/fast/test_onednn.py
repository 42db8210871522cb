"""oneDNN's fused kernels against NumPy, and what is done where they are missing."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from fast import Variables, onednn
from helpers.kernels import normal, skip_without_kernels
from helpers.paths import ROOT

needs_kernels = pytest.mark.usefixtures('kernels')


@pytest.fixture
def kernels():
    skip_without_kernels()


@needs_kernels
def test_kernels_that_are_there_are_used():
    assert onednn.verified() == {'linear', 'gelu', 'norm', 'attention'}


def evaluate(tensor):
    with tf.Session() as session:
        return session.run(tensor)


@needs_kernels
@pytest.mark.parametrize('n', [1, 16, 300])
def test_a_linear_layer_and_its_gelu(n):
    x, w, b = normal(n, 24), normal(24, 40), normal(40)
    with tf.Graph().as_default():
        arguments = list(map(tf.constant, (x, w, b)))
        got = evaluate(onednn.linear(*arguments, 'GeluApproximate'))
        plain = evaluate(onednn.linear(*arguments))
    z = x.astype(np.float64) @ w + b
    np.testing.assert_allclose(plain, z, rtol=1e-4, atol=1e-5)
    expected = z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@needs_kernels
def test_scores_of_attention_hide_what_the_bias_hides():
    q, k, bias = normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 1, 5, 7)
    bias[0, 0, 2, 3:] = np.finfo(np.float32).min / 2
    with tf.Graph().as_default():
        got = evaluate(onednn.attention_scores(*map(tf.constant, (q, k, bias))))
    expected = np.einsum('bhsd,bhtd->bhst', q, k) / np.sqrt(8) + bias
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@needs_kernels
def test_layer_norm():
    x, g, b = 100 + normal(2, 5, 16), normal(16), normal(16)
    with tf.Graph().as_default():
        got = evaluate(onednn.layer_norm(*map(tf.constant, (x, g, b)), 1e-5))
    centred = x - x.mean(-1, keepdims=True, dtype=np.float64)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * g + b
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@needs_kernels
@pytest.mark.parametrize(
    ('kernel', 'missing'),
    [
        ('linear', {'linear', 'gelu'}),
        ('attention_scores', {'attention'}),
        ('layer_norm', {'norm'}),
    ],
)
def test_a_kernel_that_computes_something_else_is_not_used(monkeypatch, kernel, missing):
    real = getattr(onednn, kernel)
    monkeypatch.setattr(onednn, kernel, lambda *arguments: real(*arguments) * 1.001)
    assert onednn.try_kernels() == {'linear', 'gelu', 'norm', 'attention'} - missing


def other_attend(q, k, v, bias):
    return tf.matmul(tf.matmul(q, k, transpose_b=True), v)


@needs_kernels
@pytest.mark.parametrize(
    ('name', 'other', 'missing'),
    [
        ('gelu', lambda x: x * tf.sigmoid(1.702 * x), 'gelu'),
        ('attend', other_attend, 'attention'),
    ],
)
def test_an_edited_function_is_not_overruled(monkeypatch, name, other, missing):
    monkeypatch.setattr(model, name, other)
    assert onednn.try_kernels() == {'linear', 'gelu', 'norm', 'attention'} - {missing}


@needs_kernels
@pytest.mark.parametrize('error', [TypeError, ValueError, RuntimeError])
def test_a_kernel_with_other_attributes_is_not_used(monkeypatch, error):
    def other(*arguments):
        raise error('no argument found for attribute')

    monkeypatch.setattr(onednn, 'layer_norm', other)
    assert onednn.try_kernels() == {'linear', 'gelu', 'attention'}


def test_on_a_gpu_there_are_none(monkeypatch):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [f'{kind}:0'])
    assert not any(map(onednn.has_kernel, onednn.OPERATIONS))


def test_without_onednn_there_are_none():
    code = 'from fast import onednn; print(len(onednn.verified()))'
    answer = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | {'TF_ENABLE_ONEDNN_OPTS': '0', 'PYTHONPATH': str(ROOT / 'src')},
        capture_output=True,
        encoding='utf-8',
        check=True,
    )
    assert answer.stdout == '0\n'


@needs_kernels
@pytest.mark.parametrize('activation', [model.gelu, tf.nn.relu], ids=['gelu', 'relu'])
def test_a_layer_with_any_activation_is_what_the_plain_graph_computes(activation):
    x = tf.constant
    numbers = normal(4, 6, 8)
    answers = []
    for execution in (seam.Execution(), Variables().for_many_rows()):
        fused = isinstance(execution, Variables)
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(3)
            with seam.carried_out_by(execution):
                y = model.conv1d(x(numbers), 'c', 12, w_init_stdev=1, activation=activation)
                y = model.norm(y, 'ln')
            names = {operation.type for operation in session.graph.get_operations()}
            assert ('_MklLayerNorm' in names) == fused
            assert ('_FusedMatMul' in names) == fused
            session.run(tf.global_variables_initializer())
            answers.append(session.run(y))
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-4)
