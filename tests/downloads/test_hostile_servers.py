"""A loop of servers that lie in every part of an answer, a few lies at a time."""

import functools
import gzip
import hashlib
import os
import random
import shutil
import time

import pytest

from downloads import fetch
from helpers.servers import raw_server
from support.files import shown

SECONDS = 75  # that the loop takes; HOSTILE_SEED in the environment begins it elsewhere
BODY = random.Random(1).randbytes(20_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
ESCAPE = '\x1b]0;owned\x07\x1b[2J\x9b31m'
MANY = '9' * 5000  # digits, more than Python takes for a number

NUMBERS = [
    '²',
    '-1',
    '0',
    '1',
    MANY,
    '1e3',
    '+5',
    '',
    '20000, 20001',
    '20000, 20000',
    '0x10',
    ESCAPE,
]
DATES = [
    'Mon, 01 Jan 99999 00:00:00 GMT',
    'Mon, 99 Foo 2019 99:99:99 GMT',
    f'Mon, 01 Jan {MANY} 00:00:00 GMT',
    'Thu, 01 Jan 1970 00:00:00 -9999999999',
    '0 0 0 0:0:0 0',
    '²',
    ',',
    'Fri, 31 Dec 9999 23:59:59 -2359',
]
PLACES = [
    'file:///etc/passwd',
    'FILE:/etc/passwd',
    'http://[::1',
    'http://[v1.x]/',
    'http://host:²/',
    'http://host:99999/',
    'http:///',
    'http://' + 'a' * 70 + '.invalid/',
    'http://..invalid/',
    'http://\x00/',
    'http://xn--\xff/',
    '//',
    '',
    'gopher://127.0.0.1/',
    'javascript:alert(1)',
    '/loop',
    '%',
    '\xff\xfe',
    ESCAPE,
    'x' * 60_000,
]
LIES = {
    'Content-Length': NUMBERS,
    'Last-Modified': DATES,
    'Location': PLACES,
    'Retry-After': NUMBERS + DATES,
    'Content-Range': [
        'bytes 0-19999/20000',
        'bytes 7000-19999/20001',
        f'bytes {MANY}-{MANY}/{MANY}',
        'bytes ²-²/²',
        'bytes */20000',
        '',
    ],
    'ETag': ['a', 'b', ESCAPE, ''],
    'Content-MD5': ['²', 'AAAA', ESCAPE, '=' * 9],
    'Content-Encoding': ['gzip', 'br', 'identity, gzip', ESCAPE, 'x' * 60_000],
    'Transfer-Encoding': ['chunked', 'gzip', 'chunked, chunked', 'CHUNKED', '²'],
    'Set-Cookie': ['=', '²=²; expires=²', f'a=b; max-age={MANY}', 'a=b; domain=.; path=²'],
    'Connection': ['keep-alive', 'upgrade'],
    'WWW-Authenticate': ['Basic realm="²"', 'Digest'],
    'X': ['\x00', 'x' * 70_000],
}
STATUSES = ['200', '206', '302', '301', '308', '401', '404', '416', '429', '500', '503', '100']
STATUSES += ['204', '304', '99', '999', '²00', MANY, '']
REASONS = ['OK', '', ESCAPE, '²', 'x' * 60_000]
JUNK = ['no colon here', ': no name', ' folded', '\x00: \x00', 'A: b\r\n' * 200]
PAGES = [
    b'',
    b'<html>',
    BODY[:9000],
    BODY + b'more',
    b'0\r\n\r\n',
    gzip.compress(BODY),
    bytes(9_999),
]
CHUNKS = [b'4\r\nabcd\r\n0\r\n\r\n', b'\xb2\r\nab', b'-1\r\nab', b'ffffffffffffffff\r\nab']
WHOLE = [b'', b'\r\n', b'\x00' * 100, b'SSH-2.0-x\r\n', b'HTTP/9.9 200 OK\r\n\r\n', b'x' * 70_000]


def honest(method, start):
    """[status, reason, headers, lines of junk, body] of an answer without a lie."""
    headers = {'Content-Length': str(len(BODY) - start), 'Connection': 'close'}
    if start:
        headers['Content-Range'] = f'bytes {start}-{len(BODY) - 1}/{len(BODY)}'
    return ['206' if start else '200', 'OK', headers, [], BODY[start:] if method == 'GET' else b'']


def lied(random, method, start):
    """The bytes of an answer with some lies."""
    if random.random() < 0.03:
        return [random.choice(WHOLE)]
    answer = honest(method, start)
    for _ in range(random.randint(0, 3)):
        kind = random.random()
        if kind < 0.15:
            answer[0] = random.choice(STATUSES)
        elif kind < 0.25:
            answer[1] = random.choice(REASONS)
        elif kind < 0.3:
            answer[3].append(random.choice(JUNK))
        elif kind < 0.4:
            answer[4] = random.choice(PAGES)
        elif kind < 0.45:
            answer[2]['Transfer-Encoding'], answer[4] = 'chunked', random.choice(CHUNKS)
        elif kind < 0.6:
            answer[0], answer[2]['Location'] = '302', random.choice(PLACES)
        else:
            name = random.choice(list(LIES))
            answer[2][name] = random.choice(LIES[name])
    if method == 'HEAD':
        answer[-1] = b''
    return [told(*answer)]


def told(status, reason, headers, junk, body):
    """The bytes of an answer."""
    lines = [f'HTTP/1.1 {status} {reason}', *(f'{n}: {v}' for n, v in headers.items()), *junk]
    return '\r\n'.join([*lines, '', '']).encode('latin-1') + body


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 0.0)
    monkeypatch.setattr(fetch, 'LONGEST_WAIT', 0.0)
    monkeypatch.setattr(fetch, 'TIMEOUT', (1.0, 0.2))
    monkeypatch.setenv('no_proxy', '*')


def fetched(url, path):
    return fetch.fetch(fetch.RemoteFile(f'{url}/file', path, size=len(BODY), sha256=SHA256))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 3)
def test_the_file_is_right_or_one_line_says_why_not(tmp_path, quick, capfd):
    """And an honest server then gives the rest."""
    first = seed = int(os.environ.get('HOSTILE_SEED', 0))
    right, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        seed += 1
        lie = functools.partial(lied, random.Random(seed))
        path = str(tmp_path / str(seed) / 'file')
        with raw_server(lie) as (url, _):
            try:
                fetched(url, path)
                right += 1
            except fetch.DownloadError as error:
                message = str(error)
                assert shown(message) == message and len(message) < 500, (seed, message)
                assert message.startswith(f'{url}/file: '), (seed, message)
                assert not os.path.exists(path), seed
            except Exception as error:
                raise AssertionError(f'seed {seed}') from error
        log = capfd.readouterr().err.replace('\n', '')
        assert shown(log) == log, seed
        with raw_server(lambda *request: [told(*honest(*request))]) as (url, _):
            fetched(url, path)
        assert os.listdir(os.path.dirname(path)) == ['file'], seed
        with open(path, 'rb') as file:
            assert file.read() == BODY, seed
        shutil.rmtree(os.path.dirname(path))
    assert 0 < right < seed - first
