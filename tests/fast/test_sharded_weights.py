import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from fast import bfloat16, int8, restore
from fast.sharded_weights import WIDTH, Blocks, ShardedEmbedding, sharded

rng = np.random.default_rng(0)


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default():
        yield


def blocks_of(matrix, width):
    """[M / W, K, W]"""
    return np.stack(np.split(matrix, matrix.shape[1] // width, axis=1))


def columns_of(blocks):
    return np.concatenate(list(blocks), axis=-1)


@pytest.mark.parametrize('n_blocks', [1, 3])
@pytest.mark.parametrize('n_rows', [1, 4])
def test_products_are_those_of_the_matrix(n_rows, n_blocks):
    x, matrix, bias = numbers(n_rows, 5), numbers(5, n_blocks * 8), numbers(n_blocks * 8)
    blocks = Blocks(tf.constant(blocks_of(matrix, 8)))
    with tf.Session() as session:
        product = session.run(blocks.product(tf.constant(x)))
        plain = session.run(blocks.layer(tf.constant(x), bias, None))
        activated = session.run(blocks.layer(tf.constant(x), bias, tf.nn.relu))
    np.testing.assert_allclose(product, x @ matrix, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(plain, x @ matrix + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(activated, np.maximum(plain, 0))


@pytest.mark.parametrize('n_vocab', [5, WIDTH, 2 * WIDTH + 3, 20 * WIDTH])
@pytest.mark.parametrize('n_shards', [2, 3])
def test_the_embedding_embeds_and_gives_logits(n_vocab, n_shards):
    """Logits of tokens, not of what fills the last block; fewer blocks than shards will do."""
    values, x = numbers(n_vocab, 8), numbers(2, 8)
    embedding = ShardedEmbedding('wte', [n_vocab, 8], [1] * n_shards)
    assert len(embedding.parts) == min(4 * n_shards, -(-n_vocab // WIDTH))
    ids = rng.integers(n_vocab, size=[2, 6])
    ids[0, :2] = 0, n_vocab - 1
    with tf.Session() as session:
        session.run(embedding.assign(tf.constant(values)))
        rows, logits = session.run(
            [embedding.rows(tf.constant(ids, tf.int32)), embedding.product(tf.constant(x))]
        )
    np.testing.assert_array_equal(rows, values[ids])
    assert logits.shape == (2, n_vocab)
    np.testing.assert_allclose(logits, x @ values.T, rtol=1e-5, atol=1e-5)


def places_of(head):
    """{name: (shape, the places of each shard's part)} for three heads in shards of one and two.

    c_attn is three matrices side by side.
    """
    width = 3 * head
    first, others = np.arange(head), np.arange(head, width)
    of_all = [np.concatenate([some + width * i for i in range(3)]) for some in (first, others)]
    hidden = np.arange(4 * head), np.arange(4 * head, 4 * width)
    return {
        'attn/c_attn/w': ([1, 5, 3 * width], of_all),
        'attn/c_attn/b': ([3 * width], of_all),
        'mlp/c_fc/w': ([1, 5, 4 * width], hidden),
        'mlp/c_fc/b': ([4 * width], hidden),
        'attn/c_proj/w': ([1, width, 5], (first, others)),
        'mlp/c_proj/w': ([1, 4 * width, 5], hidden),
    }


@pytest.mark.parametrize('dtype', [np.float32, tf.bfloat16.as_numpy_dtype])
@pytest.mark.parametrize('head', [2, 80, 128])
def test_parts_are_what_belongs_to_their_heads(head, dtype):
    kinds = {} if dtype == np.float32 else bfloat16.SHARDED
    for name, (shape, places) in places_of(head).items():
        values = numbers(*shape)
        weight = sharded(f'model/h0/{name}', shape, [1, 2], kinds)
        with tf.Session() as session:
            session.run(weight.assign(tf.constant(values)))
            parts = session.run([getattr(part, 'values', part) for part in weight.parts])
        for part, some in zip(parts, places, strict=True):
            if name.endswith('w'):
                matrix = columns_of(part) if dtype == np.float32 else part.T
                expected = values[0][some] if 'c_proj' in name else values[0][:, some]
                np.testing.assert_array_equal(matrix, expected.astype(dtype))
            else:
                np.testing.assert_array_equal(part, values[some])


def test_parts_in_int8_have_scales_of_their_own():
    for name, (shape, places) in places_of(80).items():
        if not name.endswith('w'):
            continue
        values = numbers(*shape)
        weight = sharded(f'model/h0/{name}', shape, [1, 2], int8.SHARDED)
        expected = [values[0][some] if 'c_proj' in name else values[0][:, some] for some in places]
        found = in_variables(weight, values, lambda part: [part.values, part.most])
        for (integers, most), part in zip(found, expected, strict=True):
            np.testing.assert_allclose(most, np.abs(part).max(axis=0), rtol=1e-6)
            assert integers.dtype == np.int8 and integers.shape == part.T.shape
            np.testing.assert_array_equal(integers.T, np.rint(part / (most / np.float32(127))))


@pytest.mark.parametrize('many_rows', [False, True])
def test_the_embedding_in_int8_embeds_and_gives_logits(many_rows):
    values, x = numbers(37, 64), numbers(2, 64)
    embedding = sharded('wte', [37, 64], [1, 2], int8.SHARDED)
    assert len(embedding.parts) == 8
    if many_rows:
        embedding = embedding.for_many_rows()
        assert not any(part.packed_once for part in embedding.parts)
    ids = [[0, 36], [17, 17]]
    with tf.Session() as session:
        restore.assign(session, [(embedding, embedding.arrays(values))])
        rows, logits = session.run([embedding.rows(tf.constant(ids)), embedding.product(x)])
    step = np.abs(values).max(axis=1) / 127
    assert (np.abs(rows - values[ids]) <= 0.51 * step[ids][..., None]).all()
    np.testing.assert_allclose(logits, x @ values.T, atol=0.5)
    assert np.abs(logits - x @ values.T).mean() < 0.1


def in_variables(weight, values, ask):
    """What `ask`, given each part of a weight that is set to these values, computes."""
    with tf.Session() as session:
        restore.assign(session, [(weight, weight.arrays(values))])
        return session.run([ask(part) for part in weight.parts])


@pytest.mark.parametrize(
    'name, shape, expected',
    [
        ('attn/c_attn/w', [1, 192, 576], WIDTH),  # heads of 64
        ('attn/c_attn/w', [1, 96, 288], 32),  # heads of 32: a block belongs to one of them
        ('mlp/c_fc/w', [1, 96, 384], WIDTH),
        ('attn/c_proj/w', [1, 192, 192], WIDTH),
        ('mlp/c_proj/w', [1, 400, 100], 100),  # all in one
    ],
)
def test_blocks_are_as_wide_as_is_quick_and_no_head_is_in_two_shards(name, shape, expected):
    for part in sharded(f'model/h0/{name}', shape, [1, 2]).parts:
        assert part.values.shape[-1].value == expected


def test_weights_of_the_same_name_are_different_variables():
    weights = [sharded('model/h0/mlp/c_fc/b', [6], heads) for heads in ([1, 2], [2, 1])]
    with tf.Session() as session:
        session.run([weight.assign(tf.range(6.0)) for weight in weights])
        sizes = [[len(part) for part in session.run(weight.parts)] for weight in weights]
    assert sizes == [[2, 4], [4, 2]]


def test_weights_are_made_outside_of_loops():
    made = []

    def body(i):
        if not made:
            made.append(sharded('model/h0/mlp/c_fc/w', [1, 4, 128], [1, 1]))
        [part, _] = made[0].parts
        return i + tf.cast(tf.reduce_sum(part.product(tf.ones([1, 4]))), tf.int32)

    total = tf.while_loop(lambda i: i < 1000, body, [0])
    with tf.Session() as session:
        session.run(made[0].assign(tf.ones([1, 4, 128])))
        assert session.run(total) == 1024  # four times 4 x 64
    reads = [op for op in total.graph.get_operations() if op.type == 'ReadVariableOp']
    assert len(reads) == 2
    assert not any(op._get_control_flow_context() for op in reads)
