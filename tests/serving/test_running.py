"""How the server begins and ends, in this process, without a model."""

import concurrent.futures
import os
import signal
import socket
import threading
import time

import httpx
import pytest

from helpers.serving import in_thread, small_service
from serving import running
from support import stopping

LETTERS = 'abcdefghij' * 5
LONG = {'prompt': 'Hi', 'max_tokens': 50}


def test_a_port_is_bound_at_once_and_by_one_alone():
    with running.listening('127.0.0.1', 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ValueError, match=f'another program listens at port {port} of'):
            running.listening('127.0.0.1', port)
        socket.create_connection(('127.0.0.1', port)).close()  # and it can be asked already
    running.listening('127.0.0.1', port).close()


def test_an_address_that_is_not_ours_is_one_line():
    with pytest.raises(ValueError, match='there is no address no.such.host.invalid here'):
        running.listening('no.such.host.invalid', 0)
    with pytest.raises(ValueError, match='cannot listen at port 0 of 192.0.2.1: '):
        running.listening('192.0.2.1', 0)


def test_errors_of_the_block_are_not_those_of_the_port():
    with pytest.raises(OSError, match='of the disk'), running.listening('127.0.0.1', 0):
        raise OSError(28, 'of the disk')


HEALTH = b'GET /health HTTP/1.1\r\nHost: localhost\r\n'


@pytest.mark.parametrize(
    'asked, answered',
    [
        (HEALTH, b''),
        (HEALTH + b'\r\nGET /hea', b'200 OK'),
        (HEALTH + b'Transfer-Encoding: chunked\r\n\r\n', b'200 OK'),
        (HEALTH.replace(b'GET', b'PUT') + b'Content-Length: 99999\r\n\r\n', b'405 Method'),
    ],
    ids=['a request', 'a second request', 'chunks of a body', 'a body that was refused'],
)
def test_a_client_that_does_not_come_to_the_end_is_hung_up(monkeypatch, asked, answered):
    """Though it sends a little now and then."""
    monkeypatch.setattr(running, 'IDLE_SECONDS', 0.2)
    with small_service(lambda prompt: '') as service, in_thread(service) as address:
        with socket.create_connection(address, timeout=0.05) as connection:
            connection.sendall(asked)
            end, read = time.monotonic() + 5, b''
            while time.monotonic() < end:
                try:
                    if b'chunked' not in asked or answered in read:
                        connection.sendall(b'1\r\na\r\n' if b'chunked' in asked else b'a')
                    more = connection.recv(10_000)
                except TimeoutError:
                    continue
                except OSError:
                    break
                if not more:
                    break
                read += more
            assert time.monotonic() < end and answered in read


def test_a_body_that_breaks_after_the_answer_is_not_logged(caplog):
    with small_service(lambda prompt: '') as service, in_thread(service) as address:
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(HEALTH + b'Transfer-Encoding: chunked\r\n\r\n')
            answer = b''
            while b'"ok"}' not in answer:
                answer += connection.recv(10_000)
            connection.sendall(b'secret\r\n')
            assert connection.recv(10_000) == b''
    assert not caplog.records


def test_a_client_that_asks_and_does_not_read_is_hung_up(monkeypatch):
    monkeypatch.setattr(running, 'IDLE_SECONDS', 0.2)
    with small_service(lambda prompt: '') as service, in_thread(service) as address:
        service.name = 'a' * 10_000_000  # more than the system keeps for a client
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(HEALTH.replace(b'/health', b'/v1/models') + b'\r\n')
            time.sleep(1)
            read = sum(map(len, iter(lambda: connection.recv(1_000_000), b'')))
            assert 0 < read < 10_000_000


def test_a_client_that_waits_for_its_text_is_not_hung_up(monkeypatch):
    monkeypatch.setattr(running, 'IDLE_SECONDS', 0.05)
    with small_service(lambda prompt: LETTERS, seconds=0.02) as service:
        with in_thread(service) as (host, port):
            answer = httpx.post(f'http://{host}:{port}/v1/completions', json=LONG)
    assert answer.json()['choices'][0]['text'] == LETTERS


def signals(*numbers, after=0.3):
    """Send signals to this process, one after the other."""

    def send():
        for number in numbers:
            time.sleep(after)
            os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


def asking(pool, service, address, body):
    """A request that has arrived."""
    n, end = service.in_flight, time.monotonic() + 30
    answer = pool.submit(httpx.post, f'{address}/v1/completions', json=body, timeout=60)
    while service.in_flight == n:
        assert time.monotonic() < end
        time.sleep(0.01)
    return answer


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('stream', [False, True])
def test_what_runs_and_waits_is_answered_before_the_end(number, stream):
    """There is one row: of the two requests one waits. Those that come then are refused."""
    with small_service(lambda prompt: LETTERS, rows=1, seconds=0.02) as service:
        pool = stack_of_threads()
        with pool, stopping.stopping_now(), in_thread(service) as (host, port):
            address = f'http://{host}:{port}'
            before = [asking(pool, service, address, LONG | {'stream': stream}) for _ in range(2)]
            signals(number)
            late = pool.submit(late_one, service, address)
            running.serve_until_signal(service, threading.current_thread())
            assert service.in_flight == 0 and late.result() == 503
            texts = [answer.result().text for answer in before]
    ends = ['data: [DONE]\n\n' in text if stream else LETTERS in text for text in texts]
    assert ends == [True, True]


def stack_of_threads():
    return concurrent.futures.ThreadPoolExecutor()


def late_one(service, address):
    end = time.monotonic() + 20
    while not service.stopping:
        assert time.monotonic() < end
        time.sleep(0.01)
    return httpx.post(f'{address}/v1/completions', json=LONG).status_code


def test_a_second_signal_ends_at_once():
    with small_service(lambda prompt: LETTERS, rows=1, seconds=0.1) as service:
        with stack_of_threads() as pool, in_thread(service) as (host, port):
            answer = asking(pool, service, f'http://{host}:{port}', LONG)
            signals(signal.SIGINT, signal.SIGINT)
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                running.serve_until_signal(service, threading.current_thread())
            assert time.monotonic() - start < 2
            service.close()
            assert answer.result().status_code == 503


def test_the_end_waits_no_longer_than_a_request_may_take():
    with small_service(lambda prompt: LETTERS, seconds=0.1, most_seconds=60) as service:
        with stack_of_threads() as pool, in_thread(service) as (host, port):
            answer = asking(pool, service, f'http://{host}:{port}', LONG)
            while not service.scheduler.running:
                time.sleep(0.01)
            service.most_seconds = 0.2  # from now on
            signals(signal.SIGINT)
            running.serve_until_signal(service, threading.current_thread())
            assert service.in_flight == 1
            service.close()
            assert answer.result().status_code == 503


def test_a_thread_that_has_died_ends_the_program():
    dead = threading.Thread(target=int)
    dead.start()
    dead.join()
    with (
        small_service(lambda prompt: '') as service,
        pytest.raises(RuntimeError, match='has ended'),
    ):
        running.serve_until_signal(service, dead)
