"""Every field of a completion, as the `openai` client sends and reads it.

The server is a process of its own with the demo model. What it is compared with is computed here:
texts by the script, log-probabilities by a Scorer, penalties and biases by hand.
"""

import asyncio
import concurrent.futures
import math
import re
import time
import urllib.request

import numpy as np
import pytest

from helpers.serving import running_server
from scoring.scorer import Scorer
from scoring.windows import Window

openai = pytest.importorskip('openai')

PROMPT = 'Fellow citizens of the Senate'
EMOJI = 'naïve café 🙂 — 👩‍👩‍👧 “東京” Congress'
KEY = 'a-key-of-the-test'
N_CTX = 256
IDS = {'return_token_ids': True}  # beside the text


@pytest.fixture(scope='module')
def address():
    with running_server('--rows', '4', '--most_waiting', '8', '--api_key', KEY) as server:
        yield server.address


@pytest.fixture(scope='module')
def client(address):
    with openai.OpenAI(base_url=f'{address}/v1', api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope='module')
def complete(client):
    """Create a completion: (prompt, **fields) -> openai's Completion; `extra` are other fields."""

    def create(prompt=PROMPT, extra=None, **fields):
        fields = {'model': 'demo', 'seed': 1, 'max_tokens': 12} | fields
        return client.completions.create(prompt=prompt, extra_body=extra, **fields)

    return create


@pytest.fixture(scope='module')
def scorer():
    with Scorer('demo') as scorer:
        yield scorer


def texts(completion):
    return [choice.text for choice in completion.choices]


def ids_of(choice):
    return choice.model_extra['token_ids']


def joined(stream):
    """The chunks of a stream as whole choices: {index: dict of text, finish_reason, logprobs}."""
    choices, usage = {}, None
    for chunk in stream:
        usage = chunk.usage or usage
        for part in chunk.choices:
            whole = choices.setdefault(
                part.index, {'text': '', 'finish_reason': None, 'logprobs': {}, 'token_ids': []}
            )
            assert whole['finish_reason'] is None, 'a chunk follows the last one'
            whole['text'] += part.text
            whole['finish_reason'] = part.finish_reason
            whole['token_ids'] += part.model_extra.get('token_ids') or []
            for name, values in (part.logprobs.model_dump() if part.logprobs else {}).items():
                whole['logprobs'].setdefault(name, []).extend(values or [])
    return choices, usage


def test_the_text_is_that_of_the_script_with_the_same_seed(complete, run_script):
    flags = ['--model_name', 'demo', '--prompt', PROMPT, '--length', 30, '--seed', 5]
    flags += ['--top_k', 40, '--temperature', 0.9, '--nsamples', 2, '--stop_at_end']
    script = run_script('src/interactive_conditional_samples.py', *flags)
    samples = re.findall(r'=+ SAMPLE \d+ =+\n(.*?)\n(?==)', script.stdout, re.DOTALL)
    fields = dict(seed=5, max_tokens=30, temperature=0.9, n=2, extra={'top_k': 40})
    assert texts(complete(**fields)) == samples
    assert samples[0] != samples[1]


@pytest.mark.parametrize(
    'sampling',
    [
        {'top_p': 0.8},
        {'extra': {'top_k': 5}},
        {'extra': {'min_p': 0.1}},
        {'extra': {'typical_p': 0.5}},
        {'extra': {'repetition_penalty': 1.5}},
        {'temperature': 0},
        {'temperature': 1.7},
    ],
    ids=str,
)
def test_each_sampling_parameter_is_that_of_the_engine(complete, demo_engine, sampling):
    from support.settings import Settings

    own = {k: v for k, v in sampling.items() if k != 'extra'} | sampling.get('extra', {})
    settings = Settings(length=25, seed=3, stop_at_end=True, **own)
    tokens = demo_engine.encoder.encode(PROMPT)
    expected = demo_engine.generate([tokens] * 2, settings)
    got = complete(seed=3, max_tokens=25, n=2, **sampling)
    assert texts(got) == [demo_engine.encoder.decode(sample) for sample in expected]


def test_prompts_are_texts_or_tokens_or_lists_of_them(complete, scorer):
    prompts = [PROMPT, EMOJI, 'The']
    tokens = [scorer.encoder.encode(prompt) for prompt in prompts]
    alone = [texts(complete(prompt, n=2)) for prompt in prompts]
    assert [texts(complete(prompt, n=2)) for prompt in tokens] == alone
    for together in (prompts, tokens):
        completion = complete(together, n=2)
        assert [choice.index for choice in completion.choices] == list(range(6))
        assert texts(completion) == sum(alone, [])
    assert len(set(sum(alone, []))) == 6


