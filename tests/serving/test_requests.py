"""Every field of a body is checked, and none is ignored."""

import json

import pytest

from helpers.texts import byte_encoder
from serving import requests
from serving.errors import Refused, json_bytes
from support.settings import SAMPLING

ENCODER, END, N_CTX = byte_encoder(), 256, 64


def read(most_texts=256, **fields):
    data = json.dumps({'prompt': 'ab'} | fields).encode()
    return requests.read_completion(data, 'demo', ENCODER, N_CTX, most_texts)


def refused(function, *arguments, **more):
    with pytest.raises(Refused) as caught:
        function(*arguments, **more)
    assert '\n' not in caught.value.message and len(caught.value.message) <= 300
    return caught.value


def test_what_is_not_given_is_as_with_openai():
    asked = read()
    assert asked.prompts == [[97, 98]]
    assert (asked.max_tokens, asked.n, asked.best_of, asked.logprobs) == (16, 1, 1, None)
    assert not (asked.stream or asked.echo or asked.include_usage or asked.return_token_ids)
    settings = asked.settings
    assert (settings.length, settings.temperature, settings.top_p) == (16, 1, 1)
    assert settings.stop_at_end and settings.seed >= 0
    assert (asked.stops, asked.bias, asked.presence_penalty, asked.frequency_penalty) == (
        (),
        {},
        0,
        0,
    )


def test_null_is_as_if_it_were_not_there():
    fields = dict.fromkeys(requests.FIELDS)
    data = json.dumps(fields).encode()
    asked = requests.read_completion(data, 'demo', ENCODER, N_CTX, 1)
    assert asked.prompts == [[END]]
    assert asked._replace(settings=None) == read(prompt='')._replace(settings=None)


def test_every_field_arrives():
    asked = read(
        model='demo',
        prompt=['a', 'b'],
        max_tokens=5,
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        min_p=0.125,
        typical_p=0.75,
        repetition_penalty=1.5,
        n=2,
        best_of=2,
        stream=True,
        stream_options={'include_usage': True},
        logprobs=20,
        echo=True,
        stop=['x', 'y'],
        seed=2**63 - 1,
        presence_penalty=-2,
        frequency_penalty=2,
        logit_bias={'97': 5, '98': -100, '99': 100},
        user='me',
        return_token_ids=True,
    )
    wanted = dict(length=5, temperature=0.5, top_p=0.25, top_k=3, seed=2**63 - 1, stop_at_end=True)
    wanted |= dict(min_p=0.125, typical_p=0.75, repetition_penalty=1.5)
    assert asked.settings.values() == wanted
    assert asked.prompts == [[97], [98]]
    assert asked.bias == {97: 5, 98: requests.FORBIDDEN, 99: 100}
    assert requests.FORBIDDEN < -1000
    assert asked.stops == ('x', 'y')
    named = asked._replace(settings=None, prompts=None, bias=None, stops=None)
    assert named == (None, None, 5, 2, 2, True, True, 20, True, None, -2, 2, None, True)


