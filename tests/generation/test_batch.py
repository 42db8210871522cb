"""A running batch that requests join and leave at any time."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from generation import rows as rows_module
from generation.continuous import Batch, Request
from helpers.scripted_rows import ScriptedEngine
from scoring.scorer import Scorer
from support.settings import SAMPLING, Settings

TEXTS = {(i,): [(i + n) % 26 for n in range(i)] for i in range(26)}
SETTINGS = Settings(length=50, seed=0, stop_at_end=True)


def scripted(rows=2, **more):
    return Batch(ScriptedEngine(texts=TEXTS, **more), rows)


def request(i, **more):
    return Request([i], **dict(settings=SETTINGS) | more)


def tokens_of(batch, n_steps=1000):
    """All that comes of a batch: {number: [New]}."""
    news = {}
    while n_steps and (batch.n_running or batch.n_waiting):
        n_steps -= 1
        for number, new in batch.step().items():
            news.setdefault(number, []).append(new)
    return news


# Who joins, and who leaves


def test_a_batch_with_nothing_to_do_does_nothing():
    batch = scripted()
    assert batch.step() == {} and batch.engine.made == []


def test_requests_join_before_the_next_step_and_leave_after_their_last():
    batch = scripted(rows=2)
    first = batch.add(request(3))
    assert list(batch.step()) == [first]
    second, third = batch.add(request(1)), batch.add(request(5))
    assert (batch.n_running, batch.n_waiting) == (1, 2)
    assert list(batch.step()) == [first, second]
    assert (batch.n_running, batch.n_waiting) == (2, 1)
    assert batch.step()[second].end == 'end'
    assert batch.n_running == 1 and list(batch.step()) == [first, third]
    assert batch.n_running == 1 and list(batch.step()) == [third]


def test_who_is_removed_frees_the_row_for_the_next_step():
    batch = scripted(rows=1)
    runs, waits, other = (batch.add(request(20)) for _ in range(3))
    batch.step()
    batch.remove(waits)
    batch.remove(runs)
    assert (batch.n_running, batch.n_waiting) == (0, 1)
    assert list(batch.step()) == [other]
    for number in (runs, waits, 99):
        batch.remove(number)  # once more: nothing happens
    assert list(batch.step()) == [other]


def test_a_new_token_says_whether_and_why_its_text_ends():
    batch = scripted(rows=3)
    batch.add(request(2))
    batch.add(request(3, settings=dataclasses.replace(SETTINGS, length=2), n_top=2))
    batch.add(request(4, stops=('ef', 'never')))
    news = tokens_of(batch)
    assert [(new.token, new.end) for new in news[0]] == [(2, None), (3, None), (26, 'end')]
    assert [(new.token, new.end) for new in news[1]] == [(3, None), (4, 'length')]
    assert [(new.token, new.end) for new in news[2]] == [(4, None), (5, 'stop')]
    assert news[1][0].top == [(3, -1.5), (4, -2.0)] and news[1][0].logprob == -1.5
    assert news[0][0].top == []


def test_those_that_run_get_a_token_after_two_pieces_of_a_prompt():
    batch = scripted(rows=3, pieces={(9,): 5, (3,): 1})
    runs = batch.add(request(25))
    batch.step()
    long = batch.add(request(9))
    came = [list(batch.step()) for _ in range(9)]
    assert came == [[], [], [runs]] * 2 + [[], [runs, long], [runs, long]]


def test_after_a_failure_those_that_wait_go_on_in_new_rows():
    batch = scripted(rows=2)
    numbers = [batch.add(request(i)) for i in (5, 6, 7)]
    batch.step()
    assert batch.drop() == numbers[:2]
    assert list(tokens_of(batch)) == numbers[2:] and len(batch.engine.made) == 2


@pytest.mark.parametrize(
    'more, message',
    [
        ({'settings': None}, 'needs settings of its own'),
        ({'prompt': []}, 'prompt is empty'),
        ({'bias': {27: 1}}, 'token with a bias .* below 27'),
        ({'bias': {-1: 1}}, 'token with a bias'),
        ({'bias': {'a': 1}}, 'token with a bias'),
        ({'bias': {1: float('nan')}}, 'a bias must be a number'),
        ({'bias': {1: float('inf')}}, 'a bias must be a number'),
        ({'presence_penalty': '1'}, 'presence_penalty must be a number'),
        ({'frequency_penalty': float('-inf')}, 'frequency_penalty must be a number'),
        ({'n_top': 28}, 'n_top must be .* below 28'),
        ({'n_top': 1.5}, 'n_top must be'),
        ({'sample': -1}, 'sample must be'),
    ],
)
def test_what_cannot_be_done_is_refused(more, message):
    batch = scripted()
    bad = request(1)._replace(**more)
    with pytest.raises(ValueError, match=message):
        batch.check(bad)
    with pytest.raises(ValueError, match=message):
        batch.add(bad)
    assert batch.n_waiting == 0


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    n_rows=st.integers(1, 5),
    does=st.lists(
        st.one_of(
            st.integers(0, 25).map(lambda i: ('add', i)),
            st.integers(0, 30).map(lambda i: ('remove', i)),
            st.just(('step', 0)),
            st.just(('step', 0)),
        ),
        max_size=60,
    ),
)
def test_each_text_is_its_own_whoever_comes_and_goes(n_rows, does):
    batch = scripted(n_rows, pieces={(i,): i % 4 for i in range(26)})
    asked, removed, news = {}, set(), {}
    for what, i in [*does, *[('step', 0)] * 2000]:
        if what == 'add':
            asked[batch.add(request(i))] = i
        elif what == 'remove':
            batch.remove(i)
            removed |= {i} & set(asked)
        elif not batch.n_running and not batch.n_waiting:
            continue
        else:
            for number, new in batch.step().items():
                assert number not in removed
                news.setdefault(number, []).append(new)
        assert batch.n_running <= n_rows
    for number, i in asked.items():
        tokens = [new.token for new in news.get(number, [])]
        assert (tokens == [*TEXTS[i,], 26]) or number in removed
        assert tokens == [*TEXTS[i,], 26][: len(tokens)]
    left = batch.engine.made[0].left if batch.engine.made else []
    assert len(left) == len(set(left)) <= len(asked)


# With a model: the same seed gives the same text, whatever runs beside it

VARIED = [
    {},
    dict(temperature=0),
    dict(temperature=0.6),
    dict(top_k=5),
    dict(top_k=4000, temperature=1.3),
    dict(top_p=0.8),
    dict(top_p=0.999),
    dict(min_p=0.05),
    dict(typical_p=0.7),
    dict(temperature=0, repetition_penalty=1.3),
    dict(repetition_penalty=4.0),
    dict(temperature=0.8, top_k=40, top_p=0.9, min_p=0.01, typical_p=0.95, repetition_penalty=1.1),
]


def prompt_of(n, seed):
    return np.random.default_rng(seed).integers(4000, size=n).tolist()


def varied():
    """Requests with sampling parameters, seeds, lengths and prompts of all kinds."""
    return [
        Request(
            prompt_of([3, 1, 70, 20][i % 4], seed=i % 5),
            sample=i % 3,
            settings=Settings(length=8 + i % 7, seed=i % 4, **parameters),
        )
        for i, parameters in enumerate(VARIED)
    ]


@pytest.fixture(scope='module')
def expected(demo_engine):
    """What `generate` gives for each of them alone."""
    return [
        demo_engine.generate([r.prompt], r.settings, first_sample=r.sample)[0] for r in varied()
    ]


def test_each_sampling_parameter_makes_another_text(demo_engine, expected):
    """In at least one of these requests: else nothing below would tell whether it is heeded."""
    made = set()
    for request, parameters, text in zip(varied(), VARIED, expected, strict=True):
        for name in set(parameters) - made:
            other = dataclasses.replace(request.settings, **{name: SAMPLING[name].default})
            if text != demo_engine.generate([request.prompt], other, request.sample)[0]:
                made.add(name)
    assert made == set(SAMPLING)


@pytest.mark.parametrize('order, every', [(1, 0), (-1, 0), (1, 1), (-1, 3)])
def test_a_text_is_the_same_whatever_runs_beside_it(demo_engine, expected, order, every):
    """All at once, or one more every few steps; in either order; with neighbours that leave."""
    batch = Batch(demo_engine, rows=5)
    numbers, news = {}, {}
    waiting = list(enumerate(varied()))[::order]
    disturbing = [request._replace(sample=9) for _, request in waiting]
    step = 0
    while waiting or batch.n_waiting or batch.n_running:
        while waiting and (not every or step % every == 0):
            i, request = waiting.pop()
            numbers[batch.add(request)] = i
            other = batch.add(disturbing[step % len(disturbing)]) if step % 2 else None
            if every:
                break
        for number, new in batch.step().items():
            news.setdefault(number, []).append(new.token)
        if step % 3 == 2 and other is not None:
            batch.remove(other)
        step += 1
    assert [news[number] for number, _ in sorted(numbers.items(), key=lambda x: x[1])] == expected


@hypothesis.settings(max_examples=5, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_so_it_is_in_any_order(demo_engine, expected, data):
    n_rows = data.draw(st.integers(1, 16))
    chosen = data.draw(st.lists(st.sampled_from(range(len(VARIED))), min_size=2, max_size=8))
    batch, numbers, news = Batch(demo_engine, n_rows), {}, {}
    removed = set()
    for i in chosen:
        numbers[batch.add(varied()[i])] = i
        for _ in range(data.draw(st.integers(0, 5))):
            for number, new in batch.step().items():
                news.setdefault(number, []).append(new.token)
        if data.draw(st.booleans()):
            removed.add(data.draw(st.sampled_from(sorted(numbers))))
            batch.remove(max(removed))
    for number, more in tokens_of(batch).items():
        news.setdefault(number, []).extend(new.token for new in more)
    for number, i in numbers.items():
        tokens = news.get(number, [])
        assert tokens == expected[i][: len(tokens)]
        assert number in removed or tokens == expected[i]


def alone_and_beside(engine, request):
    """The News of a request alone, and beside others that ask for other things."""
    for others in ([], varied()[:6]):
        batch = Batch(engine, rows=8)
        numbers = [batch.add(each) for each in [*others[:3], request, *others[3:]]]
        yield tokens_of(batch)[numbers[len(others[:3])]]


def test_log_probabilities_are_those_of_the_scorer_and_the_best_is_the_very_same(
    demo_engine, models_dir
):
    greedy = Settings(length=12, temperature=0)
    sampled = Settings(length=12, seed=3, temperature=1.7, top_k=30, repetition_penalty=1.2)
    prompt = prompt_of(6, seed=1)
    with Scorer('demo', str(models_dir)) as scorer:
        for settings in (greedy, sampled):
            bias = {7: 1.5} if settings is sampled else None
            request = Request(prompt, settings=settings, bias=bias, n_top=7)
            for news in alone_and_beside(demo_engine, request):
                tokens = [new.token for new in news]
                (scores,) = scorer.score_continuations([(prompt, tokens)])
                logprobs = [new.logprob for new in news]
                np.testing.assert_allclose(logprobs, scores.logprobs, rtol=0, atol=1e-5)
                for new in news:
                    top = dict(new.top)
                    assert len(top) == 7 and list(top.values()) == sorted(top.values())[::-1]
                    assert new.logprob == top.get(new.token, new.logprob)
                    assert settings is sampled or new.logprob == new.top[0][1]
                    assert settings is sampled or new.token == new.top[0][0]


def test_all_of_the_top_is_the_whole_distribution(demo_engine):
    n = demo_engine.hparams.n_vocab
    asked = Request(prompt_of(6, seed=1), settings=Settings(length=3, seed=1), n_top=n)
    for news in alone_and_beside(demo_engine, asked):
        for new in news:
            tokens, logprobs = zip(*new.top, strict=True)
            assert sorted(tokens) == list(range(n))
            np.testing.assert_allclose(np.exp(logprobs).sum(), 1, atol=1e-5)


@pytest.mark.parametrize(
    'more',
    [
        dict(presence_penalty=2.0),
        dict(frequency_penalty=0.8),
        dict(presence_penalty=-0.5, frequency_penalty=1.1, bias={5: 3.0, 11: -100}),
        dict(bias={17: 100}),
    ],
)
def test_bias_and_penalties_are_added_to_the_logits(demo_engine, more):
    """By their definition, from the log-probabilities of all tokens."""
    n = demo_engine.hparams.n_vocab
    settings = Settings(length=15, temperature=0)
    asked = Request(prompt_of(6, seed=2), settings=settings, n_top=n, **more)
    plain = [
        new.token
        for new in next(
            alone_and_beside(
                demo_engine, asked._replace(bias=None, presence_penalty=0, frequency_penalty=0)
            )
        )
    ]
    for news in alone_and_beside(demo_engine, asked):
        counts, own = np.zeros(n), np.zeros(n)
        for token, value in (asked.bias or {}).items():
            own[token] = value
        for new in news:
            scores = own - asked.presence_penalty * (counts > 0) - asked.frequency_penalty * counts
            for token, logprob in new.top:
                scores[token] += logprob
            assert new.token == scores.argmax()
            counts[new.token] += 1
        assert [new.token for new in news] != plain


def test_a_bias_may_forbid_a_token_and_force_one_in_sampling(demo_engine):
    settings = Settings(length=10, seed=4)
    for news in alone_and_beside(
        demo_engine, Request([5, 6], settings=settings, bias={33: 100, 34: 100, 35: -100})
    ):
        assert {new.token for new in news} <= {33, 34}


# What a step costs


@pytest.fixture
def runs(demo_engine, monkeypatch):
    """What the session has run for rows since: ('step' or 'prefill' or 'arrange', rows)."""
    done, run = [], demo_engine.session.run
    operations = demo_engine.operations_of_rows
    names = {id(operations.prefill): 'prefill', id(operations.arrange): 'arrange'}

    def recorded(fetches, feed):
        steps = operations.step, vars(operations).get('step_of_one')
        name = 'step' if any(fetches is step for step in steps) else names.get(id(fetches))
        tensor = operations.inputs.order if name == 'arrange' else operations.inputs.tokens
        if name:
            done.append((name, len(feed[tensor])))
        return run(fetches, feed)

    monkeypatch.setattr(demo_engine.session, 'run', recorded)
    return done


def test_a_step_computes_the_rows_that_run(demo_engine, runs):
    batch = Batch(demo_engine, rows=16)
    settings = Settings(length=100, seed=0)
    numbers = [batch.add(Request([i], settings=settings)) for i in range(16)]
    batch.step()
    assert runs[-1] == ('step', 16)
    kept = numbers.pop(13)
    for number in numbers:
        batch.remove(number)
    batch.step()
    assert runs[-1] == ('step', 1)
    other = batch.add(Request([99], settings=settings))
    assert set(batch.step()) == {kept, other} and runs[-1] == ('step', 2)
    batch.remove(kept)
    assert set(batch.step()) == {other} and runs[-1] == ('step', 2)  # not worth a copy


def test_rows_that_move_go_on_as_they_were(demo_engine):
    settings = Settings(length=30, seed=2, repetition_penalty=1.3)
    requests = [Request(prompt_of(20, i), i, settings, (), None, 0, 0.3, 1) for i in range(9)]
    batch = Batch(demo_engine, rows=9)
    alone = Batch(demo_engine, rows=1)
    alone.add(requests[7])
    expected = tokens_of(alone)[0]
    numbers = [batch.add(request) for request in requests]
    news = []
    while len(news) < 30:
        if len(news) == 5:
            for number in numbers[:6]:
                batch.remove(number)
        if len(news) == 17:
            batch.remove(numbers[8])
        new = batch.step().get(numbers[7])
        news += [new] * (new is not None)
    assert [new.token for new in news] == [new.token for new in expected]
    assert batch.n_running == 0


def test_the_size_of_a_piece_follows_the_time_that_it_takes(demo_engine):
    rows = demo_engine.rows(4)
    most, least = rows_module.PIECES[1], rows_module.PIECES[0]
    for _ in range(10):
        rows._pace(rows.piece, seconds=0.001)
    assert rows.piece == most
    rows._pace(3, seconds=10)  # a short prompt says nothing
    assert rows.piece == most
    for _ in range(10):
        rows._pace(rows.piece, seconds=10)
    assert rows.piece == least


def test_a_running_batch_ends_where_another_request_begins(demo_engine):
    batch = Batch(demo_engine, rows=2)
    batch.add(Request([5], settings=SETTINGS))
    batch.step()
    demo_engine.generate([[7]], Settings(length=1))
    with pytest.raises(ValueError, match='one at a time'):
        batch.step()
    batch.drop()
    batch.add(Request([5], settings=Settings(length=2, seed=1)))
    assert len(tokens_of(batch)[1]) == 2
