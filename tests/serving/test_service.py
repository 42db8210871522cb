"""Requests that wait, take too long, or are left by their clients, over real connections."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from detection.oracle import Gone
from helpers.serving import client, in_thread, small_service
from serving import completions, streaming
from serving.service import unless_gone

LONG = {'prompt': 'Hi', 'max_tokens': 200}
LETTERS = 'abcdefghij' * 20


def wait_until(ready, seconds=5):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.005)


def request_to(address, body, path='/v1/completions'):
    """A connection that has asked and not read."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(address, timeout=10)
    head = f'POST {path} HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: {len(data)}\r\n\r\n'
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('rows', [1, 2])
def test_a_client_that_leaves_frees_its_rows(stream, rows):
    """Whether its texts run or wait: of two texts there is a row for one, or for both."""
    with small_service(lambda prompt: LETTERS, rows=rows, seconds=0.02) as service:
        with in_thread(service) as address:
            with request_to(address, LONG | {'n': 2, 'stream': stream}) as connection:
                wait_until(lambda: service.scheduler.running == rows)
                if stream:
                    assert connection.recv(100)
            left = time.monotonic()
            wait_until(lambda: service.scheduler.running + service.scheduler.waiting == 0)
            assert time.monotonic() - left < 0.2
            wait_until(lambda: service.in_flight == 0)
        assert service.metrics.clients_left._value.get() == 1
        counted = service.metrics.requests.labels
        assert counted('/v1/completions', 499 if not stream else 200)._value.get() == 1


def test_who_asked_is_gone_only_when_the_work_has_ended():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.append(True)

    async def receive():
        await asyncio.sleep(0.01)
        return {'type': 'http.disconnect'}

    with pytest.raises(Gone):
        asyncio.run(unless_gone(receive, work()))
    assert ended == [True]


def test_whenever_clients_leave_a_stream_their_rows_are_free():
    """In the midst of sending, too, where asyncio.wait_for would lose some."""
    with small_service(lambda prompt: LETTERS, rows=64, seconds=0.005) as service:
        with in_thread(service) as address:
            connections = [request_to(address, LONG | {'stream': True, 'n': 2}) for _ in range(32)]
            for connection in connections:
                connection.recv(1)
                connection.close()
            left = time.monotonic()
            wait_until(lambda: service.scheduler.running + service.scheduler.waiting == 0)
            assert time.monotonic() - left < 0.2


def test_others_go_on_when_a_client_leaves():
    with small_service(lambda prompt: LETTERS, rows=2, seconds=0.005) as service:
        with in_thread(service) as address, concurrent.futures.ThreadPoolExecutor() as pool:
            connection = http.client.HTTPConnection(*address, timeout=10)
            other = request_to(address, LONG)
            wait_until(lambda: service.scheduler.running == 1)
            connection.request('POST', '/v1/completions', json.dumps(LONG))
            answer = pool.submit(connection.getresponse)
            wait_until(lambda: service.scheduler.running == 2)
            other.close()
            assert json.loads(answer.result().read())['choices'][0]['text'] == LETTERS
            connection.close()


def test_what_takes_too_long_is_ended():
    with small_service(lambda prompt: LETTERS, seconds=0.02, most_seconds=0.3) as service:
        start = time.monotonic()
        answer = client(service).post('/v1/completions', json=LONG)
        assert answer.status_code == 504 and time.monotonic() - start < 2
        assert answer.json()['error']['message'] == 'the answer would take more than 0.3 seconds'
        assert answer.headers['x-should-retry'] == 'false'
        wait_until(lambda: service.scheduler.running == 0)


def test_a_stream_that_takes_too_long_ends_with_an_error():
    with small_service(lambda prompt: LETTERS, seconds=0.02, most_seconds=0.3) as service:
        answer = client(service).post('/v1/completions', json=LONG | {'stream': True})
        *chunks, last, rest = answer.text.split('\n\n')
        assert answer.status_code == 200 and len(chunks) > 3 and rest == ''
        error = json.loads(last.removeprefix('data: '))['error']
        assert error['message'].startswith('the answer would take') and 'DONE' not in answer.text
        wait_until(lambda: service.scheduler.running == 0)


def test_more_than_may_wait_are_refused():
    with small_service(lambda prompt: LETTERS, rows=1, seconds=0.01, most_waiting=2) as service:
        with in_thread(service) as address, contextlib.ExitStack() as stack:
            for n in range(1, 4):  # one runs, two wait
                stack.enter_context(request_to(address, LONG))
                wait_until(lambda n=n: service.scheduler.running + service.scheduler.waiting == n)
                if n == 1:
                    wait_until(lambda: service.scheduler.running == 1)
            answer = client(service).post('/v1/completions', json=LONG | {'stream': True})
            assert answer.status_code == 429 and answer.headers['retry-after'] == '1'
            assert answer.json()['error']['type'] == 'rate_limit_error'


def test_what_the_engine_refuses_is_refused(monkeypatch):
    with small_service(lambda prompt: '') as service:

        def submit(*_):
            raise ValueError('not this')

        monkeypatch.setattr(service.scheduler, 'submit', submit)
        answer = client(service).post('/v1/completions', json=LONG)
        assert (answer.status_code, answer.json()['error']['message']) == (400, 'not this')


