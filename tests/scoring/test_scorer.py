import concurrent.futures
import functools
import shutil
import threading
import time
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast import DTYPES
from helpers import numpy_gpt2
from helpers.graphs import largest_tensors
from helpers.reference import Reference
from scoring import scorer as scoring
from scoring.scorer import Scorer
from scoring.windows import Window, windows_of


@pytest.fixture(scope='module')
def demo(models_dir):
    with Scorer('demo', str(models_dir)) as scorer:
        yield scorer


@pytest.fixture(scope='module')
def expected(models_dir):
    """The log-probabilities of all tokens behind each of a sequence, by NumPy: float64 [S, V]."""
    weights = numpy_gpt2.load_weights(models_dir / 'demo' / 'model.ckpt')

    @functools.cache
    def logprobs(tokens):
        logits = numpy_gpt2.logits(weights, list(tokens), n_head=6)
        highest = logits.max(axis=-1, keepdims=True)
        return logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))

    return lambda tokens: logprobs(tuple(map(int, tokens)))


def random_tokens(n, seed=0):
    """Tokens of the demo model: half of them its likely ones, so that ranks vary."""
    random = np.random.default_rng(seed)
    return np.where(random.random(n) < 0.5, random.integers(600, size=n), random.integers(4096))


def check(scores, logprobs, targets):
    """Compare with NumPy's log-probabilities [n, V] of the distributions of targets [n]."""
    chosen = np.take_along_axis(logprobs, np.asarray(targets)[:, None], axis=1)
    np.testing.assert_allclose(scores.logprobs, chosen[:, 0], rtol=0, atol=1e-4)
    entropies = -(np.exp(logprobs) * logprobs).sum(axis=1)
    np.testing.assert_allclose(scores.entropies, entropies, rtol=0, atol=1e-4)
    ranks = 1 + (logprobs > chosen).sum(axis=1)
    # A rank may differ where float32 cannot tell two tokens apart.
    close = (abs(logprobs - chosen) < 1e-4).sum(axis=1) - 1
    assert (abs(scores.ranks - ranks) <= close).all()
    if scores.second_moments is not None:
        second_moments = (np.exp(logprobs) * logprobs**2).sum(axis=1)
        np.testing.assert_allclose(scores.second_moments, second_moments, rtol=1e-4)
    if scores.mass_before is not None:
        mass = (np.exp(logprobs) * (logprobs > chosen)).sum(axis=1)
        np.testing.assert_allclose(scores.mass_before, mass, rtol=0, atol=1e-4)
    assert scores.logprobs.dtype == scores.entropies.dtype == np.float32
    assert scores.ranks.dtype == np.int32


def test_windows_are_scored_as_by_numpy(demo, expected):
    tokens = random_tokens(257)
    sizes = [(2, 1), (257, 1), (17, 16), (40, 7), (18, 1), (200, 199), (33, 1)]
    windows = [Window(tokens[:n], first) for n, first in sizes]
    counted = []
    more = 'second_moments', 'mass_before'
    results = list(demo.score_windows(windows, True, counted.append, more=more, n_top=3))
    assert len(results) == len(windows)
    assert not any(array is None for scores in results for array in scores)
    for (n, first), scores in zip(sizes, results, strict=True):
        check(scores, expected(tokens[: n - 1])[first - 1 :], tokens[first:n])
    assert sum(counted) == sum(n - first for n, first in sizes)


def test_without_details_there_are_no_entropies_and_the_rest_is_the_same(demo):
    window = Window(random_tokens(50), 3)
    (full,) = demo.score_windows([window], details=True)
    (plain,) = demo.score_windows([window])
    assert plain.entropies is plain.second_moments is full.second_moments is None
    assert plain.mass_before is full.mass_before is None
    assert plain.logprobs.tobytes() == full.logprobs.tobytes()
    assert plain.ranks.tobytes() == full.ranks.tobytes()


@pytest.fixture(scope='module')
def reference_models(tmp_path_factory, models_dir):
    """A models folder with both checkpoints of 2019, `tiny` and `micro`."""
    folder = tmp_path_factory.mktemp('reference_models')
    shutil.copytree(models_dir / 'tiny', folder / 'tiny')
    shutil.copytree(Reference('micro').folder, folder / 'micro')
    return folder


def test_losses_are_those_of_2019(reference, reference_models):
    folder = str(reference_models)
    encoder = types.SimpleNamespace(encoder=range(reference.sizes['n_vocab']), end_of_text=0)
    if reference.folder.name == 'micro':  # it has no vocabulary of its own; its files are not read
        for name in ('encoder.json', 'vocab.bpe'):
            (reference_models / 'micro' / name).touch()
    with Scorer(reference.folder.name, folder, encoder=encoder) as scorer:
        rows = reference.golden['tokens']
        results = scorer.score_windows(Window(row, 1) for row in rows)
        for scores, losses in zip(results, reference.golden['token_loss'], strict=True):
            np.testing.assert_allclose(-scores.logprobs, losses, rtol=0, atol=1e-4)


