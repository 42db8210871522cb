import dataclasses

import numpy as np
import pytest

from encoder import get_encoder
from generation import prefill
from generation import rows as rows_module
from generation.continuous import Completion, Request
from generation.engine import Engine
from helpers.paths import ROOT
from helpers.scripted_rows import ScriptedEngine
from scoring.scorer import Scorer
from support.settings import Settings

RANDOM = np.random.default_rng(7)
STORY = RANDOM.integers(50257, size=20).tolist()
PROMPTS = [
    STORY[:n] + RANDOM.integers(50257, size=more).tolist()
    for n, more in [(0, 1), (20, 5), (20, 0), (7, 30), (0, 3), (20, 9), (20, 25), (1, 0), (0, 18)]
]
PROMPTS += [PROMPTS[1] + [5, 6, 7], PROMPTS[1]]  # one goes on where another ends
REQUESTS = [Request(prompt, sample) for sample, prompt in enumerate(PROMPTS, 40)]
GREEDY = Settings(length=15, temperature=0)
SAMPLED = Settings(length=15, seed=5, temperature=0.9, top_k=50, top_p=0.95, min_p=0.01)
ENCODER = get_encoder('demo', str(ROOT / 'models'))
PENALIZED = Settings(length=15, seed=2, typical_p=0.97, repetition_penalty=1.4)


def alone(engine, requests, settings):
    """What `generate` gives for each request by itself."""
    return [
        engine.generate([request.prompt], settings, first_sample=request.sample)[0]
        for request in requests
    ]


def tokens_of(engine, requests, settings, **more):
    """The new tokens of each request, in order."""
    completed = dict(engine.complete(requests, settings, **more))
    return [completed[i].tokens for i in range(len(requests))]


@pytest.mark.parametrize('settings', [GREEDY, SAMPLED, PENALIZED])
def test_a_text_is_the_one_that_its_prompt_gives_alone(engine, settings):
    expected = alone(engine, REQUESTS, settings)
    for rows in (1, 3, 50):
        assert tokens_of(engine, REQUESTS, settings, rows=rows) == expected
    backwards = tokens_of(engine, REQUESTS[::-1], settings, rows=4)
    assert backwards == expected[::-1]
    assert alone(engine, REQUESTS, settings) == expected


def test_a_request_may_have_a_top_p_of_its_own(engine):
    ps = [0.05, 0.3, 0.5, 0.8, 0.9, 1, None, 0.2, 0.7, 0.6, 0.4]
    settings = Settings(length=15, seed=5, top_p=0.85)
    own = [p and dataclasses.replace(settings, top_p=p) for p in ps]
    requests = [r._replace(settings=its) for r, its in zip(REQUESTS, own, strict=True)]
    expected = [alone(engine, [r], r.settings or settings)[0] for r in requests]
    assert expected != alone(engine, requests, settings)
    for rows in (1, 4):
        assert tokens_of(engine, requests, settings, rows=rows) == expected


def test_so_it_is_by_the_readable_core(models_dir):
    requests = [Request([token % 4096 for token in r.prompt], r.sample) for r in REQUESTS]
    with Engine('demo', str(models_dir), fast=False) as engine:
        for settings in (GREEDY, SAMPLED):
            expected = alone(engine, requests, settings)
            assert tokens_of(engine, requests, settings, rows=4) == expected


@pytest.mark.parametrize('dtype', ['int8', 'bfloat16'])
def test_so_it_is_with_other_weights(models_dir, dtype):
    """Texts that depend on no activation on the edge between two roundings, as those of batches."""
    prompts = [15, 95], [464], [40, 11, 345, 82, 33], [40, 11, 345, 9]
    requests = [Request(prompt, sample) for sample, prompt in enumerate(prompts)]
    settings = Settings(length=20, seed=5)
    with Engine('demo', str(models_dir), dtype=dtype) as engine:
        assert tokens_of(engine, requests, settings, rows=2) == alone(engine, requests, settings)


def test_log_probabilities_are_those_of_the_model_itself(engine, models_dir):
    settings = Settings(length=15, seed=5, temperature=0.5, top_k=3, repetition_penalty=2)
    completed = dict(engine.complete(REQUESTS, settings, rows=4))
    with Scorer('tiny', str(models_dir)) as scorer:
        pairs = [(r.prompt, completed[i].tokens) for i, r in enumerate(REQUESTS)]
        for i, scores in enumerate(scorer.score_continuations(pairs)):
            np.testing.assert_allclose(completed[i].logprobs, scores.logprobs, rtol=0, atol=1e-4)