def test_no_prompt_is_the_end_token(complete, scorer):
    end = scorer.encoder.end_of_text
    expected = texts(complete([end]))
    assert texts(complete('')) == texts(complete(openai.NOT_GIVEN)) == expected
    assert texts(complete('<|endoftext|>')) == expected
    assert complete('a<|endoftext|>b').usage.prompt_tokens == 3


@pytest.mark.parametrize('echo', [False, True])
def test_a_stream_is_the_whole_answer(complete, echo):
    fields = dict(n=2, logprobs=3, echo=echo, max_tokens=40, temperature=1.5)
    fields |= dict(extra={'return_token_ids': True})
    whole = complete([PROMPT, EMOJI], **fields)
    choices, usage = joined(
        complete([PROMPT, EMOJI], **fields, stream=True, stream_options={'include_usage': True})
    )
    assert sorted(choices) == [0, 1, 2, 3]
    for choice in whole.choices:
        streamed = choices[choice.index]
        assert streamed['text'] == choice.text
        assert streamed['finish_reason'] == choice.finish_reason
        assert streamed['token_ids'] == ids_of(choice)
        assert_same(streamed['logprobs'], choice.logprobs.model_dump())
    assert usage.model_dump() == whole.usage.model_dump()


def assert_same(one, other):
    """Objects of log-probabilities are equal, those themselves up to 1e-5."""
    for name in ('tokens', 'text_offset'):
        assert one[name] == other[name]
    tops = zip(one['top_logprobs'], other['top_logprobs'], strict=True)
    pairs = [*tops, (one['token_logprobs'], other['token_logprobs'])]
    assert all(a == (b and pytest.approx(b, abs=1e-5)) for a, b in pairs)


def test_a_stream_comes_in_pieces_and_tells_usage_only_if_asked(complete):
    chunks = list(complete(stream=True, max_tokens=20))
    assert sum(bool(chunk.choices[0].text) for chunk in chunks) > 5
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    *_, last = complete(stream=True, stream_options={'include_usage': True})
    assert last.choices == [] and last.usage.completion_tokens == 12


@pytest.mark.parametrize('temperature', [0, 1.3])
def test_logprobs_are_those_of_a_scorer(complete, scorer, temperature):
    completion = complete(
        EMOJI, logprobs=20, echo=True, max_tokens=30, temperature=temperature, extra=IDS
    )
    [choice] = completion.choices
    assert ids_of(choice)[: completion.usage.prompt_tokens] == scorer.encoder.encode(EMOJI)
    [scores] = scorer.score_windows([Window(ids_of(choice), 1)], n_top=20)
    first, *logprobs = choice.logprobs.token_logprobs
    assert first is None and choice.logprobs.top_logprobs[0] is None
    np.testing.assert_allclose(logprobs, scores.logprobs, rtol=0, atol=1e-5)
    for told, values in zip(choice.logprobs.top_logprobs[1:], scores.top[1], strict=True):
        assert len(told) in (20, 21)  # with the token itself, or two that are written alike
        np.testing.assert_allclose(
            sorted(told.values(), reverse=True)[:19], values[:19], rtol=0, atol=1e-5
        )
    if temperature == 0:
        for logprob, top in zip(
            choice.logprobs.token_logprobs[-30:], choice.logprobs.top_logprobs[-30:], strict=True
        ):
            assert logprob == max(top.values())  # the very same number, as the harness asks


def test_logprobs_of_0_are_those_of_the_tokens_alone(complete):
    with_top, without = complete(logprobs=5), complete(logprobs=0)
    logprobs = with_top.choices[0].logprobs.token_logprobs
    assert without.choices[0].logprobs.token_logprobs == pytest.approx(logprobs, abs=1e-5)
    assert [list(top) for top in without.choices[0].logprobs.top_logprobs] == [
        [token] for token in without.choices[0].logprobs.tokens
    ]
    assert complete().choices[0].logprobs is None


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('echo', [False, True])
def test_offsets_count_characters_from_the_start_of_the_prompt(complete, echo, stream):
    answer = complete(EMOJI, echo=echo, logprobs=1, max_tokens=50, temperature=2, stream=stream)
    if stream:
        choice = joined(answer)[0][0]
        text, logprobs = choice['text'], choice['logprobs']
    else:
        text, logprobs = answer.choices[0].text, answer.choices[0].logprobs.model_dump()
    whole = text if echo else EMOJI + text
    assert whole.startswith(EMOJI)
    offsets, tokens = logprobs['text_offset'], logprobs['tokens']
    assert offsets[0] == (0 if echo else len(EMOJI)) and offsets == sorted(offsets)
    n_bytes = 0
    for offset, token in zip(offsets, tokens, strict=True):
        if token.startswith('bytes:'):
            n_bytes += 1
        else:
            assert whole[offset:].startswith(token)
    assert n_bytes or not echo  # an emoji is of several tokens


