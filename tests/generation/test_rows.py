"""What each row of a running batch takes by its own parameters."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import sample
from generation.rows import next_tokens, parameters_of_rows

N, N_VOCAB = 8, 700
OWN = dict(
    temperature=[0, 1, 0.5, 2, 0, 1.2, 0.4, 1],
    top_k=[0, 5, 300, 0, 50, 1, 0, 2**31 - 1],
    top_p=[1, 0.9, 0.5, 1, 0.99, 1, 0.7, 1],
    min_p=[0, 0, 0.02, 0.1, 0, 0.3, 0, 0],
    typical_p=[1, 1, 0.9, 0.5, 1, 1, 1, 0.95],
    repetition_penalty=[1, 1.5, 1, 3, 1, 0.5, 1.1, 1],
    seed=[0, 1, 2, 2, 2**60, 5, 6, 7],
    first_sample=[0, 1, 2, 3, 4, 5, 2**40, 7],
)
STEPS = [0, 1, 5, 2, 900, 3, 3, 4]


def drawn():
    random = np.random.default_rng(2)
    logits = random.normal(0, 3, [N, N_VOCAB]).astype(np.float32)
    return logits, random.random([N, N_VOCAB]) < 0.3


@pytest.mark.parametrize('some', [slice(None), slice(3, 4)])
def test_each_row_takes_what_it_takes_alone_with_scalars(some):
    (logits, seen), rows = drawn(), range(N)[some]
    with tf.Graph().as_default(), tf.Session() as session:
        scalars = sample.SamplingParameters.placeholders()
        fed, fed_seen = (
            tf.placeholder(tf.float32, [None, N_VOCAB]),
            tf.placeholder(tf.bool, [None, None]),
        )
        step = tf.placeholder(tf.int32)
        one = sample.next_token(fed, scalars, step, fed_seen)
        alone = [
            session.run(
                one,
                scalars.feed(**{name: values[row] for name, values in OWN.items()})
                | {fed: logits[[row]], fed_seen: seen[[row]], step: STEPS[row]},
            )[0]
            for row in rows
        ]
        parameters, steps = parameters_of_rows(), tf.placeholder(tf.int32, [None])
        out = next_tokens(fed, parameters, steps, fed_seen)
        feed = {parameters[name]: values[some] for name, values in OWN.items()}
        feed |= {fed: logits[some], fed_seen: seen[some], steps: STEPS[some]}
        assert session.run(out, feed).tolist() == alone


def test_only_rows_that_need_it_sort_all_tokens(monkeypatch):
    widths, top_k = [], tf.math.top_k

    def recorded(x, k):
        width = tf.py_func(lambda k: widths.append(int(k)) or k, [k], tf.int32)
        return top_k(x, width)

    monkeypatch.setattr(tf.math, 'top_k', recorded)
    monkeypatch.setattr(sample, 'SORTED_AT_FIRST', 16)
    logits, seen = drawn()
    logits[1] *= 20  # of which few tokens reach any p
    nothing = {name: np.full(3, field.default) for name, field in sample.SAMPLING.items()}
    own = nothing | {'top_p': [1, 0.9, 0.9], 'seed': [0] * 3, 'first_sample': [0] * 3}
    with tf.Graph().as_default(), tf.Session() as session:
        parameters = parameters_of_rows()
        tensors = tf.constant(logits[:3]), tf.zeros(3, tf.int32), tf.constant(seen[:3])
        out = next_tokens(tensors[0], parameters, *tensors[1:])
        session.run(out, {parameters[name]: values for name, values in own.items()})
    assert sorted(widths) == [16, 16, N_VOCAB]