@pytest.mark.parametrize('length', [1, 9, 64])
def test_prompts_may_fill_the_context_and_one_token_more(engine, length):
    n = engine.hparams.n_ctx + 1 - length
    requests = [Request((STORY * 4)[:size], i) for i, size in enumerate([n, 1, n, max(n - 3, 1)])]
    settings = Settings(length=length, seed=1)
    for rows in (1, 3):
        assert tokens_of(engine, requests, settings, rows=rows) == alone(engine, requests, settings)


@pytest.mark.parametrize(
    'requests, message',
    [
        ([Request([464]), Request([464] * 51)], 'of 51 tokens and 15 new ones exceed .* of 64'),
        ([Request([])], 'prompt is empty'),
        ([Request([50257])], 'token outside 0..50256'),
    ],
)
def test_what_cannot_be_continued_is_refused_before_anything_runs(
    engine, requests, message, monkeypatch
):
    monkeypatch.setattr(engine, 'session', None)
    with pytest.raises(ValueError, match=message):
        engine.complete(iter(requests), GREEDY)
    with pytest.raises(ValueError, match='rows must be'):
        engine.complete(REQUESTS, GREEDY, rows=0)


def test_no_request_gives_no_text(engine):
    assert list(engine.complete([], GREEDY)) == []


def test_a_text_ends_before_the_end_token_and_its_log_probability_is_the_last(engine, monkeypatch):
    free = dict(engine.complete(REQUESTS, SAMPLED))
    monkeypatch.setattr(type(engine.encoder), 'end_of_text', property(lambda _: free[3].tokens[4]))
    settings = Settings(**SAMPLED.values() | {'stop_at_end': True})
    expected = alone(engine, REQUESTS, settings)
    for number, completion in engine.complete(REQUESTS, settings, rows=2):
        tokens = completion.tokens
        assert tokens == expected[number]
        assert completion.ended == (len(tokens) < 15) and not completion.stopped
        assert len(completion.logprobs) == len(tokens) + completion.ended
        np.testing.assert_allclose(
            completion.logprobs, free[number].logprobs[: len(tokens) + 1], rtol=0, atol=1e-5
        )
    assert len(expected[3]) <= 4


def test_a_text_ends_with_the_token_that_completes_a_stop_string(engine):
    free = dict(engine.complete(REQUESTS, SAMPLED))
    stop = engine.encoder.decode(free[5].tokens)[3:6]
    stopped = dict(engine.complete(REQUESTS, SAMPLED, stops=['', 'no such text', stop], rows=3))
    for number, whole in free.items():
        ends = [n for n in range(1, 16) if stop in engine.encoder.decode(whole.tokens[:n])]
        n = min(ends, default=15)
        assert stopped[number].tokens == whole.tokens[:n]
        assert stopped[number].stopped == bool(ends) and not stopped[number].ended
        assert len(stopped[number].logprobs) == n
    assert stopped[5].stopped and len(stopped[5].tokens) < 15


def scripted(texts, settings, rows, stops=(), encoder=ENCODER):
    """What scripted rows make of prompts [0], [1], …, whose texts are given, and these rows."""
    engine = ScriptedEngine(encoder, {(i,): text for i, text in enumerate(texts)})
    requests = [Request([i]) for i in range(len(texts))]
    completed = list(engine.complete(requests, settings, stops=stops, rows=rows))
    return completed, engine.made[0]


def test_texts_come_as_they_end_and_others_take_their_rows():
    settings = Settings(length=30, stop_at_end=True)
    texts = [[5] * n for n in (20, 2, 3, 2, 1, 4)]
    completed, rows = scripted(texts, settings, rows=2)
    assert [number for number, _ in completed] == [1, 2, 3, 4, 0, 5]
    assert [completion.tokens for _, completion in sorted(completed)] == texts
    assert rows.joined == [[0, 1], [2], [3], [4], [5]]
    assert rows.n_steps < sum(map(len, texts))


def test_rows_join_together_where_that_costs_less_than_to_wait():
    """All end one step after the other: 4 rows wait for each other until 4 steps are lost."""
    texts = [[5] * n for n in (1, 2, 3, 4, 1, 2, 3, 4)]
    completed, rows = scripted(texts, Settings(length=30, stop_at_end=True), rows=4)
    assert sorted(number for number, _ in completed) == list(range(8))
    assert rows.joined == [[0, 1, 2, 3], [4, 5, 6], [7]]


