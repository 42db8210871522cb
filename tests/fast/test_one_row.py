"""A single row of activations, multiplied in programs that XLA compiles, against NumPy."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from fast import int8, one_row, xla_activation
from fast.bfloat16 import RowBfloat16, ShardedBfloat16Embedding
from fast.int8 import RowIntegers
from fast.session import session_config
from fast.sharded_weights import Blocks
from generation.engine import SHORT, Engine
from helpers.kernels import normal
from support.settings import Settings

K, M = 96, 40
DTYPES = 'int8', 'bfloat16'
bfloat16 = tf.bfloat16.as_numpy_dtype


@pytest.fixture(autouse=True)
def graph():
    if not xla_activation.can_compile():
        pytest.skip('XLA compiles nothing here')
    with tf.Graph().as_default():
        yield


@pytest.fixture(params=DTYPES)
def dtype(request):
    if request.param == 'int8' and not int8.has_int8_kernel():  # test_int8.py tells whether
        pytest.skip('TensorFlow has no exact int8 matmul here')
    return request.param


def matrix(dtype, values):
    """float32 values [M, K] as a shard's part of a matrix."""
    if dtype == 'bfloat16':
        return RowBfloat16(tf.constant(values.astype(bfloat16)))
    return RowIntegers(*map(tf.constant, int8.arrays_of(values)))


def expected(dtype, x, values):
    """What the matmul of rows x [N, K] is by NumPy: [N, M]."""
    if dtype == 'bfloat16':
        return rounded(rounded(x) @ rounded(values).T)
    quantized, scales = int8.quantize(values)
    largest = np.abs(x).max(axis=1, keepdims=True)
    integers = np.rint(x * (127 / largest)).astype(np.float64)
    return integers @ quantized.T.astype(np.float64) * scales * largest / 127


def rounded(x):
    return x.astype(bfloat16).astype(np.float32)


def run(*tensors):
    with tf.Session(config=session_config(n_shards=2)) as session:
        return session.run(list(tensors))


def close(dtype, found, right):
    """Equal, but for the order of sums, in which one may be rounded to the next bfloat16."""
    tolerance = 2**-7 if dtype == 'bfloat16' else 1e-5
    np.testing.assert_allclose(found, right, rtol=tolerance, atol=1e-5 * np.abs(right).max())
    assert np.mean(np.abs(found - right) > 1e-5 * np.abs(right).max()) < 0.1


def programs():
    return [op for op in graph_operations() if op.type == 'PartitionedCall']


def n_programs():
    return len(programs())


def graph_operations():
    return tf.get_default_graph().get_operations()


@pytest.mark.parametrize('shift', [0.0, 100.0])
def test_a_layer_is_that_of_numpy(dtype, shift):
    x, values, b = normal(1, K) + shift, normal(M, K), normal(M)
    part = matrix(dtype, values)
    x_, zero = tf.constant(x), tf.constant(0.0)
    plain, alone = run(part.layer(x_, tf.constant(b)), part.layer(x_, zero))
    assert n_programs() == 2
    assert plain.shape == (1, M) and plain.dtype == np.float32
    right = expected(dtype, x, values)
    close(dtype, alone, right)
    np.testing.assert_allclose(plain, alone + b, rtol=1e-6, atol=1e-5)


def test_an_activation_is_inside_of_the_program(dtype):
    part, x, b = matrix(dtype, normal(M, K)), tf.constant(normal(1, K)), tf.constant(normal(M))
    plain = part.layer(x, b)
    before = len(graph_operations())
    inside = part.layer(x, b, model.gelu)
    assert len(graph_operations()) - before == 1
    found, right = run(inside, model.gelu(plain))
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


class Unhashable:
    __hash__ = None

    def __call__(self, y):
        return tf.nn.relu(y)


def test_an_activation_that_is_no_function_of_its_input_alone_is_outside(dtype):
    """One that reads another tensor, and one of which nobody can tell whether it is known."""
    part, x, b = matrix(dtype, normal(M, K)), tf.constant(normal(1, K)), tf.constant(normal(M))
    scale = tf.placeholder_with_default(2.0, [])
    outputs = [part.layer(x, b), part.layer(x, b, lambda y: y * scale)]
    plain, scaled, positive = run(*outputs, part.layer(x, b, Unhashable()))
    np.testing.assert_array_equal(scaled, 2 * plain)
    np.testing.assert_array_equal(positive, np.maximum(plain, 0))
    assert n_programs() == 3


