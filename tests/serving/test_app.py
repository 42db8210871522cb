"""The paths beside completions."""

import json
import urllib.parse

import pytest

from detection.oracle import Oracle
from helpers.serving import END, client, small_service
from helpers.stub_scorer import StubScorer
from serving.app import Handlers


@pytest.fixture(scope='module')
def service():
    with small_service(lambda prompt: ' there') as service:
        service.scorer = StubScorer()
        service.oracle = Oracle(service.scorer)
        yield service


@pytest.fixture
def asks(service):
    return client(service)


def test_the_page_is_one_file_with_a_policy_of_its_own(asks):
    answer = asks.get('/')
    assert answer.headers['content-type'] == 'text/html; charset=utf-8'
    assert answer.text.startswith('<!DOCTYPE html>')
    assert len(answer.headers.get_list('content-security-policy')) == 1


def test_health_and_models(asks):
    assert asks.get('/health').json() == {'status': 'ok'}
    about = {'id': 'demo', 'object': 'model', 'created': 0, 'owned_by': 'local'}
    about |= {'max_model_len': 256}
    assert asks.get('/v1/models').json() == {'object': 'list', 'data': [about]}
    assert asks.get('/v1/models/demo').json() == about
    answer = asks.get('/v1/models/other')
    assert (answer.status_code, answer.json()['error']['code']) == (404, 'model_not_found')


def test_a_model_of_any_name_is_found():
    with small_service(lambda prompt: '') as service:
        service.name = name = 'my 模型?'
        found = client(service).get(f'/v1/models/{urllib.parse.quote(name)}')
    assert found.json()['id'] == name


def test_tokens_of_texts_and_texts_of_tokens(asks):
    answer = asks.post('/tokenize', json={'prompt': 'é<|endoftext|>'}).json()
    assert answer == {'tokens': [195, 169, END], 'count': 3, 'max_model_len': 256}
    for added in (False, True):  # as lm-evaluation-harness sends
        body = {'prompt': '', 'add_special_tokens': added}
        assert asks.post('/tokenize', json=body).json()['tokens'] == []
    answer = asks.post('/detokenize', json={'tokens': [195, 169, END, 195]})
    assert answer.json() == {'prompt': 'é<|endoftext|>\ufffd'}


def test_what_lm_eval_asks_of_the_tokenizer(asks):
    info = asks.get('/tokenizer_info').json()
    assert info['eos_token'] == info['bos_token'] == '<|endoftext|>'
    assert (info['eos_token_id'], info['vocab_size']) == (END, 257)
    found = asks.post('/tokenize', json={'prompt': info['eos_token']}).json()
    assert found['tokens'][0] == info['eos_token_id']


def test_chat_is_refused_with_what_to_do(asks):
    answer = asks.post('/v1/chat/completions', json={'messages': []})
    assert answer.status_code == 404 and '/v1/completions' in answer.json()['error']['message']


@pytest.mark.parametrize(
    'method, path, status',
    [
        ('GET', '/nothing', 404),
        ('GET', '/v1/completions/', 404),
        ('GET', '//', 404),
        ('GET', '/v1/completions', 405),
        ('POST', '/health', 405),
        ('PUT', '/', 405),
        ('BREW', '/', 405),
        ('POST', '/v1/models/demo', 405),
        ('HEAD', '/health', 200),
        ('HEAD', '/', 200),
    ],
)
def test_what_is_not_there_is_an_error_of_one_line(asks, method, path, status):
    answer = asks.request(method, f'http://127.0.0.1{path}')
    assert answer.status_code == status
    if status == 405:
        assert answer.headers['allow'] in answer.json()['error']['message']


def test_surprisal_and_the_oracle_tell_of_a_text(asks):
    text = 'é <b>'
    answer = asks.post('/surprisal', json={'text': text})
    assert answer.status_code == 200 and ''.join(answer.json()['tokens']['text']) == text
    answer = asks.post('/detect', json={'text': text})
    assert answer.status_code == 200 and answer.json()['too_short']
    for path in ('/surprisal', '/detect'):
        error = asks.post(path, json={'text': ''})
        assert (error.status_code, error.json()['error']['param']) == (400, 'text')


@pytest.mark.parametrize('field', ['prompt', 'temperature', 'user'])
def test_no_depth_of_json_is_a_failure(asks, field):
    """What can be read, and not be quoted in an error, too."""
    for levels in [*range(900, 1000, 9), 5000]:
        data = f'{{"{field}": {"[" * levels}{"]" * levels}}}'
        assert asks.post('/v1/completions', content=data).status_code == 400, levels


def test_what_is_too_deep_to_be_quoted_is_refused(asks, monkeypatch):
    """JSON that could be read, as some versions of Python may."""

    def quote(*_):
        raise RecursionError

    monkeypatch.setattr('serving.requests.read_tokens', quote)
    answer = asks.post('/detokenize', json={'tokens': []})
    assert (answer.status_code, 'levels' in answer.text) == (400, True)


def test_an_error_may_quote_what_is_no_character(asks):
    answer = asks.post('/v1/completions', content=b'{"\\ud83e": 1}')
    assert answer.status_code == 400
    assert json.loads(answer.content)['error']['param'] == '\ud83e'


def test_the_page_knows_whether_there_is_a_detector(service, monkeypatch):
    told = []
    monkeypatch.setattr(
        'serving.page.page', lambda *facts, with_detector: told.append((*facts, with_detector))
    )
    Handlers(service)
    assert told == [('demo', 256, END, False)]