def test_a_completion_says_how_its_text_has_ended():
    (a,), (b,), end = ENCODER.encode('a'), ENCODER.encode('b'), ENCODER.end_of_text
    texts = [[a] * 9, [a, a, b, a], [a, end, a], []]
    settings = Settings(length=5, stop_at_end=True)
    completed, _ = scripted(texts, settings, rows=4, stops=['ab'])
    expected = [([a] * 5, 5, False, False), ([a, a, b], 3, False, True), ([a], 2, True, False)]
    expected.append(([], 1, True, False))
    found = [(c.tokens, len(c.logprobs), c.ended, c.stopped) for _, c in sorted(completed)]
    assert found == expected
    assert dict(completed)[2].logprobs == [-0.5 * a, -0.5 * end]
    endless, _ = scripted(texts[:3], Settings(length=3), rows=4)
    assert dict(endless)[2].tokens == [a, end, a]


def test_progress_counts_the_tokens_that_texts_have(engine, monkeypatch):
    free = dict(engine.complete(REQUESTS, SAMPLED))
    monkeypatch.setattr(type(engine.encoder), 'end_of_text', property(lambda _: free[3].tokens[4]))
    settings = Settings(**SAMPLED.values() | {'stop_at_end': True})
    counted = []
    tokens = tokens_of(engine, REQUESTS, settings, rows=3, progress=counted.append)
    assert sum(counted) == sum(map(len, tokens)) < 15 * len(REQUESTS)


def test_another_request_ends_the_texts(engine):
    texts = engine.complete(REQUESTS, GREEDY, rows=2)
    next(texts)
    engine.generate([STORY], GREEDY)
    with pytest.raises(ValueError, match='one at a time'):
        list(texts)


def test_whoever_stops_asking_leaves_the_engine_to_others(engine):
    expected = alone(engine, REQUESTS[:3], GREEDY)
    texts = engine.complete(REQUESTS, GREEDY, rows=2)
    next(texts)
    texts.close()
    assert alone(engine, REQUESTS[:3], GREEDY) == expected
    assert tokens_of(engine, REQUESTS[:3], GREEDY) == expected


@pytest.mark.parametrize('runs', [1, 2, 5])
def test_an_interruption_leaves_the_engine_as_it_was(engine, monkeypatch, runs):
    expected = tokens_of(engine, REQUESTS, GREEDY)
    left, run = [runs], engine.session.run

    def interrupted(*arguments):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine.session, 'run', interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(engine.complete(REQUESTS, GREEDY))
    assert tokens_of(engine, REQUESTS, GREEDY) == expected


def test_a_completion_is_a_plain_record(engine):
    [(number, completion)] = engine.complete(REQUESTS[:1], GREEDY)
    assert number == 0 and isinstance(completion, Completion)
    assert {type(x) for x in completion.tokens} == {int}
    assert {type(x) for x in completion.logprobs} == {float}


# What is read, and what is copied


@pytest.fixture
def joins(engine, monkeypatch):
    """What the joining rows have read since: [(rows, tokens of each)]."""
    read, run = [], engine.session.run
    operations = engine.operations_of_rows

    def recorded(fetches, feed):
        if fetches is operations.prefill:
            read.append(feed[operations.inputs.tokens].shape)
        return run(fetches, feed)

    monkeypatch.setattr(engine.session, 'run', recorded)
    return read


def random_tokens(n, seed):
    return np.random.default_rng(seed).integers(50257, size=n).tolist()


def check_as_alone(engine, prompts, length=4, **more):
    requests = [Request(prompt, i) for i, prompt in enumerate(prompts)]
    settings = Settings(length=length, seed=3)
    assert tokens_of(engine, requests, settings, **more) == alone(engine, requests, settings)


@pytest.fixture
def worth_waiting(monkeypatch):
    monkeypatch.setattr(prefill, 'WORTH_WAITING', 8)


def test_what_all_prompts_share_is_read_once(engine, joins, worth_waiting):
    examples = random_tokens(30, seed=1)
    check_as_alone(engine, [examples + random_tokens(6, seed=i) for i in range(2, 9)], rows=4)
    # The whole of one; then what follows the examples, without the last token, which a step reads.
    assert joins == [(1, 35), (3, 5), (3, 5)]