@pytest.mark.parametrize(
    'prompt, tokens',
    [
        ('é', [[195, 169]]),
        ('', [[END]]),
        ('a<|endoftext|>b', [[97, END, 98]]),
        (['', 'b'], [[END], [98]]),
        ([1, 2, END], [[1, 2, END]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_prompts_are_texts_or_ids_or_lists_of_these(prompt, tokens):
    assert read(prompt=prompt).prompts == tokens


@pytest.mark.parametrize(
    'fields, param',
    [
        (dict(prompt=3), 'prompt'),
        (dict(prompt={}), 'prompt'),
        (dict(prompt=[]), 'prompt'),
        (dict(prompt=[[]]), 'prompt'),
        (dict(prompt=[1, 'a']), 'prompt'),
        (dict(prompt=['a', 1]), 'prompt'),
        (dict(prompt=[True]), 'prompt'),
        (dict(prompt=[[1, [2]]]), 'prompt'),
        (dict(prompt=[1, 1.0]), 'prompt'),
        (dict(prompt=[257]), 'prompt'),
        (dict(prompt=[-1]), 'prompt'),
        (dict(prompt=[10**400]), 'prompt'),
        (dict(prompt='\ud800'), 'prompt'),
        (dict(prompt='a' * (N_CTX + 1), max_tokens=1), 'prompt'),
        (dict(prompt='a' * (N_CTX + 1), max_tokens=0, echo=True), 'prompt'),
        (dict(prompt='a' * 60, max_tokens=6), 'prompt'),
        (dict(prompt=['a'] * 3, n=100), 'n'),
        (dict(prompt=['a'] * 257), 'prompt'),
        (dict(max_tokens=0), 'max_tokens'),
        (dict(max_tokens=-1), 'max_tokens'),
        (dict(max_tokens=1.0), 'max_tokens'),
        (dict(max_tokens='3'), 'max_tokens'),
        (dict(max_tokens=10**400), 'prompt'),
        (dict(n=0), 'n'),
        (dict(n=257), 'n'),
        (dict(n=10**4000), 'n'),
        (dict(n=2, best_of=1), 'best_of'),
        (dict(best_of=257), 'best_of'),
        (dict(best_of=2, stream=True), 'best_of'),
        (dict(stream=1), 'stream'),
        (dict(stream_options={}), 'stream_options'),
        (dict(stream=True, stream_options=[]), 'stream_options'),
        (dict(stream=True, stream_options={'include': True}), 'stream_options'),
        (dict(stream=True, stream_options={'include_usage': 1}), 'include_usage'),
        (dict(logprobs=21), 'logprobs'),
        (dict(logprobs=-1), 'logprobs'),
        (dict(logprobs=True), 'logprobs'),
        (dict(echo='yes'), 'echo'),
        (dict(stop=5), 'stop'),
        (dict(stop=['a', 5]), 'stop'),
        (dict(stop=['a'] * 17), 'stop'),
        (dict(stop=''), 'stop'),
        (dict(stop='a' * 1001), 'stop'),
        (dict(stop='\udfff'), 'stop'),
        (dict(seed=-1), 'seed'),
        (dict(seed=2**63), 'seed'),
        (dict(seed=0.5), 'seed'),
        (dict(suffix=''), 'suffix'),
        (dict(presence_penalty=2.01), 'presence_penalty'),
        (dict(frequency_penalty='1'), 'frequency_penalty'),
        (dict(frequency_penalty=False), 'frequency_penalty'),
        (dict(logit_bias=[1]), 'logit_bias'),
        (dict(logit_bias={'a': 1}), 'logit_bias'),
        (dict(logit_bias={'257': 1}), 'logit_bias'),
        (dict(logit_bias={'9' * 5000: 1}), 'logit_bias'),
        (dict(logit_bias={'٣': 1}), 'logit_bias'),
        (dict(logit_bias={'1': 101}), 'logit_bias'),
        (dict(logit_bias={'1': None}), 'logit_bias'),
        (dict(user=3), 'user'),
        (dict(temperature=-1), 'temperature'),
        (dict(temperature=1e31), 'temperature'),
        (dict(temperature='hot'), 'temperature'),
        (dict(temperature=10**4000), 'temperature'),
        (dict(top_p=0), 'top_p'),
        (dict(top_k=-1), 'top_k'),
        (dict(min_p=2), 'min_p'),
        (dict(typical_p=0), 'typical_p'),
        (dict(repetition_penalty=0), 'repetition_penalty'),
        (dict(return_token_ids='no'), 'return_token_ids'),
        (dict(min_tokens=3), 'min_tokens'),
        (dict(messages=[]), 'messages'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_done_is_refused_by_the_name_of_its_field(fields, param):
    error = refused(read, **fields)
    assert (error.status, error.param) == (400, param)


def test_all_sampling_parameters_are_fields():
    for name in SAMPLING:
        assert refused(read, **{name: 'x'}).param == name


def test_another_model_is_not_found():
    error = refused(read, model='gpt-4')
    assert (error.status, error.param, error.code) == (404, 'model', 'model_not_found')
    assert refused(read, model=5).status == 404


def test_a_field_of_a_long_name_is_refused_by_the_beginning_of_it():
    error = refused(read, **{'a\n' * 10**5: 1})
    assert (len(error.message), len(error.param)) == (300, 300) and '\n' not in error.param


def test_a_number_that_truncates_nothing_fits_the_vocabulary():
    assert read(top_k=10**12).settings.top_k == ENCODER.n_vocab


@pytest.mark.parametrize(
    'data, message',
    [
        (b'', 'not JSON'),
        (b'{"prompt": "a"', 'not JSON'),
        (b'\xff', 'byte 0 of the body is not UTF-8'),
        (b'[]', 'not a JSON object'),
        (b'{"temperature": NaN}', 'NaN'),
        (b'{"temperature": -Infinity}', 'Infinity'),
        (b'{"temperature": 1e999}', 'temperature must be'),
        (b'{"seed": ' + b'9' * 5000 + b'}', 'not JSON'),
        (b'{"prompt": ' + b'[' * 100_000, 'too many levels'),
        (b'{"prompt": "' + b'\\ud83e' + b'"}', 'lone surrogate'),
        (b'{"\\ud83e": 1}', 'there is no field'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_such_json_is_refused(data, message):
    error = refused(requests.read_completion, data, 'demo', ENCODER, N_CTX, 1)
    assert error.status == 400 and message in error.message
    assert json.loads(json_bytes(error.body()))['error']['message']


@pytest.mark.parametrize('levels', [50, 500, 900, 990, 2000])
@pytest.mark.parametrize('field', ['prompt', 'stop', 'temperature', 'logit_bias', 'user'])
def test_nested_lists_are_refused_however_deep(field, levels):
    data = b'{"%s": %s%s}' % (field.encode(), b'[' * levels, b']' * levels)
    assert refused(requests.read_completion, data, 'demo', ENCODER, N_CTX, 1).status == 400


def test_texts_and_tokens_of_the_other_paths():
    assert requests.read_text(b'{"text": "a"}', 'text') == 'a'
    assert requests.read_text(b'{"prompt": "", "model": "x"}', 'prompt', 'model') == ''
    assert requests.read_tokens(b'{"tokens": [1, 256]}', ENCODER) == [1, 256]
    for data in (b'{}', b'{"text": 1}', b'{"text": "a", "more": 1}', b'{"text": "\\ud800"}'):
        assert refused(requests.read_text, data, 'text').status == 400
    for data in (b'{}', b'{"tokens": "a"}', b'{"tokens": [257]}', b'{"tokens": [true]}'):
        assert refused(requests.read_tokens, data, ENCODER).status == 400