@pytest.fixture(scope='module')
def of_bytes(byte_models):
    """A scorer of a fast model, and its logits by NumPy."""
    weights = numpy_gpt2.load_weights(byte_models / 'bytes' / 'model.ckpt')
    with Scorer('bytes', str(byte_models)) as scorer:
        yield scorer, lambda tokens: numpy_gpt2.logits(weights, tokens, n_head=2)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 90), st.integers(1, 64), st.data())
def test_each_token_of_a_document_is_read_behind_the_start_or_its_window(
    of_bytes, n, context, data
):
    scorer, logits_of = of_bytes
    stride = data.draw(st.integers(1, context))
    tokens = np.random.default_rng(n).integers(256, size=n)
    scores = scorer.score_document(tokens, context, stride, details=True)
    whole = [scorer.encoder.end_of_text, *tokens]
    rows = []
    for start, end, first in windows_of(n + 1, context, stride):
        rows.append(logits_of(whole[start : end - 1])[first - 1 - start :])
    logits = np.concatenate(rows)
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    check(scores, logprobs, tokens)


def test_a_document_without_the_start_token_has_no_score_for_its_first(demo, expected):
    tokens = random_tokens(30)
    scores = demo.score_document(tokens, start=False, details=True)
    check(scores, expected(tokens[:-1]), tokens[1:])
    with pytest.raises(ValueError, match='there is no token to score'):
        demo.score_document(tokens[:1], start=False)


def test_documents_are_what_each_is_alone_and_read_one_pool_ahead_at_most(demo, monkeypatch):
    monkeypatch.setattr(scoring, 'BATCHES_IN_POOL', 1)
    documents = [random_tokens(n, seed=n) for n in (5, 700, 1, 300, 40, 900, 3)]
    read = []
    results = demo.score_documents(
        (read.append(n) or tokens for n, tokens in enumerate(documents)), stride=100
    )
    for number, (tokens, scores) in enumerate(zip(documents, results, strict=True)):
        alone = demo.score_document(tokens, stride=100)
        assert len(alone.logprobs) == len(tokens)
        assert scores.logprobs.tobytes() == alone.logprobs.tobytes()
        assert len(read) <= number + 6
    assert len(read) == len(documents)


def test_scores_are_the_same_bit_for_bit_whatever_the_batch_size_and_company(models_dir, demo):
    random = np.random.default_rng(3)
    windows = [
        Window(random.integers(4096, size=n), int(random.integers(1, n)))
        for n in random.integers(2, 257, size=40)
    ]
    everything = dict(details=True, more=('second_moments', 'mass_before'), n_top=7)
    results = list(demo.score_windows(windows, **everything))
    for tokens_at_once, order in [(1, random.permutation(40)), (5000, random.permutation(40)[:13])]:
        with Scorer('demo', str(models_dir), tokens_at_once=tokens_at_once) as other:
            again = other.score_windows([windows[i] for i in order], **everything)
            for i, scores in zip(order, again, strict=True):
                assert [a.tobytes() for a in scores] == [a.tobytes() for a in results[i]]


def test_continuations_are_scored_as_by_numpy_whether_they_share_a_prompt_or_not(demo, expected):
    prompt, other = random_tokens(60, seed=4), random_tokens(25, seed=5)
    endings = [random_tokens(n, seed=n) for n in (1, 9, 2, 30, 1)]
    pairs = [(prompt, ending) for ending in endings]
    pairs[2:2] = [(other, endings[0]), ([], endings[1]), (other, endings[3])]
    counted = []
    results = demo.score_continuations(pairs, details=True, progress=counted.append)
    for (before, after), scores in zip(pairs, results, strict=True):
        before = list(before) or [demo.encoder.end_of_text]
        logprobs = expected([*before, *after[:-1]])[len(before) - 1 :]
        check(scores, logprobs, after)
    assert sum(counted) == sum(len(after) for _, after in pairs)


def test_a_shared_prompt_is_read_once(demo, monkeypatch):
    read = []
    run = Scorer._run

    def counting(self, fetches, feed):
        read.extend(tokens.size for key, tokens in feed.items() if key is demo.operations.tokens)
        return run(self, fetches, feed)

    monkeypatch.setattr(Scorer, '_run', counting)
    prompt = random_tokens(150)
    list(demo.score_continuations([(prompt, random_tokens(8, seed=n)) for n in range(10)]))
    assert read == [224]  # 150 + 10 * 7 slots
    read.clear()
    list(demo.score_continuations([(prompt, random_tokens(30, seed=n)) for n in range(10)]))
    # A row has as many slots as the model sees positions: 150 + 3 * 29 of 256.
    assert sum(read) == 3 * 240 + 192


