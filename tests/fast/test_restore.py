"""Weights that TensorFlow reads from a checkpoint by itself, a few at a time."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from fast.restore import READ_AT_ONCE, read
from fast.sharded_weights import ShardedEmbedding, sharded

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default():
        yield


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def columns_of(blocks):
    return np.concatenate(list(blocks), axis=-1)


def test_weights_come_from_a_checkpoint_by_their_names(tmp_path):
    shapes = {
        'model/wte': [100, 6],
        'model/h0/attn/c_proj/w': [1, 6, 6],
        'model/h1/attn/c_proj/w': [1, 6, 6],
        'model/h1/attn/c_attn/b': [18],
    }
    values = {name: numbers(*shape) for name, shape in shapes.items()}
    path = str(tmp_path / 'model.ckpt')
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, initializer=values[name]) for name in values]
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(session, path)

    embedding = ShardedEmbedding('model/wte', [100, 6], [1, 1])
    weights = [sharded(name, shapes[name], [1, 2]) for name in list(shapes)[1:]]
    with tf.Session() as session:
        read(session, path, [*weights, embedding])
        rows = session.run(embedding.rows(tf.range(100)))
        np.testing.assert_array_equal(rows, values['model/wte'])
        for weight in weights[:2]:
            parts = session.run([part.values for part in weight.parts])
            matrix = np.concatenate([columns_of(part) for part in parts])
            np.testing.assert_array_equal(matrix, values[weight.name][0])
        part, _ = session.run(weights[2].parts)
        np.testing.assert_array_equal(part, values[weights[2].name][[0, 1, 6, 7, 12, 13]])

    # The largest first, and no more at a time than take little memory beside the model.
    reads = [op for op in session.graph.get_operations() if op.type == 'RestoreV2']
    names = [tf.get_static_value(op.inputs[1])[0].decode() for op in reads]
    assert names[0] == 'model/wte' and len(names) == len(shapes)
    waits = [len(op.inputs[1].op.control_inputs) for op in reads]
    assert waits == [0] * READ_AT_ONCE + [1] * (len(reads) - READ_AT_ONCE)
