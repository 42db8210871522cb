"""Completions over HTTP, of a model whose texts are known."""

import asyncio
import json

import pytest

from helpers.serving import END, client, small_service
from serving import completions
from support.settings import Settings

HARD = ' the 🦆 said: «é\n日本» STOP and went on'


@pytest.fixture(scope='module')
def service():
    with small_service(lambda prompt: HARD if prompt != 'empty' else '') as service:
        yield service


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    """Log-probabilities of prompts that are made up."""

    def prompt_logprobs(scorer, tokens, n_top, gone):
        tops = [[(token, -token / 100), (token + 1, -9.0)][:n_top] for token in tokens[1:]]
        return [None, *(-token / 100 for token in tokens[1:])], [None, *tops]

    monkeypatch.setattr(completions, 'prompt_logprobs', prompt_logprobs)


@pytest.fixture
def ask(service):
    """The answer to a body, all of it: ask(prompt=...) -> dict."""

    def ask(**body):
        answer = client(service).post('/v1/completions', json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.fixture
def stream(service):
    """The chunks of a streamed answer, and its last line."""

    def stream(**body):
        answer = client(service).post('/v1/completions', json=body | {'stream': True})
        assert answer.status_code == 200, answer.text
        assert answer.headers['content-type'].startswith('text/event-stream')
        *lines, last, rest = answer.text.split('\n\n')
        assert (last, rest) == ('data: [DONE]', '')
        return [json.loads(line.removeprefix('data: ')) for line in lines]

    return stream


def put_together(chunks):
    """The choices of an answer from the chunks of its stream."""
    choices = {}
    for chunk in chunks:
        for new in chunk['choices']:
            old = choices.setdefault(new['index'], new | {'text': '', 'finish_reason': None})
            if old is not new and old['finish_reason']:
                raise AssertionError('a chunk after the end')
            old['text'] += new['text']
            old['finish_reason'] = new['finish_reason']
            if 'token_ids' in new and old.get('token_ids') is not new['token_ids']:
                old['token_ids'] = old['token_ids'] + new['token_ids']
            for key, values in (new['logprobs'] or {}).items():
                if old['logprobs'] is not new['logprobs']:
                    old['logprobs'][key] = old['logprobs'][key] + values
    return [choices[index] for index in sorted(choices)]


def test_an_answer_has_openai_s_form(ask, service):
    answer = ask(prompt='Hi', seed=5, max_tokens=50)
    assert answer.pop('id').startswith('cmpl-') and answer.pop('created') > 1.7e9
    choice = {'index': 0, 'text': HARD, 'finish_reason': 'stop', 'logprobs': None}
    n = len(HARD.encode())
    assert answer == {
        'object': 'text_completion',
        'model': 'demo',
        'choices': [choice],
        'usage': {'prompt_tokens': 2, 'completion_tokens': n, 'total_tokens': n + 2},
        'seed': 5,
    }


def test_what_is_asked_for_reaches_the_engine(ask, service):
    body = dict(temperature=0.5, top_k=3, seed=7, presence_penalty=1, frequency_penalty=-1)
    answer = ask(
        prompt=['a', [98, END]],
        n=2,
        max_tokens=3,
        stop='|',
        logprobs=4,
        logit_bias={'97': 2},
        **body,
    )
    settings = Settings(length=3, temperature=0.5, top_k=3, seed=7, stop_at_end=True)
    found = service.engine.requests[-4:]
    assert [(one.prompt, one.sample) for one in found] == [
        ([97], 0),
        ([97], 1),
        ([98, END], 0),
        ([98, END], 1),
    ]
    for one in found:
        assert (one.settings, one.stops, one.bias, one.n_top) == (settings, ('|',), {97: 2}, 4)
        assert (one.presence_penalty, one.frequency_penalty) == (1, -1)
    assert [choice['index'] for choice in answer['choices']] == [0, 1, 2, 3]
    assert answer['usage'] == {'prompt_tokens': 3, 'completion_tokens': 12, 'total_tokens': 15}


def test_a_seed_is_drawn_and_told(ask, stream):
    seeds = {ask(prompt='a', max_tokens=1)['seed'] for _ in range(3)}
    assert len(seeds) == 3
    chunks = stream(prompt='a', max_tokens=3)
    assert len({chunk['seed'] for chunk in chunks}) == 1
    assert len({chunk['id'] for chunk in chunks}) == 1


@pytest.mark.parametrize('echo', [False, True])
@pytest.mark.parametrize(
    'body',
    [
        dict(prompt='Hi', max_tokens=60),
        dict(prompt='Hi', max_tokens=8),  # ends within the duck
        dict(prompt='Hi 🦆', stop=['STOP', 'zz'], max_tokens=60),
        dict(prompt='Hi', stop=' the'),  # nothing is left
        dict(prompt=['é', 'b'], n=3, max_tokens=12),
        dict(prompt=list('🦆'.encode())[:2], max_tokens=4),
        dict(prompt=['empty'], max_tokens=4),
        dict(prompt=''),
    ],
    ids=str,
)
def test_a_stream_tells_what_a_whole_answer_tells(ask, stream, body, echo):
    body = body | dict(seed=1, echo=echo, logprobs=2, return_token_ids=True)
    whole = ask(**body)
    chunks = stream(stream_options={'include_usage': True}, **body)
    assert chunks[-1]['choices'] == [] and chunks[-1]['usage'] == whole['usage']
    assert all(chunk['usage'] is None for chunk in chunks[:-1])  # as OpenAI has it
    assert put_together(chunks) == whole['choices']
    without = body | {'logprobs': None, 'return_token_ids': False}
    texts = [choice['text'] for choice in whole['choices']]
    assert [choice['text'] for choice in ask(**without)['choices']] == texts


def test_an_answer_is_put_together_beside_the_loop(ask, monkeypatch):
    """Of many tokens that takes seconds, in which others are answered."""

    def json_bytes(value):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return json.dumps(value).encode()

    monkeypatch.setattr(completions, 'json_bytes', json_bytes)
    assert ask(prompt='Hi', max_tokens=4)['choices'][0]['text'] == HARD[:4]


def test_a_stream_is_sent_as_tokens_come(stream):
    texts = [chunk['choices'][0]['text'] for chunk in stream(prompt='Hi', max_tokens=60)]
    assert len(texts) == len(HARD) + 1 and all(len(text) <= 1 for text in texts)


def test_a_stream_without_usage_has_none(stream):
    assert all('usage' not in chunk and chunk['choices'] for chunk in stream(prompt='Hi'))


def test_echo_begins_with_the_prompt(ask):
    answer = ask(prompt=['Hé', 'b'], echo=True, max_tokens=5, logprobs=1)
    first, second = answer['choices']
    assert (first['text'], second['text']) == ('Hé the ', 'b the ')
    logprobs = first['logprobs']
    assert logprobs['tokens'][:3] == ['H', 'bytes:\\xc3', 'bytes:\\xa9']
    assert logprobs['token_logprobs'][:3] == [None, -1.95, -1.69]
    assert logprobs['top_logprobs'][0] is None
    assert logprobs['text_offset'] == [0, 1, 1, 2, 3, 4, 5, 6]


def test_the_offsets_are_those_of_the_same_text_with_echo(ask):
    body = dict(prompt='H🦆', max_tokens=9, logprobs=0)
    without, with_echo = ask(**body), ask(**body, echo=True)
    offsets = with_echo['choices'][0]['logprobs']['text_offset']
    assert without['choices'][0]['logprobs']['text_offset'] == offsets[5:]


@pytest.mark.parametrize('streamed', [False, True])
def test_no_tokens_and_echo_is_the_prompt_alone(ask, stream, service, streamed):
    body = dict(prompt=['ab', 'c'], echo=True, max_tokens=0, logprobs=1)
    n_before = len(service.engine.requests)
    choices = put_together(stream(**body)) if streamed else ask(**body)['choices']
    assert [choice['text'] for choice in choices] == ['ab', 'c']
    assert [choice['finish_reason'] for choice in choices] == ['length', 'length']
    assert choices[0]['logprobs']['token_logprobs'] == [None, -0.98]
    assert len(service.engine.requests) == n_before


def test_the_best_of_several_texts_are_chosen():
    """By the mean log-probability: byte b has -b / 100, and the end token -2.56."""
    texts = iter(['zzzz', '    ', 'AAAA', '~'])
    with small_service(lambda prompt: next(texts)) as service:
        body = dict(prompt='a', n=2, best_of=4, max_tokens=10)
        answer = client(service).post('/v1/completions', json=body).json()
    assert [choice['text'] for choice in answer['choices']] == ['    ', 'AAAA']
    assert [choice['index'] for choice in answer['choices']] == [0, 1]
    assert answer['usage']['completion_tokens'] == 13  # of all four