def test_an_answer_ends_where_a_stop_string_begins(complete):
    whole = complete(max_tokens=60).choices[0].text
    for stop in (whole[20:23], [whole[30:36], whole[10:15]], whole[7]):
        stops = [stop] if isinstance(stop, str) else stop
        expected = whole[: min(whole.index(s) for s in stops)]
        completion = complete(max_tokens=60, stop=stop, logprobs=0)
        [choice] = completion.choices
        assert (choice.text, choice.finish_reason) == (expected, 'stop')
        assert completion.usage.completion_tokens < 60
        streamed, _ = joined(complete(max_tokens=60, stop=stop, stream=True))
        assert (streamed[0]['text'], streamed[0]['finish_reason']) == (expected, 'stop')
    absent = complete(max_tokens=60, stop=['no such text', 'nor this']).choices[0]
    assert (absent.text, absent.finish_reason) == (whole, 'length')


def test_the_end_token_ends_an_answer(complete, scorer):
    end = scorer.encoder.end_of_text
    completion = complete(logit_bias={str(end): 100}, logprobs=0, max_tokens=5)
    [choice] = completion.choices
    assert (choice.text, choice.finish_reason) == ('', 'stop')


def test_logit_bias_adds_to_logits(complete, scorer):
    the = scorer.encoder.encode(' the')[0]
    only = complete(logit_bias={str(the): 100}, max_tokens=6)
    assert only.choices[0].text == ' the' * 6
    fields = dict(temperature=0, logprobs=20, max_tokens=1, extra=IDS)
    choice = complete(**fields).choices[0]
    [first] = ids_of(choice)
    ranked = sorted(choice.logprobs.top_logprobs[0].items(), key=lambda item: -item[1])
    gap = ranked[0][1] - ranked[1][1]
    for bias, expected in [(-0.9 * gap, 0), (-1.1 * gap, 1)]:
        biased = complete(**fields, logit_bias={str(first): bias}).choices[0]
        assert biased.text == ranked[expected][0]
        assert biased.logprobs.token_logprobs[0] == ranked[expected][1]  # of the model itself


@pytest.mark.parametrize('presence, frequency', [(1.5, 0), (0, 0.7), (0.6, 0.4), (-1, -0.5)])
def test_penalties_are_those_of_openai(complete, presence, frequency):
    fields = dict(temperature=0, max_tokens=60, logprobs=20, extra=IDS)
    penalties = dict(presence_penalty=presence, frequency_penalty=frequency)
    choice = complete(**fields, **penalties).choices[0]
    assert ids_of(choice) != ids_of(complete(**fields).choices[0])
    seen = {}
    for token, tops in zip(choice.logprobs.tokens, choice.logprobs.top_logprobs, strict=True):
        penalized = {
            t: logprob - presence * (t in seen) - frequency * seen.get(t, 0)
            for t, logprob in tops.items()
        }
        assert penalized[token] >= max(penalized.values()) - 1e-4
        seen[token] = seen.get(token, 0) + 1


def test_best_of_answers_with_the_most_likely(complete):
    many = complete(n=5, logprobs=0, max_tokens=20)
    means = [np.mean(choice.logprobs.token_logprobs) for choice in many.choices]
    best = [many.choices[i].text for i in np.argsort(means)[::-1][:2]]
    completion = complete(n=2, best_of=5, max_tokens=20)
    assert texts(completion) == best
    assert completion.usage.completion_tokens == many.usage.completion_tokens
    assert texts(complete(best_of=1)) == texts(complete())


def test_usage_counts_tokens(complete, scorer):
    n_prompt = len(scorer.encoder.encode(PROMPT)) + len(scorer.encoder.encode(EMOJI))
    usage = complete([PROMPT, EMOJI], n=2, max_tokens=7).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (n_prompt, 4 * 7)
    assert usage.total_tokens == n_prompt + 4 * 7


def test_without_a_seed_texts_differ_and_the_answer_tells_the_seed(complete):
    answers = [complete(seed=openai.NOT_GIVEN) for _ in range(3)]
    assert len({a.choices[0].text for a in answers}) == 3
    for answer in answers:
        assert texts(complete(seed=answer.model_extra['seed'])) == texts(answer)


