import contextlib
import hashlib
import itertools
import os
import random
import re
import time

import pytest

from downloads import fetch, transport
from helpers.servers import raw_server

BODY = random.Random(1).randbytes(3000)
SHA256 = hashlib.sha256(BODY).hexdigest()
MANY = '9' * 5000  # digits, more than Python makes a number of
ESCAPE = '\x1b]0;owned\x07\x1b[2J\x9b31m'


def head(status='200 OK', **headers):
    headers = {'Content_Length': len(BODY), 'Connection': 'close'} | headers
    lines = [f'HTTP/1.1 {status}', *(f'{n.replace("_", "-")}: {v}' for n, v in headers.items())]
    return '\r\n'.join([*lines, '', '']).encode('latin-1')


def honest(method, first):
    range_ = {'Content_Range': f'bytes {first}-2999/3000', 'Content_Length': 3000 - first}
    yield head('206 Partial', **range_) if first else head()
    if method == 'GET':
        yield BODY[first:]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 0.0)
    monkeypatch.setattr(fetch, 'NETWORK_BLOCK', 100)
    monkeypatch.setenv('no_proxy', '*')


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'models' / 'file')


def fetched(answer, path, size=3000, sha256=SHA256, **known):
    """(the error, or None if the file is right; the requests) of what is fetched from a server."""
    with raw_server(answer) as (url, requests):
        try:
            fetch.fetch(fetch.RemoteFile(f'{url}/file', path, size, sha256=sha256, **known))
        except fetch.DownloadError as error:
            assert str(error).startswith(f'{url}/file: ') and str(error).isprintable()
            assert len(str(error)) < 400 and not os.path.exists(path)
            return str(error).removeprefix(f'{url}/file: '), requests
    with open(path, 'rb') as file:
        assert file.read() == BODY
    return None, requests


@pytest.mark.parametrize(
    'lie',
    [
        {'Content_Length': '²'},
        {'Content_Length': MANY},
        {'Content_Length': '-1'},
        {'Content_MD5': '²'},
        {'Last_Modified': 'Mon, 01 Jan 99999 00:00:00 GMT'},
        {'Last_Modified': f'Mon, 01 Jan {MANY} 00:00:00 GMT'},
        {'Last_Modified': '²'},
    ],
)
def test_a_header_that_makes_no_sense_is_as_none(path, lie):
    os.makedirs(os.path.dirname(path))
    with open(path + '.part', 'wb') as part:
        part.write(BODY[:1000])

    def answer(method, first):
        yield head(**lie)
        if method == 'GET':
            yield BODY

    assert fetched(answer, path)[0] is None


@pytest.mark.parametrize(
    'location',
    ['http://[::1', 'http://h:99999/', f'http://{"a" * 64}.x/', '\xff\xfe', ESCAPE, 'x' * 60_000],
)
def test_a_redirect_to_no_address_is_an_error_at_once(path, location):
    """Of the kind at which a caller tries the next mirror."""
    error, requests = fetched(lambda *_: [head('302 Found', Location=location)], path)
    assert error and len(requests) < 3 * fetch.ATTEMPTS


@pytest.mark.parametrize('scheme', ['file://', 'FILE://'])
def test_a_redirect_to_a_file_of_this_machine_is_not_followed(tmp_path, path, scheme):
    secret = tmp_path / 'secret'
    secret.write_bytes(BODY)
    location = scheme + secret.as_uri().removeprefix('file://')
    error, _ = fetched(lambda *_: [head('302 Found', Location=location)], path)
    assert 'No connection adapters' in error


def test_redirects_have_an_end(path):
    error, requests = fetched(lambda *_: [head('302 Found', Location='/again')], path)
    assert '5 redirects' in error and len(requests) == transport.REDIRECTS + 1


@pytest.mark.parametrize('wait', [MANY, '²', f'Mon, 01 Jan {MANY} 00:00:00 GMT'])
def test_a_wait_that_makes_no_sense_is_none(path, wait, monkeypatch):
    waits = []
    monkeypatch.setattr(time, 'sleep', waits.append)
    error, _ = fetched(lambda *_: [head('503 Busy', Retry_After=wait)], path)
    assert error == '503 Busy, 6 times'
    assert max(waits) <= fetch.LONGEST_WAIT


@pytest.mark.parametrize('status', ['404', '503'])
def test_what_a_server_says_does_nothing_to_the_terminal(path, status, capfd):
    error, _ = fetched(lambda *_: [head(f'{status} {ESCAPE}')], path)
    assert r'\x1b]0;owned\x07\x1b[2J\x9b31m' in error
    error, _ = fetched(lambda *_: [head(Content_Encoding=ESCAPE + 'x' * 1000)], path)
    assert r'sent as \x1b]0;owned' in error
    assert capfd.readouterr().err.replace('\n', '').isprintable()


