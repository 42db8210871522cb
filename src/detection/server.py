"""A small web server that tells of texts what detect.py tells, and its page. No TensorFlow.

    GET /            the page: server_page.html with .css and .js, and findings_page.py
    GET /?TEXT       JSON of findings.record_of, with the four keys of the server of 2019
    POST /detect     the same; the body is text in UTF-8, or JSON {"text": ...} as application/json
    POST /detect?tokens   and the tokens, as the page shows them

Errors are {"error": ...} in one line. A model takes one text at a time; others wait their turn.
"""

import http.server
import json
import os
import re
import select
import socket
import socketserver
import urllib.parse

from detection import findings_page, rank_page
from detection.oracle import Closing
from scoring import pasted_text, surprisal_page
from scoring.surprisal_page import filled, own_file
from support.files import shown
from support.web import HEADERS, address, from_another_site, listening_errors

MOST_DROPPED = 2**26  # bytes of a body that is too long
BLOCK_BYTES = 2**16
SECONDS = 30  # that a client may take for its next bytes
LOOPBACK = ('127.0.0.1', 'localhost', '::1')


class Refused(Exception):
    """A request that is answered by an error: status and message."""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """The server; bound to its address at once, it answers after `serve`.

    host, port: port 0 takes any that is free.  most_bytes: of a request's body.
    Raises ValueError if another program has the port.
    """

    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = os.name != 'nt'  # where it would share the port with another program

    def __init__(self, host, port, most_bytes):
        self.most_bytes, self.host = most_bytes, host
        with listening_errors(host, port):
            family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = family
            super().__init__((host, port), Handler)

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks a name server who we are
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def address(self):
        return address(self.host, self.server_port)

    def serve(self, oracle, model_name):
        """Answer requests until the main thread is interrupted."""
        self.oracle, self.files = oracle, page_files(model_name, oracle.detector is not None)
        try:
            self.serve_forever(poll_interval=0.05)
        finally:
            oracle.close()

    def handle_error(self, request, client_address):
        pass  # a client that went in the midst of its request


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = 'HTTP/1.1'
    server_version, sys_version = 'gpt-2', ''
    timeout = SECONDS

    def log_message(self, *_):
        pass  # texts are in addresses, and nobody is to keep them

    def do_GET(self):
        self.answer(self.get)

    def do_HEAD(self):
        self.answer(self.get)

    def do_POST(self):
        self.answer(self.post)

    def get(self):
        path, _, query = self.path.partition('?')
        if path == '/' and query:
            try:
                text = urllib.parse.unquote(query, errors='strict')
            except UnicodeDecodeError:
                raise Refused(400, 'the text in the address is not UTF-8') from None
            return json_of(self.server.oracle.tell(text, gone=self.gone))
        if path not in self.server.files:
            raise Refused(404, f'there is nothing at {shown(path)}')
        return self.server.files[path]

    def post(self):
        path, _, query = self.path.partition('?')
        if path != '/detect':
            raise Refused(404, f'there is nothing to post to at {shown(path)}')
        return json_of(self.server.oracle.tell(self.text(), query == 'tokens', self.gone))

    def gone(self):
        """Whether the client has hung up, as the page does when its text changes."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def text(self):
        """The text of a POST."""
        try:
            text = self.body().decode('utf-8')
        except UnicodeDecodeError as error:
            raise Refused(400, f'byte {error.start} of the text is not UTF-8') from None
        if self.headers.get_content_type() != 'application/json':
            return text
        try:
            request = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f'the body is not JSON: {error}') from None
        text = request.get('text') if isinstance(request, dict) else None
        if not isinstance(text, str):
            raise Refused(400, 'the body holds no text in a field "text"')
        return text

    def body(self):
        length = self.headers.get('Content-Length', '')
        if not re.fullmatch('[0-9]{1,18}', length):
            raise Refused(411, 'say the number of bytes in a header Content-Length')
        if int(length) > self.server.most_bytes:
            self.drop(min(int(length), MOST_DROPPED))
            raise Refused(413, f'a text may have at most {self.server.most_bytes:,} bytes')
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Refused(400, 'the body is shorter than its Content-Length')
        return data

    def drop(self, n):
        """Read n bytes: a client that is still sending would not see the answer."""
        while n > 0 and (block := self.rfile.read(min(n, BLOCK_BYTES))):
            n -= len(block)

    def answer(self, function):
        """Send what a function returns, (type, bytes), or the error that it raises."""
        try:
            self.check_origin()
            status, (kind, data) = 200, function()
        except Refused as error:
            status, (kind, data) = error.args[0], json_of({'error': error.args[1]})
        except ValueError as error:
            status, (kind, data) = 400, json_of({'error': ' '.join(str(error).split())})
        except Closing:
            status, (kind, data) = 503, json_of({'error': 'the server ends'})
        except (ConnectionError, TimeoutError):
            raise  # the client is gone
        except Exception as error:
            told = f'the server failed ({type(error).__name__})'
            status, (kind, data) = 500, json_of({'error': told})
        if status != 200:
            self.close_connection = True  # its body may be unread
        self.send(status, kind, data)

    def check_origin(self):
        """Refuse what other sites send through a browser: it shall not read or keep us busy."""
        host = self.headers.get('Host', '')
        name = urllib.parse.urlsplit(f'//{host}').hostname
        if self.server.host in LOOPBACK and name not in LOOPBACK:
            raise Refused(403, f'this server is not {shown(host)}')
        if from_another_site(self.headers):
            raise Refused(403, 'other sites may not ask')

    def send(self, status, kind, data):
        self.send_response(status)
        headers = HEADERS | {'Content-Type': kind, 'Content-Length': len(data)}
        for name, value in headers.items():
            self.send_header(name, str(value))
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    def send_error(self, code, message=None, explain=None):
        """What http.server itself refuses, such as an address of 64 KiB or an unknown method."""
        self.close_connection = True
        message = message or self.responses[code][0]
        if code == 414:
            message = 'the address is too long: send the text by POST to /detect'
        self.send(code, *json_of({'error': message}))


def json_of(record):
    text = json.dumps(record, ensure_ascii=False, allow_nan=False) + '\n'
    return 'application/json; charset=utf-8', text.encode('utf-8', 'backslashreplace')


def page_files(model_name, with_detector):
    """The files of the page: {path: (type, bytes)}."""
    style = own_file(surprisal_page.__file__, 'css') + pasted_text.CSS + findings_page.CSS
    script = own_file(surprisal_page.__file__, 'js') + pasted_text.JS + findings_page.JS
    values = {
        'LEAD': findings_page.lead(model_name, with_detector),
        'PART': findings_page.part('detector'),
        'RANKS': rank_page.RANKS,
        'CARD': surprisal_page.CARD,
    }
    page = filled(page_file('html'), values)
    return {
        '/': ('text/html; charset=utf-8', page.encode()),
        '/page.css': ('text/css; charset=utf-8', (style + page_file('css')).encode()),
        '/page.js': ('text/javascript; charset=utf-8', (script + page_file('js')).encode()),
    }


def page_file(ending):
    return own_file(os.path.join(os.path.dirname(__file__), 'server_page'), ending)
