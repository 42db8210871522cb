"""Weights in bfloat16 and int8 against NumPy, and what a model makes of them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from fast import Stored, int8
from fast.bfloat16 import Bfloat16Matrix
from fast.int8 import Int8Matrix, quantize
from fast.onednn import has_kernel
from fast.weights import StoredWeight
from helpers.paths import REFERENCE, ROOT, TESTDATA
from hparams import read_hparams
from loading import checkpoint
from scoring.scorer import Scorer

random = np.random.RandomState(0)


@pytest.fixture(params=[False, True], ids=['kernel', 'no kernel'])
def any_kernel(request, monkeypatch):
    """With oneDNN's product, and as where there is none."""
    if request.param:
        monkeypatch.setattr(int8, 'has_int8_kernel', lambda: False)
    elif not (has_kernel('_QuantizedMatMul') and has_vnni()):
        pytest.skip('TensorFlow has no int8 product here, or the processor no exact one')
    return not request.param


def has_vnni():
    """Whether the processor multiplies int8 without saturating; only Linux tells by itself."""
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            return not {'avx512_vnni', 'avx_vnni'}.isdisjoint(file.read().split())
    except OSError:
        return int8.has_int8_kernel()


@pytest.mark.parametrize('any_kernel', [False], indirect=True, ids=['kernel'])
def test_a_kernel_that_is_there_is_used(any_kernel):
    assert int8.has_int8_kernel()


def in_session(kind, name, values, ask):
    """What `ask`, given a matrix of a kind with these values, computes."""
    with tf.Graph().as_default(), tf.Session() as session:
        matrix = kind(name, values.shape)
        answer = ask(matrix)
        int8.assign(session, [(matrix, matrix.arrays(values))])
        return session.run(answer)


def test_quantized_weights_are_the_nearest_multiples_of_a_scale_for_each_output():
    values = random.normal(size=[3, 5]).astype(np.float32) * [[1], [100], [1e-6]]
    values[1] = [0, 127, -127, 63.4, 63.6]
    quantized, scales = quantize(values)
    assert quantized.dtype == np.int8 and scales.dtype == np.float32
    np.testing.assert_allclose(scales, np.abs(values).max(axis=1) / 127, rtol=1e-6)
    assert quantized[1].tolist() == [0, 127, -127, 63, 64]
    assert np.all(np.abs(quantized * scales[:, None] - values) <= scales[:, None] * 0.501)


def test_it_makes_no_difference_how_many_outputs_are_quantized_at_a_time(monkeypatch):
    values = random.normal(size=[8, 5]).astype(np.float32)
    at_once = quantize(values)
    monkeypatch.setattr(int8, 'OUTPUTS_AT_ONCE', 3)
    for some, others in zip(quantize(values), at_once, strict=True):
        np.testing.assert_array_equal(some, others)


def test_outputs_without_weights_are_zero():
    quantized, scales = quantize(np.zeros([2, 4], np.float32))
    assert not quantized.any() and np.all(np.isfinite(scales)) and np.all(scales > 0)


@pytest.mark.parametrize(
    ('name', 'shape'), [('model/h0/mlp/c_fc/w', [1, 24, 40]), ('model/wte', [40, 24])]
)
def test_an_int8_product_is_that_of_its_integers(any_kernel, name, shape):
    values = random.normal(size=shape).astype(np.float32)
    x = random.normal(size=[6, 24]).astype(np.float32) * [[1], [100], [1e-4], [0], [1], [1e4]]
    product = in_session(Int8Matrix, name, values, lambda m: m.product(tf.constant(x, tf.float32)))

    flat = values.reshape(shape[-2:])
    flat = flat if name.endswith('w') else flat.T
    scales = np.abs(flat).max(axis=0) / 127
    weights = np.rint(flat / scales)
    if any_kernel:
        largest = np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-30)
        expected = np.rint(x / largest * 127) @ weights * scales * largest / 127
    else:
        expected = x @ (weights * scales)
    np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    assert np.all(product[3] == 0)
    error = np.abs(product - x @ flat).max(axis=1) / (np.abs(x @ flat).max(axis=1) + 1e-30)
    assert np.all(error < 0.03)


def test_a_row_of_an_int8_product_does_not_depend_on_the_others():
    values = random.normal(size=[1, 64, 96]).astype(np.float32)
    x = random.normal(size=[33, 64]).astype(np.float32)
    products = [
        in_session(Int8Matrix, 'model/h0/attn/c_attn/w', values, lambda m, n=n: m.product(x[:n]))
        for n in (1, 8, 33)
    ]
    np.testing.assert_array_equal(products[0], products[2][:1])
    np.testing.assert_array_equal(products[1], products[2][:8])


def test_products_are_the_same_where_the_values_are_packed_each_time(any_kernel):
    values = random.normal(size=[1, 64, 96]).astype(np.float32)
    rows = random.normal(size=[33, 64]).astype(np.float32)

    def both(matrix):
        x = tf.constant(rows)
        return [matrix.product(x), matrix.for_many_rows().product(x)]

    once, each_time = in_session(Int8Matrix, 'model/h0/attn/c_attn/w', values, both)
    np.testing.assert_array_equal(once, each_time)


