import base64
import contextlib
import dataclasses
import email.utils
import errno
import gzip
import hashlib
import http.server
import io
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import types

import pytest

from downloads import fetch
from helpers.paths import SRC

BODY = random.Random(1).randbytes(20_000)
OTHER = random.Random(2).randbytes(20_000)
PAGE = b'<html>Please log in to use this network.</html>'
SHA256 = hashlib.sha256(BODY).hexdigest()


def md5_header(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


class Server(http.server.ThreadingHTTPServer):
    """Serves `body` at every address; `faults` are the misdeeds of the next GETs, one each.

    A fault is a dict: status and page (instead of the body), drop (bytes after which the connection
    ends), ignore_range, claim (Content-Length), content_range, encode, stall (an Event to wait for
    after the dropped bytes), swap (the body that later requests get).
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.body = BODY
        self.always = {}
        self.faults = []
        self.headers = {}  # of all answers about the body, HEAD's too
        self.head_status = 200
        self.moved_to = None  # a path to redirect all others to
        self.log = []  # (method, Range header or None, path)
        self.accepted_encodings = set()
        self.url = f'http://127.0.0.1:{self.server_address[1]}/a/file'

    def gets(self):
        """The Range headers of the GETs so far."""
        return [wanted for method, wanted, _ in self.log if method == 'GET']

    def handle_error(self, request, client_address):
        pass  # a client that was killed


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, status, length, headers):
        self.send_response(status)
        if length is not None:
            self.send_header('Content-Length', str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def note(self):
        self.server.log.append((self.command, self.headers['Range'], self.path))
        self.server.accepted_encodings.add(self.headers['Accept-Encoding'])

    def redirect(self):
        moved_to = self.server.moved_to
        if moved_to in (None, self.path):
            return False
        self.answer(302, 0, {'Location': moved_to})
        return True

    def do_HEAD(self):
        self.note()
        if self.redirect():
            return
        server = self.server
        claim = server.always.get('claim') or len(server.body)
        self.answer(server.head_status, claim, server.headers)

    def do_GET(self):
        self.note()
        if self.redirect():
            return
        server = self.server
        fault = {**server.always, **(server.faults.pop(0) if server.faults else {})}
        body, headers, status, start = server.body, dict(server.headers), 200, 0
        if 'status' in fault:
            page = fault.get('page', PAGE)
            self.answer(fault['status'], len(page), fault.get('headers', {}))
            self.wfile.write(page)
            return
        wanted = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers['Range'] or '')
        if wanted and not fault.get('ignore_range'):
            start, status = int(wanted[1]), 206
            headers['Content-Range'] = f'bytes {start}-{len(body) - 1}/{len(body)}'
            if start >= len(body):
                self.answer(416, 0, {'Content-Range': f'bytes */{len(body)}'})
                return
        if 'content_range' in fault:
            headers['Content-Range'] = fault['content_range']
        if 'encode' in fault:
            body, headers['Content-Encoding'] = gzip.compress(body), 'gzip'
        rest = body[start:]
        self.answer(status, fault.get('claim', len(rest)), headers)
        self.wfile.write(rest[: fault.get('drop', len(rest))])
        self.wfile.flush()
        if 'stall' in fault:
            fault['stall'].wait(20)
        if 'swap' in fault:
            server.body, server.headers = fault['swap']


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 0.0)
    monkeypatch.setattr(fetch, 'NETWORK_BLOCK', 1000)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'models' / 'file')


def file_at(server, path, **known):
    return fetch.RemoteFile(url=server.url, path=path, **known)


def known_file(server, path):
    return file_at(server, path, size=len(BODY), sha256=SHA256)


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pathlib.Path(path).write_bytes(content)


def read(path):
    return pathlib.Path(path).read_bytes()


def names(path):
    """What is in the folder of the file."""
    return sorted(os.listdir(os.path.dirname(path)))


def fails(file, match):
    with pytest.raises(fetch.DownloadError, match=match) as caught:
        fetch.fetch(file)
    assert '\n' not in str(caught.value)


# The straight way


def test_fetches_in_one_request_and_leaves_only_the_file(server, path):
    assert fetch.fetch(known_file(server, path)) == 'size, sha256'
    assert read(path) == BODY
    assert names(path) == ['file']
    assert server.gets() == [None]
    assert server.accepted_encodings == {'identity'}


def test_follows_redirects(server, path):
    server.moved_to = '/elsewhere'
    server.headers = {'Content-MD5': md5_header(BODY)}
    write(path + '.part', BODY[:7000])
    assert fetch.fetch(file_at(server, path, size=20_000)) == 'size, md5'
    assert read(path) == BODY
    assert server.log[-1] == ('GET', 'bytes=7000-19999', '/elsewhere')


def test_an_empty_file_is_a_file(server, path):
    server.body = b''
    fetch.fetch(file_at(server, path, size=0))
    assert read(path) == b''
    assert names(path) == ['file']


def test_the_bytes_are_on_the_disk_before_the_name_is(server, path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda fd: calls.append('fsync') or fsync(fd))
    monkeypatch.setattr(os, 'replace', lambda a, b: calls.append('replace') or replace(a, b))
    fetch.fetch(known_file(server, path))
    assert calls == ['fsync', 'replace', 'fsync']  # the last is of the folder


def test_the_old_file_stays_until_the_new_one_is_verified(server, path):
    write(path, b'old')
    server.body = OTHER
    fails(known_file(server, path), 'sha256')
    assert read(path) == b'old'
    server.body = BODY
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY


# Interruptions and resuming


def test_resumes_where_the_connection_broke(server, path):
    server.faults = [{'drop': 12_000}]
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=12000-19999']


def test_resumes_what_an_earlier_run_left(server, path):
    write(path + '.part', BODY[:7000])
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == ['bytes=7000-19999']


def test_asks_for_an_open_range_only_where_no_size_is_known(server, path):
    server.head_status = 405
    server.faults = [{'drop': 12_000}]
    fetch.fetch(file_at(server, path))
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=12000-']


def test_progress_resets_the_count_of_attempts(server, path):
    server.always = {'drop': 1000}
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert len(server.gets()) == 20 > fetch.ATTEMPTS


def test_gives_up_without_progress_and_keeps_the_part(server, path):
    server.faults = [{'drop': 5000}] + [{'drop': 0}] * 50
    fails(known_file(server, path), r'5,000 bytes are kept')
    assert len(server.gets()) == fetch.ATTEMPTS
    assert names(path) == ['file.part']
    assert read(path + '.part') == BODY[:5000]


def test_gives_up_on_a_server_that_ignores_ranges_and_always_breaks(server, path):
    server.always = {'drop': 5000, 'ignore_range': True}
    fails(known_file(server, path), 'times')
    assert len(server.gets()) == fetch.ATTEMPTS
    assert names(path) == ['file.part']


def test_starts_over_where_ranges_are_ignored(server, path):
    server.faults = [{'drop': 5000}, {'ignore_range': True}]
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=5000-19999']


@pytest.mark.parametrize(
    'content_range', ['bytes 4000-19999/20000', 'bytes 5000-19999/30000', 'nonsense']
)
def test_starts_over_when_the_answer_is_about_another_range(server, path, content_range):
    server.faults = [{'drop': 5000}, {'content_range': content_range}]
    fetch.fetch(file_at(server, path))  # no digest that would notice
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=5000-19999', None]


def test_a_complete_part_needs_no_request_for_its_bytes(server, path):
    write(path + '.part', BODY)
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == []


def test_starts_over_when_the_part_is_longer_than_the_file(server, path):
    write(path + '.part', BODY + b'more')
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == [None]


def test_416_starts_over(server, path):
    server.head_status = 405
    write(path + '.part', BODY + b'more')
    fetch.fetch(file_at(server, path, sha256=SHA256))
    assert read(path) == BODY
    assert server.gets() == ['bytes=20004-', None]


def test_a_resumed_file_that_is_wrong_is_fetched_once_more_in_whole(server, path):
    write(path + '.part', OTHER[:7000])
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == ['bytes=7000-19999', None]


def test_a_complete_part_that_is_wrong_is_fetched_once_more(server, path):
    write(path + '.part', OTHER)
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY


def test_a_file_that_stays_wrong_is_fetched_twice_at_most(server, path):
    write(path + '.part', BODY[:7000])
    server.body = OTHER
    server.faults = [{}, {'drop': 3000}]  # so that the second round resumes as well
    fails(known_file(server, path), 'sha256')
    assert server.gets() == ['bytes=7000-19999', None, 'bytes=3000-19999']
    assert names(path) == []


def test_starts_over_when_the_etag_changes_between_attempts(server, path):
    server.headers = {'ETag': '"1"'}
    server.faults = [{'drop': 5000, 'swap': (OTHER, {'ETag': '"2"'})}]
    fetch.fetch(file_at(server, path))  # nothing else would tell the two apart
    assert read(path) == OTHER
    assert server.gets() == [None, None]


@pytest.mark.parametrize('kept, statuses', [(7000, [503, 200]), (0, [200, 503, 200])])
def test_an_error_between_attempts_loses_nothing_that_was_received(
    server, path, monkeypatch, kept, statuses
):
    server.headers = {'ETag': '"1"'}
    if kept:
        write(path + '.part', BODY[:kept])
    server.faults = [{'status': 503}] if kept else [{'drop': 7000}, {'status': 503}]

    def ask(session, file, ask=fetch.ask):
        server.head_status = statuses.pop(0)
        return ask(session, file)

    monkeypatch.setattr(fetch, 'ask', ask)
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == [None] * (not kept) + ['bytes=7000-19999'] * 2


def test_starts_over_when_the_etag_changes_under_the_request(server, path, monkeypatch):
    server.headers = {'ETag': '"1"'}
    server.faults = [{'drop': 5000}]
    asked = []

    def swap_after_second_ask(session, file, ask=fetch.ask):
        asked.append(ask(session, file))
        if len(asked) == 2:
            server.body, server.headers = OTHER, {'ETag': '"2"'}
        return asked[-1]

    monkeypatch.setattr(fetch, 'ask', swap_after_second_ask)
    fetch.fetch(file_at(server, path))
    assert read(path) == OTHER
    assert server.gets() == [None, 'bytes=5000-19999', None]


@pytest.mark.parametrize('age, requested', [(3600, 'bytes=7000-19999'), (-3600, None)])
def test_a_part_of_an_earlier_run_counts_unless_the_server_has_a_newer_file(
    server, path, age, requested
):
    write(path + '.part', BODY[:7000])
    server.headers = {'Last-Modified': email.utils.formatdate(time.time() - age, usegmt=True)}
    fetch.fetch(file_at(server, path))
    assert server.gets() == [requested]


def test_a_silent_server_is_asked_again(server, path, monkeypatch):
    monkeypatch.setattr(fetch, 'TIMEOUT', (1, 0.2))
    stall = threading.Event()
    server.faults = [{'drop': 5000, 'stall': stall}]
    fetch.fetch(known_file(server, path))
    stall.set()
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=5000-19999']


# Errors of the server


@pytest.mark.parametrize('status', [408, 429, 500, 502, 503])
def test_errors_that_may_pass_are_tried_again(server, path, status):
    server.faults = [{'status': status}] * 2
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert len(server.gets()) == 3


@pytest.mark.parametrize('status', [400, 401, 403, 404, 410])
def test_errors_that_stay_are_not_tried_again(server, path, status):
    server.head_status = status
    server.always = {'status': status}
    fails(known_file(server, path), f'{server.url}: {status} ')
    assert len(server.gets()) == 1
    assert names(path) == []


def test_a_refusal_leaves_the_part_for_another_day(server, path):
    write(path + '.part', BODY[:7000])
    server.always = {'status': 403}
    fails(known_file(server, path), '403')
    assert read(path + '.part') == BODY[:7000]


@pytest.mark.parametrize(
    'asked, waited', [('7', 7), ('0', 2), ('100000', 60), ('soon', 2), ('-5', 2)]
)
def test_waits_as_long_as_the_server_asks_within_reason(server, path, monkeypatch, asked, waited):
    waits = []
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 2.0)
    monkeypatch.setattr(time, 'sleep', waits.append)
    server.faults = [{'status': 503, 'headers': {'Retry-After': asked}}]
    fetch.fetch(known_file(server, path))
    assert waits == [waited]


def test_waits_double(server, path, monkeypatch):
    waits = []
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 1.0)
    monkeypatch.setattr(time, 'sleep', waits.append)
    server.always = {'status': 500}
    fails(known_file(server, path), '500')
    assert waits == [1, 2, 4, 8, 16]


def test_an_unreachable_server_is_one_line_with_the_cause(server, path):
    server.server_close()
    fails(known_file(server, path), 'refused, 6 times')
    assert names(path) == []


@pytest.mark.parametrize('url', ['http://', 'gopher://127.0.0.1/x', 'http://127.0.0.1:port/x'])
def test_an_impossible_address_is_an_error_at_once(path, url):
    with pytest.raises(fetch.DownloadError):
        fetch.fetch(fetch.RemoteFile(url=url, path=path))
    assert names(path) == []


# Wrong contents


@pytest.mark.parametrize('head_knows', [True, False])
def test_a_page_instead_of_the_file_is_refused_and_the_part_kept(server, path, head_knows):
    """A login page answers everything with 200; it must not cost the gigabytes already there."""
    write(path + '.part', BODY[:7000])
    server.always = {'status': 200}
    if head_knows:  # a newer time as well, as such pages have
        server.body = PAGE
        server.headers = {'Last-Modified': email.utils.formatdate(time.time() + 99, usegmt=True)}
    for file in (
        known_file(server, path),
        file_at(server, path, predicted_size=len(BODY)),
    ):
        fails(file, f'{len(PAGE)} bytes offered instead of 20,000')
        assert names(path) == ['file.part']
        assert read(path + '.part') == BODY[:7000]


def test_a_page_instead_of_a_file_of_unknown_size_is_left_to_its_check(server, path):
    def check(path):
        if read(path).startswith(b'<'):
            raise ValueError('a web page')

    server.body = PAGE
    fails(file_at(server, path, check=check), 'a web page')
    assert names(path) == []


def test_wrong_bytes_are_not_fetched_again_and_not_kept(server, path):
    server.body = OTHER
    fails(known_file(server, path), 'sha256 .* instead of')
    assert server.gets() == [None]
    assert names(path) == []


@pytest.mark.parametrize('size', [None, 20_000])
def test_a_claimed_length_that_never_comes(server, path, size):
    server.always = {'claim': 20_500}
    fails(file_at(server, path, size=size), '20,500 bytes offered' if size else '6 times')
    assert 'file' not in names(path)


@pytest.mark.parametrize('known', [{'size': 20_000}, {'sha256': SHA256}])
def test_a_claimed_length_that_is_too_short(server, path, known):
    server.always = {'claim': 19_000}
    fails(file_at(server, path, **known), 'offered|sha256')
    assert names(path) == []


def test_more_bytes_than_published_and_no_length(server, path):
    server.head_status = 405
    server.body = BODY + OTHER
    server.always = {'claim': None}
    fails(known_file(server, path), 'bytes instead of 20,000')
    assert names(path) == []


def test_fewer_bytes_than_published_and_no_length(server, path):
    server.head_status = 405
    server.faults = [{'claim': None, 'drop': 5000}]
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=5000-19999']


def test_a_compressed_answer_is_refused(server, path):
    server.always = {'encode': 'gzip'}
    fails(file_at(server, path), 'gzip')
    assert names(path) == []


# The server's MD5 and predicted sizes


def test_the_servers_md5_counts_where_no_sha256_is_known(server, path):
    server.headers = {'Content-MD5': md5_header(BODY)}
    assert fetch.fetch(file_at(server, path, size=20_000)) == 'size, md5'
    server.headers = {'Content-MD5': md5_header(OTHER)}
    write(path, b'old')
    fails(file_at(server, path, size=20_000), 'md5')
    assert names(path) == ['file']
    assert read(path) == b'old'
    assert fetch.fetch(known_file(server, path)) == 'size, sha256'


def test_a_published_md5_outweighs_the_servers(server, path):
    published = hashlib.md5(BODY).hexdigest()
    server.headers = {'Content-MD5': md5_header(OTHER)}
    assert fetch.fetch(file_at(server, path, md5=published)) == 'md5'
    server.headers = {}
    write(path, b'old')
    fails(file_at(server, path, md5='0' * 32), 'md5')
    assert read(path) == b'old'
    assert fetch.fetch(file_at(server, path, md5=published, predicted_size=5)) == 'md5'


def test_the_md5_of_the_whole_file_is_known_when_resuming(server, path):
    server.headers = {'Content-MD5': md5_header(BODY)}
    write(path + '.part', OTHER[:7000])
    assert fetch.fetch(file_at(server, path, size=20_000)) == 'size, md5'
    assert read(path) == BODY


def test_an_md5_that_is_none_is_ignored(server, path):
    server.headers = {'Content-MD5': '?'}
    assert fetch.fetch(file_at(server, path, size=20_000)) == 'size'


@pytest.mark.parametrize('headers', [{}, {'Content-MD5': md5_header(OTHER)}])
def test_a_wrong_prediction_alone_is_an_error(server, path, headers):
    server.headers = headers
    fails(
        file_at(server, path, predicted_size=19_999), '20,000 bytes offered instead of 19,999|md5'
    )
    assert names(path) == []


def test_a_wrong_prediction_yields_to_evidence(server, path):
    predicted = file_at(server, path, predicted_size=19_999)
    server.headers = {'Content-MD5': md5_header(BODY)}
    assert fetch.fetch(predicted) == 'md5'
    server.headers = {}
    checked = dataclasses.replace(predicted, check=lambda path: None)
    assert fetch.fetch(checked) == 'contents'
    assert fetch.fetch(dataclasses.replace(predicted, sha256=SHA256)) == 'sha256'


# Files on disk


def test_verify_tells_what_is_wrong(path):
    file = fetch.RemoteFile(url='', path=path, size=20_000, sha256=SHA256)
    with pytest.raises(FileNotFoundError):
        fetch.verify(file)
    write(path, BODY)
    assert fetch.verify(file) == 'size, sha256'
    write(path, BODY[:-1])
    with pytest.raises(fetch.WrongFile, match='19,999 bytes instead of 20,000'):
        fetch.verify(file)
    write(path, BODY[:-1] + b'?')
    with pytest.raises(fetch.WrongFile, match=f'instead of {SHA256}'):
        fetch.verify(file)
    predicted = fetch.RemoteFile(url='', path=path, predicted_size=5)
    with pytest.raises(fetch.WrongFile, match='20,000 bytes instead of the predicted 5'):
        fetch.verify(predicted)
    assert fetch.verify(dataclasses.replace(predicted, predicted_size=20_000)) == 'predicted size'
    assert fetch.verify(fetch.RemoteFile(url='', path=path)) == 'nothing to compare with'


def test_verify_reads_big_files_in_blocks(path, monkeypatch):
    monkeypatch.setattr(fetch, 'DISK_BLOCK', 999)
    write(path, BODY)
    assert fetch.digest(path, 'sha256') == SHA256


@pytest.mark.parametrize('name', ['plain', 'with space', 'per%20cent', 'hash#?'])
def test_file_addresses(tmp_path, path, name):
    source = tmp_path / name
    write(str(source), BODY)
    write(path + '.part', OTHER[:7000])  # a file is copied from its start
    file = fetch.RemoteFile(url=source.as_uri(), path=path, size=20_000, sha256=SHA256)
    assert fetch.fetch(file) == 'size, sha256'
    assert read(path) == BODY
    write(str(source), OTHER)
    fails(file, 'sha256')
    write(str(source), BODY[:-1])
    fails(file, '19,999 bytes offered instead of 20,000')
    source.unlink()
    fails(file, '404 No such file')
    assert names(path) == ['file']


def test_disk_space_is_what_is_needed_beyond_the_parts(path, monkeypatch):
    asked = []

    def usage(folder):
        asked.append(folder)
        return types.SimpleNamespace(free=50)

    monkeypatch.setattr(shutil, 'disk_usage', usage)
    folder = os.path.dirname(path)
    files = [
        fetch.RemoteFile(url='', path=path, size=30),
        fetch.RemoteFile(url='', path=path + '2', predicted_size=21),
        fetch.RemoteFile(url='', path=path + '3'),
    ]
    with pytest.raises(fetch.DownloadError, match='51 bytes needed, 50 free'):
        fetch.require_space(files, folder)
    assert os.path.samefile(asked[0], os.path.dirname(folder))  # the part of the path that exists
    write(path + '.part', b'1')
    fetch.require_space(files, folder)
    write(path + '.part', b'1' * 99)  # stale: saves its own size, no more
    with pytest.raises(fetch.DownloadError):
        fetch.require_space([*files, fetch.RemoteFile(url='', path='x', size=30)], folder)


class Reluctant(io.FileIO):
    """A file that takes few bytes at a time, as an unbuffered one may."""

    def write(self, block):
        return super().write(block[:300])


def test_partial_writes_are_continued(server, path, monkeypatch):
    monkeypatch.setattr(fetch, 'open', lambda path, *_, **__: Reluctant(path, 'a+'), raising=False)
    fetch.fetch(file_at(server, path))
    assert read(path) == BODY


class FullDisk(io.FileIO):
    """A file on a disk that has room for 5,500 bytes; the last write that fits is a partial one."""

    def write(self, block):
        room = 5500 - os.fstat(self.fileno()).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return super().write(block[:room])


def test_a_full_disk_is_one_line_and_the_part_is_kept(server, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fetch, 'open', lambda path, *_, **__: FullDisk(path, 'a+'), raising=False)
        fails(known_file(server, path), 'disk is full')
    assert names(path) == ['file.part']
    assert read(path + '.part') == BODY[:5500]
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY
    assert server.gets()[1] == 'bytes=5500-19999'


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='mounts a file system')
def test_a_disk_that_is_really_full(server, tmp_path):
    server.body = BODY * 10
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('mounting is not allowed here')
    try:
        path = str(tmp_path / 'file')
        fails(file_at(server, path, size=200_000), 'disk is full')
        assert names(path) == ['file.part']
        part = read(path + '.part')
        assert part == server.body[: len(part)] != b''
    finally:
        subprocess.run(['umount', str(tmp_path)], check=True)


# Mirrors


@pytest.mark.parametrize('url', ['http://host/a', 'http://host/a/', 'https://host', 'file:///a/'])
def test_the_address_of_a_mirror_ends_without_a_slash(url):
    assert fetch.base_address(url) == url.rstrip('/')


def test_a_folder_is_a_mirror(tmp_path, monkeypatch):
    (tmp_path / 'a b').mkdir()
    monkeypatch.chdir(tmp_path)
    for path in ('a b', os.path.join('a b', ''), str(tmp_path / 'a b')):
        assert fetch.base_address(path) == (tmp_path / 'a b').resolve().as_uri()
    assert fetch.base_address('a b').endswith('/a%20b')


@pytest.mark.parametrize(
    'base_url, reason',
    [
        ('nowhere', 'neither a folder that is there nor a URL'),
        (__file__, 'neither a folder that is there nor a URL'),
        ('ftp://127.0.0.1', 'only http, https and file addresses are known'),
    ],
)
def test_what_is_no_mirror_is_refused(base_url, reason):
    with pytest.raises(ValueError, match=f'{re.escape(base_url)}: {reason}'):
        fetch.base_address(base_url)


# Several processes


def test_a_second_process_keeps_away_from_the_part(server, path):
    write(path + '.part', BODY[:7000])
    with fetch.exclusive(path + '.part'):
        fails(known_file(server, path), 'another process')
    assert read(path + '.part') == BODY[:7000]
    assert server.log == []
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY


def test_a_part_renamed_before_it_is_locked_is_left_alone(path, monkeypatch):
    """Else its bytes, under the final name by now, would be written to."""
    write(path + '.part', BODY)
    lock = fetch.lock
    monkeypatch.setattr(fetch, 'lock', lambda part: os.replace(path + '.part', path) or lock(part))
    with pytest.raises(fetch.DownloadError, match='another process'):
        with fetch.exclusive(path + '.part'):
            pass
    assert read(path) == BODY


def test_a_file_system_without_locks_does_not_matter(server, path, monkeypatch):
    fcntl = pytest.importorskip('fcntl')

    def refuse(part, operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY


def test_many_at_once_leave_one_right_file(server, path):
    file = known_file(server, path)
    outcomes = []

    def work():
        try:
            outcomes.append(fetch.fetch(file))
        except fetch.DownloadError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(path) == BODY
    assert names(path) == ['file']
    assert 'size, sha256' in outcomes
    assert all(o == 'size, sha256' or 'another process' in o for o in outcomes)


def test_killed_and_run_again(server, path):
    stall = threading.Event()
    server.faults = [{'drop': 16_000, 'stall': stall}]
    program = (
        f'import sys; sys.path.insert(0, {str(SRC)!r}); from downloads import fetch; '
        f'fetch.NETWORK_BLOCK = 1000; '
        f'fetch.fetch(fetch.RemoteFile({server.url!r}, {path!r}, 20_000, sha256={SHA256!r}))'
    )
    process = subprocess.Popen([sys.executable, '-c', program], stderr=subprocess.DEVNULL)
    deadline = time.time() + 15
    while not os.path.exists(path + '.part') or os.path.getsize(path + '.part') < 16_000:
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    stall.set()
    assert names(path) == ['file.part']
    assert read(path + '.part') == BODY[:16_000]
    subprocess.run([sys.executable, '-c', program], check=True, capture_output=True)
    assert names(path) == ['file']
    assert read(path) == BODY
    assert server.gets() == [None, 'bytes=16000-19999']


# Proxies and progress


def test_proxies_of_the_environment_are_used(server, path, monkeypatch):
    monkeypatch.setenv('http_proxy', server.url.replace('/a/file', ''))
    monkeypatch.delenv('no_proxy', raising=False)
    monkeypatch.delenv('NO_PROXY', raising=False)
    fetch.fetch(fetch.RemoteFile('http://mirror.invalid/f', path, 20_000, sha256=SHA256))
    assert {entry[2] for entry in server.log} == {'http://mirror.invalid/f'}


def test_hosts_exempt_from_the_proxy_are_reached(server, path, monkeypatch):
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    fetch.fetch(known_file(server, path))
    assert read(path) == BODY


def test_a_log_gets_a_line_a_file_and_one_an_interruption(server, path, capsys):
    write(path + '.part', BODY[:7000])
    server.faults = [{'status': 500}]
    fetch.fetch(known_file(server, path))
    out, err = capsys.readouterr()
    assert out == ''
    assert err.splitlines() == [
        f'downloading {server.url} from byte 7,000',
        '500 Internal Server Error; trying again in 0 s',
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_that_begins_at_the_resumed_byte(server, path, monkeypatch):
    write(path + '.part', BODY[:7000])
    with contextlib.redirect_stderr(Terminal()) as terminal:
        fetch.fetch(known_file(server, path))
    shown = terminal.getvalue()
    assert f'downloading {path}:  35%' in shown  # 7,000 of 20,000
    assert f'verifying {path}' in shown
    assert server.url not in shown


def test_the_bar_counts_what_is_on_the_disk(server, path, monkeypatch):
    """Also when the server made us start over."""
    bars = []
    progress = fetch.progress
    monkeypatch.setattr(fetch, 'progress', lambda *args: bars.append(progress(*args)) or bars[-1])
    write(path + '.part', BODY[:7000])
    server.faults = [{'ignore_range': True, 'drop': 9000}]
    with contextlib.redirect_stderr(Terminal()):
        fetch.fetch(known_file(server, path))
    assert [(bar.total, bar.n) for bar in bars] == [(20_000, 20_000)] * 2  # receiving, verifying