@pytest.mark.parametrize('k', [one_row.MOST_INPUTS, one_row.MOST_INPUTS + 1])
def test_a_row_that_is_too_long_goes_to_onednn(dtype, k):
    x, values = normal(1, k), normal(3, k)
    [found] = run(matrix(dtype, values).layer(tf.constant(x), tf.zeros([3])))
    close(dtype, found, expected(dtype, x, values))
    assert n_programs() == (k == one_row.MOST_INPUTS)


@pytest.mark.parametrize('rows', [2, None])
def test_so_do_several_rows(dtype, rows):
    x, values, b = normal(2, K), normal(M, K), normal(M)
    x_ = tf.placeholder_with_default(x, [rows, K])
    [found] = run(matrix(dtype, values).layer(x_, tf.constant(b), tf.nn.relu))
    right = np.maximum(expected(dtype, x, values) + b, 0)
    np.testing.assert_allclose(found, right, rtol=2**-7, atol=1e-2)
    assert n_programs() == 0


@pytest.mark.parametrize('spread', [1e-3, 1, 1e3])
def test_a_row_is_rounded_as_it_is_beside_others(dtype, spread):
    """In int8 to the same integers: the sums are the same numbers, and only then float32."""
    x = normal(5, 1000) * np.float32(spread)
    values = normal(M, 1000)
    part, nothing = matrix(dtype, values), tf.constant(0.0)
    rows = [part.layer(tf.constant(x[i : i + 1]), nothing) for i in range(5)]
    together, *alone = run(part.layer(tf.constant(x), nothing), *rows)
    alone = np.concatenate(alone)
    if dtype == 'int8':
        np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-6 * np.abs(alone).max())
    else:  # a sum that is just between two of them may be rounded to either
        assert np.mean(alone != together) < 0.05


def test_what_is_no_number_stays_none(dtype):
    x = normal(1, K)
    x[0, 7] = np.nan
    [found] = run(matrix(dtype, normal(M, K)).layer(tf.constant(x), tf.zeros([M])))
    assert np.isnan(found).all()


def test_a_row_of_zeros_stays_zero(dtype):
    [found] = run(matrix(dtype, normal(M, K)).layer(tf.zeros([1, K]), tf.zeros([M])))
    assert not found.any()


def test_a_graph_has_one_program_for_equal_shapes(dtype):
    x, b = tf.constant(normal(1, K)), tf.zeros([M])
    outputs = [matrix(dtype, normal(M, K)).layer(x, b, tf.nn.elu) for _ in range(3)]
    assert n_programs() == 3 and len(functions()) == 1
    outputs.append(matrix(dtype, normal(M + 1, K)).layer(x, tf.zeros([M + 1]), tf.nn.elu))
    assert len(functions()) == 2
    run(*outputs)


def functions():
    return {op.get_attr('f').name for op in programs()}


def test_what_an_activation_reads_may_change_between_graphs(dtype):
    """As in a notebook, where the function stays the same."""
    x, values, read, found = normal(1, K), normal(M, K), {}, []

    def scaled(y):
        return read['factor'] * y

    for factor in 1.0, 2.0:
        read['factor'] = factor
        with tf.Graph().as_default():
            found += run(matrix(dtype, values).layer(tf.constant(x), tf.zeros([M]), scaled))
    np.testing.assert_array_equal(found[1], 2 * found[0])


def test_it_is_computed_in_a_loop_of_what_is_outside(dtype):
    """Such loops, of the first kind that TensorFlow has, are what the engine runs."""
    values = normal(K, K) / K
    part, b = matrix(dtype, values), tf.constant(normal(K))
    once = part.layer(tf.ones([1, K]), b)

    def body(i, x):
        return i + 1, part.layer(x, b)

    _, looped = tf.while_loop(lambda i, _: i < 3, body, [0, tf.ones([1, K])])
    [found, right] = run(looped, part.layer(part.layer(once, b), b))
    np.testing.assert_array_equal(found, right)


def test_the_weights_are_read_as_they_are(dtype):
    """Their values are of no other dtype anywhere in the graph."""
    part = matrix(dtype, normal(M, K))
    part.layer(tf.constant(normal(1, K)), tf.zeros([M]))
    [call] = programs()
    assert part.values in list(call.inputs)
    assert part.values.shape == [M, K] and part.values.dtype == dtype
    assert not any(op.type == 'Cast' for op in graph_operations())


def test_where_nothing_compiles_a_row_is_as_any_other(dtype, monkeypatch):
    monkeypatch.setattr(one_row, 'can_compile', lambda: False)
    x, values = normal(1, K), normal(M, K)
    [found] = run(matrix(dtype, values).layer(tf.constant(x), tf.zeros([M])))
    close(dtype, found, expected(dtype, x, values))
    assert n_programs() == 0


