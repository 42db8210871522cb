"""The server's process: how it begins, how it ends, and what of it survives."""

import json
import signal
import urllib.request

import pytest

from helpers.serving import running_server

LONG = {'prompt': 'Peace', 'max_tokens': 250, 'seed': 1, 'stream': True, 'n': 4}


def post(address, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(f'{address}/v1/completions', data)
    return urllib.request.urlopen(request, timeout=60)


def text_of(events):
    """{index: text} of a stream's events, which must have an end."""
    *chunks, done = [line for line in events.split('\n') if line]
    assert done == 'data: [DONE]'
    texts = {}
    for chunk in chunks:
        for choice in json.loads(chunk.removeprefix('data: '))['choices']:
            texts[choice['index']] = texts.get(choice['index'], '') + choice['text']
    return texts


@pytest.mark.parametrize(
    'number', [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_what_runs_is_answered_before_the_server_leaves(number):
    with running_server('--rows', '2') as server:
        with post(server.address, LONG) as whole:  # two of its four texts wait for a row
            expected = text_of(whole.read().decode())
        with post(server.address, LONG) as answer:
            begun = answer.readline()
            server.process.send_signal(number)
            assert text_of((begun + answer.read()).decode()) == expected
        _, errors = server.process.communicate(timeout=20)
    assert 'Traceback' not in errors
    assert server.process.returncode == 0


@pytest.mark.slow
def test_a_port_that_is_used_is_one_line(run_script):
    with running_server() as server:
        port = server.address.rpartition(':')[2]
        second = run_script('src/serve.py', '--model_name', 'demo', '--port', port)
        assert (second.returncode, second.stdout) == (2, '')
        assert f'port {port}' in second.stderr and second.stderr.count('\n') == 1
        assert post(server.address, {'max_tokens': 2}).status == 200


@pytest.mark.slow
def test_after_kill_9_it_starts_again_at_the_same_port():
    port = []
    for _ in range(3):
        with running_server(*port) as server:
            port = ['--port', server.address.rpartition(':')[2]]
            with post(server.address, LONG) as answer:
                assert answer.readline().startswith(b'data: ')
                server.process.kill()
                server.process.wait()
            assert server.process.returncode == -signal.SIGKILL