def test_a_prompt_that_is_too_long_loses_tokens_on_its_left(demo, expected):
    tokens = random_tokens(400)
    (scores,) = demo.score_continuations([(tokens[:390], tokens[390:])], details=True)
    check(scores, expected(tokens[-257:-1])[-10:], tokens[390:])


def test_choosing_takes_the_likeliest_ending(demo, expected):
    prompt = random_tokens(20)
    best = int(expected(prompt)[-1].argmax())
    endings = [[best - 1], [best], [best, best - 1]]
    chances = demo.choose(prompt, endings)
    assert chances.dtype == np.float64 and chances.argmax() == 1
    assert chances[1] == pytest.approx(expected(prompt)[-1, best], abs=1e-4)
    both = expected([*prompt, best])
    assert chances[2] == pytest.approx(both[-2, best] + both[-1, best - 1], abs=1e-4)


def test_next_tokens_are_the_likeliest_ones(demo, expected):
    contexts = [random_tokens(n, seed=n) for n in (1, 256, 30)]
    ids, logprobs = demo.next_tokens(contexts, 5)
    assert ids.shape == logprobs.shape == (3, 5)
    for context, of_ids, values in zip(contexts, ids, logprobs, strict=True):
        last = expected(context)[-1]
        np.testing.assert_allclose(values, np.sort(last)[::-1][:5], rtol=0, atol=1e-4)
        np.testing.assert_allclose(values, last[of_ids], rtol=0, atol=1e-4)


def test_a_greedy_continuation_has_rank_one_throughout(demo, models_dir):
    from generation.engine import Engine
    from support.settings import Settings

    prompt = random_tokens(9)
    with Engine('demo', str(models_dir), encoder=demo.encoder) as engine:
        (continuation,) = engine.generate([prompt], Settings(length=20, temperature=0))
    (scores,) = demo.score_continuations([(prompt, continuation)])
    assert scores.greedy


def test_without_ranks_the_rest_is_the_same(demo):
    windows = [Window(random_tokens(30), 3), Window(random_tokens(9), 8)]
    for full, plain in zip(
        demo.score_windows(windows, details=True),
        demo.score_windows(windows, details=True, ranks=False),
        strict=True,
    ):
        assert full.ranks is not None and plain.ranks is None
        np.testing.assert_array_equal(full.logprobs, plain.logprobs)
        np.testing.assert_array_equal(full.entropies, plain.entropies)
    (plain,) = demo.score_windows(windows[:1], ranks=False)
    assert plain.ranks is plain.entropies is None


@pytest.mark.parametrize('dtype', [dtype for dtype in DTYPES if dtype != 'float32'])
def test_other_dtypes_stay_close(models_dir, demo, dtype):
    tokens = random_tokens(200)
    with Scorer('demo', str(models_dir), dtype=dtype) as half:
        close = half.score_document(tokens).logprobs
    exact = demo.score_document(tokens).logprobs
    difference = abs(close - exact)
    assert 1e-4 < difference.max() < 0.5, 'that was float32'
    assert abs(close.mean() - exact.mean()) < 0.02


def test_logits_of_a_batch_are_never_there(models_dir, monkeypatch):
    reading, scoring = [], []  # numbers in the largest tensor of each run
    alone = threading.Lock()  # TensorFlow can look at one run at a time
    with Scorer('demo', str(models_dir), tokens_at_once=4096) as scorer:

        def measured(fetches, feed):
            with alone:
                largest, *_ = largest_tensors(fetches, feed, scorer.session)
                (reading if fetches is scorer.operations.hidden else scoring).append(largest)
                return scorer.session.run(fetches, feed)

        monkeypatch.setattr(scorer, '_run', measured)
        list(scorer.score_windows([Window(random_tokens(257), 1)] * 16))
    assert len(reading) == 2 and len(scoring) == 8
    # 512 positions of 4,096 tokens; all 4,096 positions would have 2**24 logits.
    assert 2**21 <= max(scoring) < 2**22
    assert max(reading) < 2**22


def test_two_batches_run_at_a_time(demo, monkeypatch):
    both = threading.Barrier(2, timeout=30)  # seconds; it breaks if one waits for so long
    run = demo._run

    def together(fetches, feed):
        both.wait()
        return run(fetches, feed)

    windows = [Window(random_tokens(257, seed), 1) for seed in range(8)]
    alone = list(demo.score_windows(windows))
    monkeypatch.setattr(demo, '_run', together)
    for one, other in zip(alone, demo.score_windows(windows), strict=True):
        assert (one.logprobs == other.logprobs).all()


