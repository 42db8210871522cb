"""Scoring with the weights, graph and session of an open engine, and its most likely tokens."""

import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from generation.engine import Engine
from helpers import numpy_gpt2
from scoring.scorer import Scorer
from scoring.windows import Window
from support.settings import Settings

# How an engine is made, and how far scores may be from those of a Scorer of its dtype: where shards
# round activations of their own to int8, about as far as int8 is from float32.
KINDS = {
    'float32': (dict(n_shards=1), 0),
    'float32 in shards': (dict(n_shards=2), 1e-5),
    'int8': (dict(dtype='int8', n_shards=1), 0),
    'int8 in shards': (dict(dtype='int8', n_shards=2), 0.3),
    'bfloat16': (dict(dtype='bfloat16', n_shards=1), 0),
    'core': (dict(fast=False), 0),
}
RANDOM = np.random.default_rng(0)
DOCUMENTS = [RANDOM.integers(4096, size=n).tolist() for n in (1, 300, 17, 40)]


def bits(scores):
    return [None if array is None else array.tobytes() for array in scores]


def stored_in(graph):
    """How many numbers the variables and constants of a graph hold."""
    operations = graph.get_operations()
    kinds = 'VarHandleOp', 'VariableV2'
    shapes = [tf.TensorShape(each.get_attr('shape')) for each in operations if each.type in kinds]
    shapes += [each.outputs[0].shape for each in operations if each.type == 'Const']
    return sum(shape.num_elements() or 0 for shape in shapes)


@pytest.fixture(scope='module')
def open_engine(models_dir):
    with Engine('demo', str(models_dir), n_shards=2) as engine:
        yield engine


@pytest.mark.parametrize('kind', KINDS)
def test_scores_are_those_of_a_scorer_with_weights_of_its_own(models_dir, kind):
    how, atol = KINDS[kind]
    own = {name: value for name, value in how.items() if name != 'n_shards'}
    asked = dict(details=True, more=('second_moments', 'mass_before'), n_top=3)
    with Engine('demo', str(models_dir), **how) as engine:
        weights = stored_in(engine.graph)
        assert weights > 10**6
        scored = list(Scorer.on(engine).score_documents(DOCUMENTS, **asked))
        assert stored_in(engine.graph) < 1.001 * weights, 'they are in memory twice'
        assert engine.graph.finalized
    with Scorer('demo', str(models_dir), **own) as scorer:
        for scores, alone in zip(scored, scorer.score_documents(DOCUMENTS, **asked), strict=True):
            if not atol:
                assert bits(scores) == bits(alone)
                continue
            for name in ('logprobs', 'entropies', 'top_logprobs'):
                pair = getattr(scores, name), getattr(alone, name)
                np.testing.assert_allclose(*pair, rtol=0, atol=atol)


def test_the_engine_generates_the_same_text_meanwhile_and_stays_open(open_engine):
    prompt, settings = DOCUMENTS[2], Settings(length=60, temperature=1, seed=5)
    (alone,) = open_engine.generate([prompt], settings)
    errors = []
    with Scorer.on(open_engine) as scorer:
        expected = [bits(scores) for scores in scorer.score_documents(DOCUMENTS)]
        over = threading.Event()
        rounds = 0

        def generate():
            try:
                for _ in range(5):
                    (text,) = open_engine.generate([prompt], settings)
                    assert text == alone
            except BaseException as error:
                errors.append(error)
            finally:
                over.set()

        thread = threading.Thread(target=generate)
        thread.start()
        while not over.is_set() or not rounds:
            rounds += 1
            assert [bits(scores) for scores in scorer.score_documents(DOCUMENTS)] == expected
        thread.join()
    assert not errors
    assert open_engine.generate([prompt], settings) == [alone]


def test_a_scorer_joins_an_engine_that_generates(models_dir):
    """Both add operations to the graph: the engine those of prefill, with its first long prompt."""
    errors = []
    with Engine('demo', str(models_dir), n_shards=1) as engine:

        def generate():
            try:
                for length in (5, 40, 41):
                    engine.generate([DOCUMENTS[1][:length]], Settings(length=20))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=generate)
        thread.start()
        scores = Scorer.on(engine).score_document(DOCUMENTS[2])
        thread.join()
        assert not errors
        assert len(scores.logprobs) == len(DOCUMENTS[2])
        assert engine.graph.finalized


def test_the_most_likely_tokens_are_those_of_numpy(models_dir, open_engine):
    weights = numpy_gpt2.load_weights(models_dir / 'demo' / 'model.ckpt')
    tokens = DOCUMENTS[3]
    logits = numpy_gpt2.logits(weights, tokens[:-1], n_head=6)
    expected = np.log(numpy_gpt2.softmax(logits))
    scorer = Scorer.on(open_engine)
    (scores,) = scorer.score_windows([Window(tokens, 1)], n_top=5)
    ids, logprobs = scores.top
    assert ids.dtype == np.int32 and ids.shape == logprobs.shape == (len(tokens) - 1, 5)
    np.testing.assert_allclose(logprobs, np.sort(expected)[:, :-6:-1], rtol=0, atol=1e-4)
    chosen = np.take_along_axis(expected, ids.astype(int), axis=1)
    np.testing.assert_allclose(logprobs, chosen, rtol=0, atol=1e-4)
    (plain,) = scorer.score_windows([Window(tokens, 1)])
    assert plain.top is None
    assert plain.logprobs.tobytes() == scores.logprobs.tobytes()


@pytest.mark.parametrize('n_top', [1, 5, 20])
def test_a_most_likely_token_has_exactly_the_first_log_probability(open_engine, n_top):
    prompts = [DOCUMENTS[1][n : n + 7] for n in range(0, 280, 7)]
    greedy = open_engine.generate(prompts, Settings(length=12, temperature=0))
    windows = [Window(np.array(p + text), 1) for p, text in zip(prompts, greedy, strict=True)]
    n_first = 0
    for window, scores in zip(
        windows, Scorer.on(open_engine).score_windows(windows, n_top=n_top), strict=True
    ):
        first = scores.ranks == 1
        n_first += first.sum()
        np.testing.assert_array_equal(scores.top_ids[first, 0], window.tokens[1:][first])
        np.testing.assert_array_equal(first, scores.logprobs == scores.top_logprobs.max(axis=1))
        among = scores.top_ids == window.tokens[1:, None]
        rows, places = among.nonzero()
        np.testing.assert_array_equal(scores.top_logprobs[rows, places], scores.logprobs[rows])
    assert n_first > 400


@pytest.mark.parametrize('n_top', [-1, 1.5, 4097])
def test_a_number_of_most_likely_tokens_that_cannot_be_is_refused(open_engine, n_top):
    with pytest.raises(ValueError, match='n_top must be a whole number of at least 0'):
        list(Scorer.on(open_engine).score_windows([Window([1, 2], 1)], n_top=n_top))
