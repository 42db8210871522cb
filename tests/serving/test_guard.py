"""Who may ask, how much, and what is answered to all others."""

import http.client
import json
import socket
import time

import pytest

from helpers.serving import client, in_thread, small_service
from serving import guard

BODY = {'prompt': 'Hi', 'max_tokens': 4}


@pytest.fixture(scope='module')
def service():
    with small_service(lambda prompt: ' there', most_bytes=1000) as service:
        yield service


@pytest.fixture(scope='module')
def address(service):
    with in_thread(service) as address:
        yield address


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers['content-type'] == 'application/json; charset=utf-8'
    error = answer.json()['error']
    assert set(error) == {'message', 'type', 'param', 'code'} and '\n' not in error['message']
    return error


@pytest.mark.parametrize(
    'host', ['localhost', 'localhost:8000', '127.0.0.1', '[::1]:80', '10.0.0.7']
)
def test_own_addresses_are_let_in(service, host):
    assert client(service).get('/v1/models', headers={'Host': host}).status_code == 200


@pytest.mark.parametrize(
    'host',
    ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '', '[', 'a b', '[::1'],
)
def test_a_name_that_was_pointed_here_is_refused(service, host):
    answer = client(service).get('/', headers={'Host': host})
    assert 'this server is not' in error_of(answer, 403)['message']


def test_any_name_will_do_with_the_key():
    """Of a proxy, a container or a cluster's service; without the key it leads to nothing."""
    host = {'Host': 'gpt2.example.org'}
    with small_service(lambda prompt: '', api_key='k') as service:
        asks = client(service)
        assert asks.get('/health', headers=host).status_code == 200
        assert asks.get('/v1/models', headers=host).status_code == 401
        key = {'Authorization': 'Bearer k'}
        assert asks.get('/v1/models', headers=host | key).status_code == 200
        other = {'Origin': 'http://other.example'}
        assert asks.get('/v1/models', headers=host | key | other).status_code == 403


def test_the_name_of_the_host_is_its_own():
    with small_service(lambda prompt: '', host='Box.lan') as service:
        for name, status in [('box.lan:8000', 200), ('box.lan.evil', 403), ('localhost', 200)]:
            answer = client(service).get('/health', headers={'Host': name})
            assert answer.status_code == status, name


