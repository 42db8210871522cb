"""Whatever a client sends, the answer is right or an error object of one line, never status 500."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.oracle import Oracle
from helpers.serving import client, running_server, small_service
from scoring.scorer import Scorer

fuzzed = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
POSTS = ('/v1/completions', '/tokenize', '/detokenize', '/surprisal', '/detect')
RIGHT = {
    '/v1/completions': {'model': 'demo', 'prompt': 'Peace', 'max_tokens': 2, 'seed': 1},
    '/tokenize': {'prompt': 'Peace'},
    '/detokenize': {'tokens': [1, 2, 3]},
    '/surprisal': {'text': 'Peace and war'},
    '/detect': {'text': 'Peace and war'},
}
FIELDS = (
    *('model', 'prompt', 'suffix', 'user', 'max_tokens', 'n', 'best_of', 'stream', 'logprobs'),
    *('stream_options', 'echo', 'stop', 'seed', 'presence_penalty', 'frequency_penalty'),
    *('logit_bias', 'top_p', 'temperature', 'top_k', 'min_p', 'typical_p', 'repetition_penalty'),
    *('return_token_ids', 'text', 'tokens', 'unheard_of'),
)
WORDS = ('', 'demo', '<|endoftext|>', '\ud800', '🙂', '007', '٣', 'include_usage', 'a\0b', '\n')
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 2**63, 2**31, int('9' * 4300)]),
    st.floats(),
    st.floats(0, 2),
    st.text(max_size=8),
    st.sampled_from(WORDS),
)
KEYS = st.text(max_size=3) | st.sampled_from(['include_usage', '1', '٣', '\ud800'])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope='module')
def http(byte_models):
    """A client of a server in this process: what it writes is made up, scores are a model's."""
    with Scorer('bytes', str(byte_models)) as scorer:
        more = dict(n_ctx=64, scorer=scorer, oracle=Oracle(scorer))
        with small_service(lambda prompt: 'so be it', **more) as service:
            yield client(service)


@pytest.fixture(scope='module')
def post(http):
    return http.post


def check(answer):
    """An answer is right, or an error as it should be. Returns its status."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        check_error(answer.json()['error'])
        assert list(answer.json()) == ['error']
    elif 'event-stream' in answer.headers['Content-Type']:
        *events, done = [line for line in answer.text.split('\n\n') if line]
        assert done == 'data: [DONE]'
        for event in events:
            chunk = json.loads(event.removeprefix('data: '))
            if 'error' in chunk:
                check_error(chunk['error'])
    else:
        assert isinstance(answer.json(), dict)
    return answer.status_code


def check_error(error):
    assert set(error) == {'message', 'type', 'param', 'code'}
    message = error['message']
    assert len(message.splitlines()) == 1 and len(message) < 1000
    assert 'Traceback' not in message and error['type']


@fuzzed
@given(path=st.sampled_from(POSTS), data=st.data())
def test_right_bodies_with_some_fields_replaced(post, path, data):
    strange = data.draw(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
    check(post(path, content=json.dumps(RIGHT[path] | strange)))


@pytest.mark.parametrize('field', FIELDS[:23])
def test_each_field_of_a_completion_with_any_value(post, field):
    statuses = set()

    @settings(fuzzed, max_examples=10)
    @given(ANYTHING)
    def any_value(value):
        body = RIGHT['/v1/completions'] | {field: value}
        statuses.add(check(post('/v1/completions', content=json.dumps(body))))

    any_value()
    assert 200 in statuses  # null is as if it were not there
    assert statuses & {400, 404}


@fuzzed
@given(path=st.sampled_from(POSTS), body=ANYTHING)
def test_any_json(post, path, body):
    check(post(path, content=json.dumps(body)))


@fuzzed
@given(path=st.sampled_from(POSTS), body=st.binary(max_size=200))
def test_any_bytes(post, path, body):
    assert check(post(path, content=body)) in (400, 404)


@fuzzed
@given(path=st.sampled_from(POSTS), data=st.data())
def test_right_bodies_that_are_cut_or_have_a_byte_replaced(post, path, data):
    body = bytearray(json.dumps(RIGHT[path]).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        del body[at:]
    else:
        body[at] = data.draw(st.integers(0, 255))
    check(post(path, content=bytes(body)))


@pytest.mark.parametrize(
    'body',
    [
        b'[' * 100_000,
        b'{"a":' * 50_000,
        b'{"prompt":"a","n":' + b'9' * 4300 + b'}',
        b'{"prompt":["a","b","c"],"n":' + b'9' * 4300 + b'}',
        b'{"prompt":"a","seed":' + b'9' * 5000 + b'}',
        b'{"prompt":"a","temperature":1e999}',
        b'{"prompt":"a","temperature":NaN}',
        '{"prompt":"a"}'.encode('utf-16'),
        b'{"prompt":"a"} {"prompt":"b"}',
        b'{"prompt":"\xff"}',
        b'',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_bodies_that_break_parsers(post, body):
    assert check(post('/v1/completions', content=body)) == 400


@fuzzed
@given(
    method=st.sampled_from(['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'HEAD']),
    path=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='?#%'))
    | st.sampled_from(['', 'v1/models/', 'v1/models/%ff', 'v1/models/a%0ab', '%00', '../..', '//']),
)
def test_any_method_and_path(http, method, path):
    answer = http.request(method, f'/{path}')
    assert answer.status_code < 500
    if answer.status_code >= 400 and method != 'HEAD':
        check_error(answer.json()['error'])


@pytest.mark.slow
def test_a_real_server_survives(tmp_path):
    import httpx

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server('--rows', '4'))
        http = stack.enter_context(httpx.Client(base_url=server.address, timeout=60))

        @settings(fuzzed, max_examples=600)
        @given(path=st.sampled_from(POSTS), data=st.data())
        def almost_right(path, data):
            strange = data.draw(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=2))
            check(http.post(path, content=json.dumps(RIGHT[path] | strange)))

        @settings(fuzzed, max_examples=500)
        @given(path=st.sampled_from(POSTS), body=st.binary(max_size=200))
        def any_bytes(path, body):
            check(http.post(path, content=body))

        almost_right()
        any_bytes()
        assert server.process.poll() is None
        assert http.get('/health').status_code == 200