def test_without_an_int8_kernel_there_is_no_program_either(monkeypatch):
    """Activations are not rounded then."""
    monkeypatch.setattr(int8, 'has_int8_kernel', lambda: False)
    x, values = normal(1, K), normal(M, K)
    [found] = run(matrix('int8', values).layer(tf.constant(x), tf.zeros([M])))
    quantized, scales = int8.quantize(values)
    np.testing.assert_allclose(found, x @ quantized.T * scales, rtol=1e-4, atol=1e-4)
    assert n_programs() == 0


def test_logits_in_bfloat16_are_not_rounded_and_the_same_beside_others():
    values, x = normal(37, K), normal(2, K)
    embedding = ShardedBfloat16Embedding('wte', [37, K], [1, 2])
    x_ = tf.constant(x)
    outputs = [embedding.product(x_), embedding.product(x_[:1]), embedding.rows([[3, 36]])]
    with tf.Session() as session:
        session.run(embedding.assign(tf.constant(values)))
        several, one, rows = session.run(outputs)
    right = x @ rounded(values).T
    np.testing.assert_allclose(several, right, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one, right[:1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(rows, rounded(values)[[[3, 36]]])


@pytest.mark.parametrize(('rows', 'kernel'), [(1, 'BatchMatMulV3'), (2, 'BatchMatMulV2')])
def test_in_float32_one_row_is_multiplied_by_eigen(rows, kernel):
    x, values = normal(rows, K), normal(3, K, 16)
    [found] = run(Blocks(tf.constant(values)).product(tf.constant(x)))
    right = np.concatenate([x @ block for block in values], axis=1)
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-4)
    assert [op.type for op in graph_operations() if 'MatMul' in op.type] == [kernel]


# Engines


@pytest.mark.parametrize('dtype', ['float32', *DTYPES], indirect=True)
def test_one_row_and_several_give_the_same_text_by_shards(models_dir, dtype):
    """After a short prompt, which goes through the decode step, and after one that is prefilled."""
    settings = Settings(length=24, temperature=0)
    prompts = [[5, 6, 7], [464], list(range(40, 60 + SHORT))]
    with Engine('demo', str(models_dir), dtype=dtype, n_shards=2) as engine:
        alone = [engine.generate([prompt], settings)[0] for prompt in prompts]
        assert engine.generate(prompts, settings) == alone


@pytest.mark.parametrize('dtype', DTYPES, indirect=True)
def test_nothing_but_programs_multiplies_a_row_by_shards(models_dir, dtype):
    with Engine('demo', str(models_dir), dtype=dtype, n_shards=2) as engine:
        kinds = [op.type for op in engine.graph.get_operations() if op.name.startswith('while/')]
        n_layer, parts = engine.hparams.n_layer, 8
    assert kinds.count('PartitionedCall') == 2 * 4 * n_layer + parts
    assert not {'_QuantizedMatMul', '_FusedMatMul'} & set(kinds)


@pytest.mark.parametrize(
    ('dtype', 'n_shards', 'apart'), [('int8', 1, False), ('int8', 2, True), ('bfloat16', 1, True)]
)
def test_one_row_has_operations_of_its_own(models_dir, dtype, n_shards, apart):
    """But not where oneDNN would pack the weights once more for them."""
    with Engine('demo', str(models_dir), dtype=dtype, n_shards=n_shards) as engine:
        assert (engine.decode(1) is not engine.decode(2)) == apart
        operations = engine.operations_of_rows
        rows = engine.rows(2)
        assert rows._step_of(2) is operations.step
        assert (rows._step_of(1) is not operations.step) == apart


def test_int8_weights_are_one_output_after_another_everywhere(models_dir):
    """[M, K] in the graph of an engine: no other copy of a matrix in int8 takes memory."""
    if not int8.has_int8_kernel():
        pytest.skip('TensorFlow has no exact int8 matmul here')
    for n_shards in 1, 2:
        with Engine('demo', str(models_dir), dtype='int8', n_shards=n_shards) as engine:
            _ = engine.decode(2), engine.prefill
            operations = engine.graph.get_operations()
            [layer] = [
                w
                for w in engine.decoding.execution.loaded.values()
                if w.name.endswith('h0/mlp/c_fc/w')
            ]
        products = [op for op in operations if op.type == '_QuantizedMatMul']
        assert products and all(op.get_attr('transpose_b') for op in products)
        shapes = {
            tuple(v.shape.as_list()) for v in layer.variables if v.dtype.base_dtype == tf.int8
        }
        n_embd = engine.hparams.n_embd
        assert shapes == {(4 * n_embd // n_shards, n_embd)}