@pytest.mark.parametrize(
    'headers',
    [
        {'Origin': 'https://evil.example'},
        {'Origin': 'null'},
        {'Origin': ''},
        {'Origin': 'http://127.0.0.1:9999'},
        {'Origin': 'http://127.0.0.1.evil.example'},
        {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors'},
        {'Sec-Fetch-Site': 'cross-site'},
    ],
)
def test_pages_of_other_sites_are_refused(service, headers):
    n_before = len(service.engine.requests)
    answer = client(service).post('/v1/completions', json=BODY, headers=headers)
    assert error_of(answer, 403)['type'] == 'permission_error'
    assert 'access-control-allow-origin' not in answer.headers
    assert len(service.engine.requests) == n_before


@pytest.mark.parametrize(
    'headers',
    [
        {'Origin': 'http://127.0.0.1'},
        {'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'cors'},
        {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate'},  # a link to the page
    ],
)
def test_the_own_page_is_let_in(service, headers):
    assert client(service).get('/', headers=headers).status_code == 200


def test_there_is_no_preflight(service):
    headers = {'Origin': 'https://evil.example', 'Access-Control-Request-Method': 'POST'}
    assert client(service).options('/v1/completions', headers=headers).status_code == 403
    assert client(service).options('/v1/completions').status_code == 405


def test_all_answers_have_the_headers_against_abuse(service):
    for path in ('/', '/health', '/nothing', '/v1/models'):
        headers = client(service).get(path).headers
        for name in guard.HEADERS:
            assert len(headers.get_list(name)) == 1, (path, name)


def test_the_key_opens_all_but_the_page_and_health(monkeypatch):
    compared = []
    compare = guard.hmac.compare_digest
    monkeypatch.setattr(
        guard.hmac, 'compare_digest', lambda a, b: compared.append((a, b)) or compare(a, b)
    )
    with small_service(lambda prompt: ' there', api_key='sesame') as service:
        asks = client(service)
        for path in ('/', '/health'):
            assert asks.get(path).status_code == 200
        for path in ('/metrics', '/v1/models', '/nothing', '/tokenizer_info'):
            assert error_of(asks.get(path), 401)['code'] == 'invalid_api_key'
        wrong = [
            '',
            'Bearer s\xe9same',
            'Bearer',
            'Bearer ',
            'Bearer s',
            'Bearer sesameX',
            'Basic sesame',
            'sesame',
        ]
        for header in wrong:
            headers = {'Authorization': header.encode('latin-1')}
            error_of(asks.post('/v1/completions', json=BODY, headers=headers), 401)
        for header in ('Bearer sesame', 'bearer  sesame '):
            headers = {'Authorization': header.encode('latin-1')}
            assert asks.post('/v1/completions', json=BODY, headers=headers).status_code == 200
    assert (b's', b'sesame') in compared


def test_without_a_key_any_is_let_in(service):
    headers = {'Authorization': 'Bearer EMPTY'}  # as clients send that must have one
    assert client(service).get('/v1/models', headers=headers).status_code == 200


def test_while_the_model_is_loaded_and_at_the_end_others_wait(service):
    asks = client(service)
    scheduler, service.scheduler = service.scheduler, None
    try:
        for path in ('/health', '/v1/models', '/'):
            answer = asks.get(path)
            assert 'is being loaded' in error_of(answer, 503)['message']
            assert answer.headers['retry-after']
        assert asks.get('/metrics').status_code == 200
    finally:
        service.scheduler = scheduler
    service.stopping = True
    try:
        assert (
            'the server ends' in error_of(asks.post('/v1/completions', json=BODY), 503)['message']
        )
        assert asks.get('/health').status_code == 503
    finally:
        service.stopping = False


def test_a_failure_is_one_line_that_says_nothing_of_texts(service, monkeypatch, capsys):
    def fail(*_):
        raise KeyError('a secret text')

    monkeypatch.setattr(service.encoder, 'decode', fail, raising=False)
    error = error_of(client(service).post('/detokenize', json={'tokens': [1]}), 500)
    assert error['message'] == 'the server failed (KeyError)'
    said = capsys.readouterr().err
    assert said.startswith('error: /detokenize failed: KeyError at app.py:')
    assert said.count('\n') == 1 and 'secret' not in said


def ask(address, method, path, body=None, headers=None, **more):
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request(method, path, body, headers or {}, **more)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_a_body_that_is_too_long_is_refused(address):
    status, answer = ask(address, 'POST', '/v1/completions', b'x' * 3_000_000)
    assert status == 413 and 'at most 1000 bytes' in answer['error']['message']


def test_a_body_without_a_length_is_counted_as_it_comes(address):
    blocks = (b'x' * 100_000 for _ in range(30))
    status, _ = ask(address, 'POST', '/tokenize', blocks, encode_chunked=True)
    assert status == 413
    blocks = (block for block in [b'{"prompt":', b'"a"}'])
    status, answer = ask(address, 'POST', '/tokenize', blocks, encode_chunked=True)
    assert (status, answer['tokens']) == (200, [97])


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(guard, 'BODY_SECONDS', 0.2)


@pytest.fixture
def half_sent(address):
    """A connection that has sent half of a body."""
    with socket.create_connection(address, timeout=10) as connection:
        head = f'POST /tokenize HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: 10\r\n\r\n'
        connection.sendall(head.encode() + b'{"pro')
        yield connection


def test_a_body_that_does_not_end_is_given_up(impatient, half_sent):
    start = time.monotonic()
    assert half_sent.recv(1000).startswith(b'HTTP/1.1 408')
    assert time.monotonic() - start < 2


def test_a_body_that_breaks_off_is_no_failure(service, half_sent, capsys):
    n_left = service.metrics.clients_left._value.get()
    half_sent.close()
    for _ in range(100):
        if service.metrics.clients_left._value.get() > n_left:
            break
        time.sleep(0.02)
    assert service.metrics.clients_left._value.get() == n_left + 1
    assert capsys.readouterr().err == '' and service.in_flight == 0


def test_who_asks_before_sending_is_told_no_at_once(address):
    with socket.create_connection(address, timeout=10) as connection:
        head = f'POST /tokenize HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: 5000\r\n'
        connection.sendall(f'{head}Expect: 100-continue\r\n\r\n'.encode())
        assert connection.recv(1000).startswith(b'HTTP/1.1 413')