def test_of_a_conversation_only_the_last_turn_is_read(engine, joins, worth_waiting):
    story = random_tokens(50, seed=1)
    check_as_alone(engine, [story[:20], story[:30], story[:40], story], rows=4)
    assert joins == [(1, 49), (3, 1)]


def test_what_is_read_stays_when_its_row_is_free(engine, joins, worth_waiting):
    story = random_tokens(50, seed=1)
    check_as_alone(engine, [story[:20], story[:30], story[:25], [7] * 9, story], rows=1)
    # The last token of a prompt was read by a step.
    assert joins == [(1, 19), (1, 9), (1, 1), (1, 8), (1, 49)]


def test_new_tokens_are_held_too(engine, joins):
    story = random_tokens(20, seed=1)
    (new,) = alone(engine, [Request(story)], Settings(length=6, seed=3))
    check_as_alone(engine, [story, story + new + [5, 6, 7]], length=6, rows=1)
    # All but the last of them were read: with it three tokens, and the fourth is read by a step.
    assert joins == [(1, 19), (1, 3)]


def test_a_row_with_little_to_read_joins_beside_one_with_much(engine, joins):
    """What is read of both is as wide as the second needs, but no wider than the cache."""
    story, other = random_tokens(55, seed=1), random_tokens(45, seed=2)
    check_as_alone(engine, [story, [7], story + [5], other], rows=2)
    assert joins == [(1, 54), (2, 44)]


def test_prompts_of_different_sizes_are_not_read_together(engine, joins, monkeypatch):
    monkeypatch.setattr(prefill, 'WORTH_WAITING', 4)
    check_as_alone(engine, [random_tokens(n, seed=n) for n in (5, 40, 4, 6, 35)])
    assert joins == [(3, 5), (2, 39)]


@pytest.mark.parametrize('at_once', [1, 7, 20])
def test_a_long_prompt_is_read_in_parts(engine, joins, monkeypatch, at_once):
    monkeypatch.setattr(rows_module, 'PREFILL_AT_ONCE', at_once)
    check_as_alone(engine, [random_tokens(n, seed=n) for n in (40, 60, 41, 33)])
    assert {width for _, width in joins} <= {at_once, 59 % at_once}
    rows = [n for n, _ in joins]
    assert rows == sorted(rows, reverse=True) and rows[0] == 4 and rows[-1] == 1


def test_the_cache_grows_and_shrinks_with_what_is_needed(engine, monkeypatch):
    monkeypatch.setattr(rows_module, 'SLACK', 2)
    sizes, have = [], rows_module.Rows._have_room

    def recorded(self, *arguments, **more):
        have(self, *arguments, **more)
        sizes.append(self.capacity)

    monkeypatch.setattr(rows_module.Rows, '_have_room', recorded)
    prompts = [random_tokens(n, seed=n) for n in (3, 50, 4, 45, 6, 2, 61)]
    check_as_alone(engine, prompts, rows=1)
    check_as_alone(engine, prompts, rows=2)
    assert sizes[0] == 5 and max(sizes) == 64
    assert any(after < before for before, after in zip(sizes[:-1], sizes[1:], strict=True))


def test_nothing_is_built_for_rows_before_it_is_asked_for(models_dir):
    with Engine('demo', str(models_dir), n_shards=1) as engine:
        n_operations = len(engine.graph.get_operations())
        engine.generate([[5, 6]], GREEDY)
        assert len(engine.graph.get_operations()) == n_operations
        counts = []
        for _ in range(2):
            list(engine.complete([Request([5, 6])], GREEDY))
            counts.append(len(engine.graph.get_operations()))
        assert counts[0] == counts[1] > n_operations and engine.graph.finalized


def test_random_requests_as_alone(engine, monkeypatch):
    """Prompts of all kinds of beginnings in common, with few slots, parts and runs."""
    monkeypatch.setattr(rows_module, 'SLACK', 3)
    monkeypatch.setattr(rows_module, 'PREFILL_AT_ONCE', 13)
    random = np.random.default_rng(5)
    for length, n_rows, waiting in [(9, 2, 1), (3, 5, 5), (6, 3, 99)]:
        monkeypatch.setattr(prefill, 'WORTH_WAITING', waiting)
        texts = random.integers(50257, size=[3, 60]).tolist()
        prompts = [texts[random.integers(3)][: random.integers(1, 50)] for _ in range(12)]
        prompts = [p + random.integers(9, size=random.integers(6)).tolist() for p in prompts]
        check_as_alone(engine, prompts, length, rows=n_rows)