# Slowly


@pytest.fixture
def patience(monkeypatch):
    """Of 0.1 s; the limit is 1,000 bytes a second."""
    monkeypatch.setattr(transport, 'SLOW_SECONDS', 0.1)
    monkeypatch.setattr(fetch, 'ATTEMPTS', 3)


def slowly(data, seconds):
    for i in range(len(data)):
        yield data[i : i + 1]
        time.sleep(seconds)


@pytest.mark.parametrize('block', [100, 1 << 16])
def test_a_file_that_comes_too_slowly_is_given_up_and_kept(path, patience, monkeypatch, block):
    monkeypatch.setattr(fetch, 'NETWORK_BLOCK', block)
    quick = 1000

    def answer(method, first):
        answers = honest(method, first)
        yield next(answers)
        for body in answers:
            yield body[: max(quick - first, 0)]
            yield from slowly(body[max(quick - first, 0) :], 0.02)

    start = time.monotonic()
    error, _ = fetched(answer, path)
    assert error.startswith('slower than 1,000 bytes a second, 3 times')
    assert time.monotonic() - start < 5
    if block < quick:
        assert os.path.getsize(path + '.part') >= quick
    assert fetched(honest, path)[0] is None


def test_headers_that_come_too_slowly_are_given_up(path, patience):
    error, _ = fetched(lambda *_: slowly(head(), 0.02), path)
    assert error == 'slower than 1,000 bytes a second, 3 times'


def test_little_in_many_slow_answers_is_too_slow_too(path, monkeypatch):
    """Each brings some bytes, and ends before it has been slow for long."""
    monkeypatch.setattr(fetch, 'SLOWEST', 10_000)

    def answer(method, first):
        answers = honest(method, first)
        yield next(answers)
        for body in answers:
            time.sleep(0.1)
            yield body[:100]

    error, requests = fetched(answer, path)
    assert ', 6 times; 6' in error  # hundred bytes kept
    assert len(requests) == 2 * fetch.ATTEMPTS


def test_only_the_waiting_counts():
    """Not what this machine takes to write."""
    watched = transport.MinimumSpeed(contextlib.nullcontext())
    watched.raw.readinto = lambda buffer: 1
    for _ in range(3):
        watched.readinto(bytearray(1))
    assert watched.seconds < 0.01 and watched.bytes == 3


# Without end


@pytest.mark.parametrize(
    'beginning, line',
    [
        (b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;', b'extension'),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n', b'Trailer: 1\r\n'),
    ],
    ids=['continue', 'chunk', 'trailers'],
)
def test_headers_without_end(path, monkeypatch, beginning, line):
    monkeypatch.setattr(fetch, 'ATTEMPTS', 2)

    def answer(method, first):
        yield beginning
        yield from itertools.repeat(line * 999)

    error, _ = fetched(answer, path)
    # The latter is urllib3's own word, where it is new enough.
    assert re.search('bytes of headers without an end, 2|maximum allowed length, 2', error)


@pytest.mark.parametrize('known', [{}, {'predicted_size': 3000, 'check': lambda path: None}])
@pytest.mark.parametrize('says', [True, False])
def test_a_file_without_end_does_not_fill_the_disk(path, monkeypatch, known, says):
    monkeypatch.setattr(fetch, 'UNKNOWN_BYTES', 50_000)
    monkeypatch.setattr(fetch, 'NETWORK_BLOCK', 1 << 16)
    claim = {'Content_Length': 10**15} if says else {'Content_Length': ''}

    def answer(method, first):
        yield head(**claim)
        if method == 'GET':
            yield from itertools.repeat(bytes(10_000))

    error, _ = fetched(answer, path, size=None, sha256=None, **known)
    assert ('bytes offered instead of' if says else 'more bytes than the') in error
    assert os.listdir(os.path.dirname(path)) == []


# Files


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='there are no named pipes here')
def test_a_pipe_is_no_file(tmp_path, path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(fetch.DownloadError, match='404 it is no file'):
        fetch.fetch(fetch.RemoteFile((tmp_path / 'pipe').as_uri(), path))


@pytest.mark.parametrize('make', [os.symlink, lambda _, path: os.mkfifo(path)])
def test_what_has_the_name_of_the_part_and_is_no_file_is_left_alone(tmp_path, path, make):
    (tmp_path / 'precious').write_bytes(b'precious')
    os.mkdir(os.path.dirname(path))
    try:
        make(tmp_path / 'precious', path + '.part')
    except (OSError, AttributeError):
        pytest.skip('this cannot be made here')
    with pytest.raises(fetch.DownloadError, match=r'file\.part is a link, or no file at all'):
        fetch.fetch(fetch.RemoteFile('http://127.0.0.1:9/file', path))
    assert (tmp_path / 'precious').read_bytes() == b'precious'