@pytest.mark.parametrize('stream', [False, True])
def test_a_failure_of_the_engine_is_told(stream, monkeypatch, capsys):
    with small_service(lambda prompt: LETTERS, seconds=0.01) as service:

        def fail(self):
            raise RuntimeError('of the engine')

        asks = client(service)
        monkeypatch.setattr('helpers.serving.ByteRows.step', fail)
        answer = asks.post('/v1/completions', json=LONG | {'stream': stream})
        assert answer.status_code == 500
        assert answer.json()['error']['message'] == 'the server failed (RuntimeError)'
        monkeypatch.undo()
        assert asks.post('/v1/completions', json=LONG).status_code == 200
    assert capsys.readouterr().err.count('\n') == 1


def test_what_runs_when_the_server_closes_is_told_so():
    with small_service(lambda prompt: LETTERS, seconds=0.02) as service:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            stream = LONG | {'stream': True}
            answers = [
                pool.submit(client(service).post, '/v1/completions', json=body)
                for body in (LONG, stream)
            ]
            wait_until(lambda: service.scheduler.running == 2)
            service.close()
            whole, streamed = (answer.result() for answer in answers)
    assert whole.status_code == 503 and 'the server ends' in whole.text
    assert streamed.status_code == 200 and 'the server ends' in streamed.text.split('\n\n')[-2]


class Scores:
    """Log-probabilities that are told when the test lets them."""

    def __init__(self):
        self.begun, self.allowed, self.ended = [], threading.Semaphore(0), []

    def __call__(self, scorer, tokens, n_top, gone):
        self.begun.append(bytes(tokens).decode())
        while not self.allowed.acquire(timeout=0.01):
            if gone():
                self.ended.append(bytes(tokens).decode())
                raise Gone
        return [0.0] * len(tokens), [[]] * len(tokens)


@pytest.fixture
def scores(monkeypatch):
    scores = Scores()
    monkeypatch.setattr(completions, 'prompt_logprobs', scores)
    return scores


def scored(*prompts):
    return {'prompt': prompts, 'echo': True, 'max_tokens': 0, 'logprobs': 0}


def test_scores_are_taken_in_turn_and_not_for_those_who_left(scores):
    with small_service(lambda prompt: '') as service, in_thread(service) as address:
        first = request_to(address, scored('a1', 'a2'))
        wait_until(lambda: scores.begun == ['a1'])
        second = request_to(address, scored('b'))
        wait_until(lambda: service.n_scoring == 2)
        third = request_to(address, scored('c'))
        wait_until(lambda: service.n_scoring == 3)
        second.close()
        wait_until(lambda: service.n_scoring == 2)
        scores.allowed.release()
        wait_until(lambda: scores.begun == ['a1', 'c'])  # a2 has its turn after it
        third.close()
        wait_until(lambda: scores.ended == ['c'])
        scores.allowed.release(2)
        assert b'200 OK' in first.recv(1000)
        first.close()
        assert scores.begun == ['a1', 'c', 'a2']


def test_scores_end_with_the_server(scores):
    with small_service(lambda prompt: '') as service:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(client(service).post, '/v1/completions', json=scored('a'))
            wait_until(lambda: scores.begun == ['a'])
            service.close()
            assert scores.ended == ['a']
            assert answer.result().status_code == 503


def test_scores_wait_no_longer_than_a_request_may_take(scores):
    with small_service(lambda prompt: '', most_seconds=0.2) as service:
        assert client(service).post('/v1/completions', json=scored('a')).status_code == 504
        wait_until(lambda: scores.ended == ['a'])


def test_more_scores_than_may_wait_are_refused(scores):
    with small_service(lambda prompt: '', most_waiting=1) as service:
        with in_thread(service) as address, request_to(address, scored('a')):
            wait_until(lambda: service.n_scoring == 1)
            assert client(service).post('/v1/completions', json=scored('b')).status_code == 429


def test_a_prompt_that_cannot_be_scored_is_refused(monkeypatch):
    def fail(*_, gone):
        raise ValueError('no scores of this')

    monkeypatch.setattr(completions, 'prompt_logprobs', fail)
    with small_service(lambda prompt: '') as service:
        answer = client(service).post('/v1/completions', json=scored('a'))
        assert (answer.status_code, answer.json()['error']['param']) == (400, 'prompt')


def test_a_client_that_does_not_read_is_given_up(monkeypatch):
    """Its window is full: what is sent waits in the server."""
    monkeypatch.setattr(streaming, 'SEND_SECONDS', 0.2)
    body = LONG | {'stream': True, 'logprobs': 20, 'return_token_ids': True, 'n': 64}
    with small_service(lambda prompt: LETTERS, rows=64) as service, in_thread(service) as address:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        data = json.dumps(body).encode()
        head = f'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}'
        connection.sendall(head.encode() + b'\r\n\r\n' + data)
        wait_until(lambda: service.in_flight == 1)
        wait_until(lambda: service.in_flight == 0, 20)
        assert service.metrics.clients_left._value.get() == 1
        connection.close()