def test_what_is_no_number_stays_none_and_in_its_row(any_kernel):
    """Rounded to an int8 it would be some number, and what follows a plausible token."""
    values = random.normal(size=[1, 64, 96]).astype(np.float32)
    x = random.normal(size=[3, 64]).astype(np.float32)
    x[1, 40] = np.nan
    name = 'model/h0/attn/c_attn/w'
    product = in_session(Int8Matrix, name, values, lambda m: m.product(tf.constant(x)))
    assert np.isnan(product[1]).all()
    assert np.isfinite(product[[0, 2]]).all()


EXACT = """
import numpy as np
import tensorflow.compat.v1 as tf
import model
from fast.int8 import Int8Matrix, assign
with tf.Session() as session:
    matrix = Int8Matrix('w', [1, 64, 16])
    assign(session, [(matrix, matrix.arrays(np.ones([1, 64, 16], np.float32)))])
    print(*session.run(matrix.product(tf.ones([1, 64])))[0])
"""


def test_int8_products_are_exact_on_processors_without_vnni():
    """There oneDNN's int8 product saturates: it gives 17 where 64 are right."""
    environment = os.environ | {'ONEDNN_MAX_CPU_ISA': 'AVX2', 'PYTHONPATH': str(ROOT / 'src')}
    command = [sys.executable, '-c', EXACT]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    np.testing.assert_allclose([float(word) for word in result.stdout.split()], 64, rtol=1e-3)


def test_a_kernel_that_refuses_is_not_used(monkeypatch):
    def refuse(*_):
        raise tf.errors.UnimplementedError(None, None, 'not on this processor')

    monkeypatch.setattr(int8.Integers, 'kernel', refuse)
    assert not int8.has_int8_kernel.__wrapped__()


def test_rows_of_an_int8_matrix_are_those_of_the_matrix():
    values = random.normal(size=[40, 24]).astype(np.float32)
    ids = [[3, 3], [39, 0]]
    rows = in_session(Int8Matrix, 'model/wte', values, lambda m: m.rows(tf.constant(ids)))
    assert rows.dtype == np.float32 and rows.shape == (2, 2, 24)
    np.testing.assert_allclose(rows, values[ids], atol=0.02)
    assert np.any(rows != values[ids])


def test_a_bfloat16_product_rounds_both_factors():
    values = random.normal(size=[1, 24, 40]).astype(np.float32)
    x = random.normal(size=[6, 24]).astype(np.float32)
    name = 'model/h0/mlp/c_fc/w'
    product = in_session(Bfloat16Matrix, name, values, lambda m: m.product(tf.constant(x)))
    bfloat16 = tf.bfloat16.as_numpy_dtype
    rounded = x.astype(bfloat16).astype(np.float32), values[0].astype(bfloat16).astype(np.float32)
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, rounded[0] @ rounded[1], rtol=1 / 128, atol=1e-2)


def logits_in(dtype, reference):
    tokens = reference.golden['tokens'] if 'tokens' in reference.golden else None
    hparams = read_hparams(str(reference.folder / 'hparams.json'))
    tokens = random.randint(hparams.n_vocab, size=[2, 9]) if tokens is None else tokens
    with tf.Graph().as_default(), tf.Session() as session:
        execution = Stored(dtype)
        with seam.carried_out_by(execution):
            logits = model.model(hparams, tf.constant(tokens))['logits']
        assert not tf.global_variables(), 'these would take memory beside what is stored'
        path = str(REFERENCE / reference.folder.name / 'model.ckpt')
        checkpoint.restore(session, path, [], stored=execution)
        return session.run(logits), execution.loaded


@pytest.mark.parametrize(('dtype', 'tolerance'), [('bfloat16', 0.02), ('int8', 0.03)])
def test_a_model_in_another_dtype_is_nearly_the_same(reference, dtype, tolerance):
    random.seed(1)
    exact, plain = logits_in('float32', reference)
    random.seed(1)
    logits, weights = logits_in(dtype, reference)
    error = np.sqrt(np.mean((logits - exact) ** 2)) / np.std(exact)
    assert 1e-5 < error < tolerance
    assert weights.keys() == plain.keys()
    in_it = {'w', 'wte'} if dtype == 'int8' else {'w'}
    for name, weight in weights.items():
        assert isinstance(weight, StoredWeight) == (name.split('/')[-1] in in_it)


@pytest.mark.parametrize('dtype', ['bfloat16', 'int8'])
def test_another_dtype_costs_less_than_half_a_percent_of_perplexity(models_dir, dtype):
    text = (TESTDATA / 'moby_dick_chapters_1_to_19.txt').read_text(encoding='utf-8')[:8000]
    with Scorer('demo', str(models_dir)) as exact:
        tokens = exact.encoder.encode(text)
        losses = exact.score_document(tokens).logprobs
    with Scorer('demo', str(models_dir), encoder=exact.encoder, dtype=dtype) as scorer:
        close = scorer.score_document(tokens).logprobs
    assert abs(np.expm1(losses.mean() - close.mean())) < 0.005
    assert np.abs(losses - close).mean() > 1e-4, 'that was float32'