def test_threads_that_share_a_scorer_get_what_each_gets_alone(demo):
    documents = [random_tokens(90, seed) for seed in range(6)]
    alone = [demo.score_document(document).logprobs for document in documents]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        for scores, expected in zip(
            threads.map(demo.score_document, documents), alone, strict=True
        ):
            np.testing.assert_array_equal(scores.logprobs, expected)


def test_results_come_in_order_and_little_is_begun_ahead():
    begun = []

    def square(x):
        begun.append(x)
        time.sleep(0.02 * (x % 3 == 0))  # some take longer than those behind them
        return x * x

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = scoring.in_order(pool, square, range(100))
        assert [next(results) for _ in range(10)] == [x * x for x in range(10)]
        assert max(begun) < 10 + 2 * scoring.RUNS_AT_ONCE
        results.close()
    assert max(begun) < 10 + 2 * scoring.RUNS_AT_ONCE  # and nothing behind a reader who has left


def test_what_a_run_raises_reaches_the_caller(demo, monkeypatch):
    def fail(fetches, feed):
        raise ValueError('not enough memory')

    monkeypatch.setattr(demo, '_run', fail)
    with pytest.raises(ValueError, match='not enough memory'):
        list(demo.score_windows([Window(random_tokens(257), 1)] * 8))


@pytest.mark.parametrize(
    'window, message',
    [
        (Window([1] * 258, 1), 'a window of 258 tokens exceeds the context of 256 tokens'),
        (Window([1, 2], 2), 'a window of 2 tokens cannot be scored from 2 on'),
        (Window([1, 2], 0), 'cannot be scored from 0 on'),
        (Window([1, 4096], 1), r'a token outside 0\.\.4095'),
        (Window([-1, 5], 1), r'a token outside 0\.\.4095'),
    ],
)
def test_a_window_that_cannot_be_scored_is_refused(demo, window, message):
    with pytest.raises(ValueError, match=message):
        list(demo.score_windows([window]))


def test_continuations_that_cannot_be_scored_are_refused(demo):
    with pytest.raises(ValueError, match='a continuation has no tokens'):
        list(demo.score_continuations([([1], [])]))
    with pytest.raises(ValueError, match='a window of 258 tokens exceeds the context of 256'):
        list(demo.score_continuations([([1, 2, 3], [1] * 257)]))
    with pytest.raises(ValueError, match='k must be a whole number of at least 1'):
        demo.next_tokens([[1]], 0)
    with pytest.raises(ValueError, match='context must be .* below 257, not 257'):
        demo.score_document([1, 2], context=257)


def test_a_batch_of_no_tokens_is_refused(models_dir):
    with pytest.raises(ValueError, match='tokens_at_once must be'):
        Scorer('demo', str(models_dir), tokens_at_once=0)


def test_a_start_token_is_needed_for_what_has_no_context(models_dir, demo, monkeypatch):
    monkeypatch.setattr(type(demo.encoder), 'end_of_text', None)
    with pytest.raises(ValueError, match='has no <|endoftext|> to start a text with'):
        demo.score_document([1, 2])
    with pytest.raises(ValueError, match='has no <|endoftext|>'):
        demo.choose([], [[1]])
    assert len(demo.score_document([1, 2], start=False).logprobs) == 1


def test_the_readable_core_alone_gives_the_same_scores(models_dir, demo):
    random = np.random.default_rng(5)
    document = random.integers(4096, size=600).tolist()
    pairs = [(document[:50], document[50 : 50 + n]) for n in (1, 7, 20)]
    with Scorer('demo', str(models_dir), fast=False) as core:
        kinds = {operation.type for operation in core.graph.get_operations()}
        assert not kinds & {'_FusedMatMul', '_MklLayerNorm', '_MklFusedBatchMatMulV2'}
        for scorer_of in ('score_document', 'score_continuations'):
            argument = document if scorer_of == 'score_document' else pairs
            plain, fast = (getattr(s, scorer_of)(argument) for s in (core, demo))
            plain, fast = ([s] if scorer_of == 'score_document' else list(s) for s in (plain, fast))
            for one, other in zip(plain, fast, strict=True):
                np.testing.assert_allclose(one.logprobs, other.logprobs, rtol=0, atol=1e-4)
        ids, logprobs = zip(*(s.next_tokens([document[:40]], 5) for s in (core, demo)), strict=True)
        np.testing.assert_array_equal(*ids)
        np.testing.assert_allclose(*logprobs, rtol=0, atol=1e-4)