def test_an_answer_says_what_it_is(complete):
    completion = complete(user='somebody', max_tokens=openai.NOT_GIVEN)
    assert completion.object == 'text_completion' and completion.model == 'demo'
    assert completion.id and abs(completion.created) > 1_700_000_000
    assert completion.usage.completion_tokens == 16  # OpenAI's default
    assert complete(max_tokens=1).id != completion.id


def test_clients_at_the_same_time_get_what_each_gets_alone(address, complete):
    prompts = [PROMPT, EMOJI, 'The', 'Peace and']
    settings = [dict(temperature=t, top_p=p) for t, p in [(0, 1), (1, 1), (0.7, 0.9), (2, 0.5)]]
    alone = [texts(complete(p, **s, n=2)) for p, s in zip(prompts, settings, strict=True)]

    async def all_together():
        url = f'{address}/v1'
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(
                *(
                    client.completions.create(
                        model='demo', prompt=p, seed=1, max_tokens=12, n=2, **s
                    )
                    for p, s in zip(prompts, settings, strict=True)
                )
            )

    assert [texts(answer) for answer in asyncio.run(all_together())] == alone


def test_models_are_listed_and_found(client):
    assert [model.id for model in client.models.list()] == ['demo']
    assert client.models.retrieve('demo').id == 'demo'
    with pytest.raises(openai.NotFoundError, match='gpt-4'):
        client.models.retrieve('gpt-4')


@pytest.mark.parametrize(
    'fields, param',
    [
        ({'n': 0}, 'n'),
        ({'n': 2, 'best_of': 1}, 'best_of'),
        ({'best_of': 2, 'stream': True}, 'best_of'),
        ({'suffix': 'the end'}, 'suffix'),
        ({'temperature': -1}, 'temperature'),
        ({'top_p': 0}, 'top_p'),
        ({'max_tokens': N_CTX + 1}, 'prompt'),
        ({'max_tokens': -1}, 'max_tokens'),
        ({'logprobs': 21}, 'logprobs'),
        ({'stop': [str(n) for n in range(100)]}, 'stop'),
        ({'stop': ''}, 'stop'),
        ({'seed': -1}, 'seed'),
        ({'presence_penalty': 3}, 'presence_penalty'),
        ({'frequency_penalty': math.pi}, 'frequency_penalty'),
        ({'logit_bias': {'99999': 1}}, 'logit_bias'),
        ({'logit_bias': {'the': 1}}, 'logit_bias'),
        ({'logit_bias': {'5': 101}}, 'logit_bias'),
        ({'prompt': [5000]}, 'prompt'),
        ({'prompt': 'word ' * 1000}, 'prompt'),
        ({'prompt': []}, 'prompt'),
        ({'extra': {'min_p': 2}}, 'min_p'),
        ({'extra': {'unheard_of': 1}}, 'unheard_of'),
        ({'stream_options': {'include_usage': True}}, 'stream_options'),
    ],
    ids=str,
)
def test_what_is_not_done_is_a_bad_request(complete, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(**fields)
    assert caught.value.status_code == 400
    assert caught.value.param == param and len(caught.value.message) > 20
    assert caught.value.body['message'].count('\n') == 0
    assert caught.value.type == 'invalid_request_error'


def test_other_refusals_are_the_exceptions_of_the_client(address, client, complete):
    with pytest.raises(openai.NotFoundError, match='gpt-4'):
        complete(model='gpt-4')
    with pytest.raises(openai.NotFoundError, match='template'):
        client.chat.completions.create(model='demo', messages=[{'role': 'user', 'content': 'Hi'}])
    stranger = openai.OpenAI(base_url=f'{address}/v1', api_key='another', max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.completions.create(model='demo', prompt=PROMPT)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_full_queue_is_a_rate_limit(address, complete):
    """Four texts run, eight wait: another is refused at once."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(complete, n=4, max_tokens=240)
        wait_for('gpt2_running 4.0', address)
        waiting = pool.submit(complete, n=8, max_tokens=20)
        wait_for('gpt2_waiting 8.0', address)
        with pytest.raises(openai.RateLimitError) as caught:
            complete()
    assert len(texts(running.result())) == 4 and len(texts(waiting.result())) == 8
    assert int(caught.value.response.headers['Retry-After']) > 0
    assert caught.value.body['message'].count('\n') == 0


def wait_for(line, address):
    """Return once /metrics has a line."""
    end = time.monotonic() + 20
    while line not in metrics(address):
        assert time.monotonic() < end


def metrics(address):
    request = urllib.request.Request(
        f'{address}/metrics', headers={'Authorization': f'Bearer {KEY}'}
    )
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()
