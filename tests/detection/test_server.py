"""The server of the page, on a scorer that is made up; in a browser, too."""

import concurrent.futures
import http.client
import json
import re
import socket
import threading
import time
import urllib.parse

import pytest

from detection.oracle import Oracle
from detection.server import Server
from helpers.browser import Browser, needs_browser
from helpers.stub_detector import StubDetector
from helpers.stub_scorer import StubScorer

HARD = 'one # two\n\nthree %41 + & ? </script> "é日本" \u2028 four'
OLD_KEYS = ['all_tokens', 'used_tokens', 'real_probability', 'fake_probability']


class Running:
    """A server in a thread, and how to ask it."""

    def __init__(self, oracle, most_bytes=1000):
        self.server = Server('127.0.0.1', 0, most_bytes)
        self.thread = threading.Thread(target=self.server.serve, args=(oracle, 'de<mo'))
        self.thread.start()

    def ask(self, method, path, body=None, **headers):
        """(status, headers, body) of an answer."""
        connection = http.client.HTTPConnection('127.0.0.1', self.server.server_port, timeout=10)
        headers = {name.replace('_', '-'): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def tell(self, text, path='/detect'):
        status, _, data = self.ask('POST', path, text.encode(), Content_Type='text/plain')
        assert status == 200, data
        return json.loads(data)

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def start():
    """Start servers: (scorer, detector, most_bytes) -> Running."""
    running = []

    def started(scorer=None, detector=None, **more):
        running.append(Running(Oracle(scorer or StubScorer(), detector), **more))
        return running[-1]

    yield started
    for each in running:
        each.close()


@pytest.fixture
def server(start):
    return start(detector=StubDetector())


def test_a_posted_text_loses_nothing(server):
    n = len(HARD.encode())
    record = server.tell(HARD, '/detect?tokens')
    assert record['all_tokens'] == record['used_tokens'] == n
    assert ''.join(record['tokens']['text']) == HARD
    assert record['tokens']['id'] == list(HARD.encode())
    body = json.dumps({'text': HARD})
    kind = 'application/json; charset=utf-8'
    status, headers, data = server.ask('POST', '/detect?tokens', body, Content_Type=kind)
    assert (status, headers.get_content_type()) == (200, 'application/json')
    assert json.loads(data) == record
    assert ['tokens', str(n)] in record['rows']


def test_without_being_asked_it_sends_no_tokens(server):
    assert not {'tokens', 'rows'} & set(server.tell(HARD))
    assert server.tell('')['all_tokens'] == 0


def test_the_address_of_2019_has_its_keys_and_its_way_of_escaping(server):
    text = 'a+b # é\n%41'
    status, _, data = server.ask('GET', '/?' + urllib.parse.quote(text).replace('%2B', '+'))
    record = json.loads(data)
    assert status == 200 and list(record)[:4] == OLD_KEYS
    assert record == server.tell(text)
    assert record['real_probability'] + record['fake_probability'] == pytest.approx(1)
    assert record['all_tokens'] == len(text.encode())


def test_without_a_detector_there_are_scores_and_no_probability(start):
    server = start()
    record = server.tell('x' * 60)
    assert record['fake_probability'] is record['real_probability'] is None
    assert record['z'] is not None
    assert b'There is no detector here' in server.ask('GET', '/')[2]


def test_the_page_is_whole_and_loads_only_what_the_server_has(server):
    status, headers, page = server.ask('GET', '/')
    page = page.decode()
    assert status == 200 and headers['Content-Type'] == 'text/html; charset=utf-8'
    policy = headers['Content-Security-Policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy and 'http' not in policy
    assert '<b>de&lt;mo</b>' in page and '{{' not in page and 'There is no detector' not in page
    assert 'These are rates, not verdicts' in page
    for path in re.findall(r'(?:src|href)="(/[^"]*)"', page):
        status, headers, data = server.ask('GET', path)
        assert status == 200 and not re.search(rb'https?://(?!www\.w3\.org/2000/svg)', data)
        assert headers['X-Content-Type-Options'] == 'nosniff'
    assert not re.search(r'https?:|style=|<script>| on\w+=', page)
    status, headers, data = server.ask('HEAD', '/')
    assert (status, data) == (200, b'') and int(headers['Content-Length']) > 1000


@pytest.mark.parametrize(
    'request_, status, message',
    [
        (('GET', '/nowhere'), 404, 'there is nothing at /nowhere'),
        (('GET', '/../server.py'), 404, 'there is nothing at'),
        (('GET', '/?%FF'), 400, 'the text in the address is not UTF-8'),
        (('GET', '/?' + 'a' * 70_000), 414, 'send the text by POST to /detect'),
        (('POST', '/', b'a'), 404, 'there is nothing to post to at /'),
        (('POST', '/detect', b'a\xff'), 400, 'byte 1 of the text is not UTF-8'),
        (('POST', '/detect', b'a' * 1001), 413, 'a text may have at most 1,000 bytes'),
        (('POST', '/detect', b'{"text": 1}', 'json'), 400, 'no text in a field "text"'),
        (('POST', '/detect', b'[]', 'json'), 400, 'no text in a field "text"'),
        (('POST', '/detect', b'{', 'json'), 400, 'the body is not JSON'),
        (('POST', '/detect', b'{"text": "\\ud800"}', 'json'), 400, 'surrogate'),
        (('PUT', '/detect', b'a'), 501, 'Unsupported method'),
    ],
)
def test_a_bad_request_is_answered_by_one_line_of_json(server, request_, status, message):
    method, path, body, kind = (*request_, None, None)[:4]
    headers = {'Content_Type': 'application/json'} if kind else {}
    got, headers, data = server.ask(method, path, body, **headers)
    assert got == status and headers.get_content_type() == 'application/json'
    assert message in json.loads(data)['error'] and data.count(b'\n') == 1
    assert server.tell('x')['all_tokens'] == 1


def test_a_client_that_sends_far_too_much_hears_why(server):
    status, _, data = server.ask('POST', '/detect', b'a' * 2**24)
    assert status == 413 and 'at most 1,000 bytes' in json.loads(data)['error']


def test_a_body_without_a_length_is_refused(server):
    with socket.create_connection(('127.0.0.1', server.server.server_port), timeout=10) as client:
        client.sendall(b'POST /detect HTTP/1.1\r\nHost: localhost\r\n\r\n')
        assert b' 411 ' in client.recv(1000)


def test_other_sites_are_not_answered(server):
    own = f'127.0.0.1:{server.server.server_port}'
    for headers in (
        {'Origin': 'http://elsewhere.example'},
        {'Origin': 'null'},
        {'Host': 'elsewhere.example'},
        {'Sec_Fetch_Site': 'cross-site', 'Sec_Fetch_Mode': 'no-cors'},
    ):
        status, _, data = server.ask('POST', '/detect', b'a', **headers)
        assert status == 403 and 'error' in json.loads(data)
    for headers in (
        {'Origin': f'http://{own}'},
        {'Host': 'localhost'},
        {'Sec_Fetch_Site': 'cross-site', 'Sec_Fetch_Mode': 'navigate'},
    ):
        assert server.ask('GET', '/?a', **headers)[0] == 200
    assert server.ask('GET', '/')[1]['Access-Control-Allow-Origin'] is None


def test_texts_are_scored_one_at_a_time_whoever_asks(start):
    running, most = [], []

    def before(tokens):
        running.append(tokens)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()

    server = start(StubScorer(before))
    texts = ['x' * n for n in range(1, 13)]
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        records = list(threads.map(server.tell, texts))
    assert [record['all_tokens'] for record in records] == list(range(1, 13))
    assert max(most) == 1 and len(most) == 12


def test_a_failure_of_the_model_is_one_line_and_the_next_text_is_scored(start):
    def before(tokens):
        if tokens == [120]:
            raise RuntimeError('secret')
        if tokens == [121]:
            raise ValueError('a weight\nis NaN')

    server = start(StubScorer(before))
    for text, status, told in ((b'x', 500, 'RuntimeError'), (b'y', 400, 'a weight is NaN')):
        got, _, data = server.ask('POST', '/detect', text)
        assert got == status and told in json.loads(data)['error'] and b'secret' not in data
    assert server.tell('z')['all_tokens'] == 1


def test_a_text_that_nobody_waits_for_is_left_and_the_next_one_scored(start):
    begun, go_on, scored = threading.Event(), threading.Event(), []

    class Scorer(StubScorer):
        def score_documents(self, documents, details, progress, more):
            for scores in super().score_documents(documents, details, progress, more):
                scored.append(len(scores.ranks))
                yield scores

    def before(tokens):
        begun.set()
        go_on.wait(10)

    server = start(Scorer(before))
    request = b'POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc'
    first, second = (
        socket.create_connection(('127.0.0.1', server.server.server_port)) for _ in range(2)
    )
    first.sendall(request)
    assert begun.wait(10)
    second.sendall(request)  # it waits for its turn
    first.close(), second.close()
    go_on.set()
    assert server.tell('x')['all_tokens'] == 1
    assert scored == [1]


def test_the_end_of_the_server_ends_a_text_that_is_being_scored(start):
    begun, go_on = threading.Event(), threading.Event()

    def before(tokens):
        begun.set()
        go_on.wait(10)

    server = start(StubScorer(before))
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        answer = threads.submit(server.ask, 'POST', '/detect', b'x')
        begun.wait(10)
        threading.Thread(target=server.server.shutdown).start()
        while not server.server.oracle.closing:
            time.sleep(0.01)
        go_on.set()
        assert answer.result(10)[0] == 503


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f'listens at port {port} of 127.0.0.1'):
            Server('127.0.0.1', port, 1)
    with pytest.raises(ValueError, match='there is no address no.such.host.invalid here'):
        Server('no.such.host.invalid', 0, 1)


ENTER = """
const box = document.querySelector('textarea');
box.value = {};
box.dispatchEvent(new Event('input'));
"""
SHOWN = 'return !document.querySelector(".result").hidden'


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('size', [(1200, 900), (500, 900)])
def test_a_browser_shows_bar_numbers_tokens_and_histogram(tmp_path, start, size, dark):
    server = start(detector=StubDetector(), most_bytes=10_000)
    browser = Browser(tmp_path / 'profile', size, dark)
    try:
        browser.open(server.server.address)
        assert browser.run('return document.activeElement.id') == 'detector-text'
        text = HARD + ' x' * 30
        browser.run(ENTER.format(json.dumps(text)))
        browser.until(SHOWN)
        record = server.tell(text)
        n, machine = record['all_tokens'], record['fake_probability']
        assert browser.run('return document.querySelector(".status").innerText') == (
            f'Prediction based on {n} tokens'
        )
        label = browser.run('return document.querySelector(".shares").ariaLabel')
        assert label == f'human {100 - 100 * machine:.2f} %, machine {100 * machine:.2f} %'
        widths = browser.run(
            'return [".human", ".machine"].map(i => document.querySelector(i).clientWidth)'
        )
        assert widths[1] / sum(widths) == pytest.approx(machine, abs=0.01)
        browser.resize(300, 900)  # where a line has no room for both labels
        labels = 'return [...document.querySelectorAll(".labels span")].map({})'
        assert max(browser.run(labels.format('e => e.offsetHeight'))) < 40
        inside = 'e => e.parentNode.getBoundingClientRect().right - e.getBoundingClientRect().right'
        assert min(browser.run(labels.format(inside))) >= 0
        browser.resize(*size)
        assert browser.run('return document.querySelector(".text").textContent') == text
        counts = browser.run('return document.querySelector(".histogram svg").ariaLabel')
        assert counts.endswith(', '.join(map(str, record['u'])))
        assert browser.run('return document.querySelectorAll(".histogram rect").length') == 10
        classes = browser.run(
            'return [...document.querySelectorAll(".block span")].map(e => e.className)'
        )
        assert classes == ['s0' if b < 10 else 's1' if b < 100 else 's2' for b in text.encode()]
        assert browser.run('return document.documentElement.scrollWidth <= innerWidth')
        assert browser.run('return matchMedia("(prefers-color-scheme: dark)").matches') == dark

        browser.press('Tab')  # from the box to the first token
        assert 'number 1' in browser.run('return document.getElementById("card").innerText')
        browser.press('Right')
        assert 'number 2' in browser.run('return document.getElementById("card").innerText')

        browser.run(ENTER.format('"short"'))
        status = 'return document.querySelector(".status").innerText.includes({})'
        browser.until(status.format('"based on 5 tokens: too short to tell, under 50"'))
        browser.run(ENTER.format('"é".repeat(6000)'))
        browser.until(status.format('"a text may have at most 10,000 bytes"'))
        assert not browser.run(SHOWN)
        browser.run(ENTER.format('""'))
        assert browser.run('return document.querySelector(".status").innerText') == ''
        # The answer of 413 is the only thing that it complains of.
        assert all('413' in each['message'] for each in browser.messages())
        loaded = browser.run('return performance.getEntriesByType("resource").map(e => e.name)')
        assert loaded and all(name.startswith(server.server.address) for name in loaded)
    finally:
        browser.close()


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_scores_without_a_detector(tmp_path, start):
    server = start()
    browser = Browser(tmp_path / 'profile', (900, 900), False)
    try:
        browser.open(server.server.address)
        browser.run(ENTER.format('"x".repeat(60)'))
        browser.until(SHOWN)
        assert browser.run('return document.querySelector(".bar").hidden')
        status = browser.run('return document.querySelector(".status").innerText')
        assert status == 'Scores based on 60 tokens'
        assert browser.messages() == []
    finally:
        browser.close()


def test_requests_in_a_row_share_a_connection(server):
    connection = http.client.HTTPConnection('127.0.0.1', server.server.server_port, timeout=10)
    for n in (1, 2):
        connection.request('POST', '/detect', b'x' * n)
        assert json.load(connection.getresponse())['all_tokens'] == n
    connection.close()
