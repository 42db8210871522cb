"""The door of the server: who may ask, how much, for how long. No TensorFlow.

A page of another site, opened in a browser on this machine, must neither read what the server says
nor keep it busy. So there is no CORS, and what comes from other origins is refused, by the headers
that browsers set and pages cannot. A name that was pointed at this machine (DNS rebinding) is
refused by the header Host, which must be localhost, an address, or the server's own name; where
requests need a key, the key does that.
"""

import hmac
import ipaddress
import os
import sys
import time
import traceback
import urllib.parse

import anyio

from detection.oracle import Gone
from serving.errors import Refused, json_bytes
from serving.metrics import OTHER
from support.files import shown
from support.web import HEADERS, from_another_site

OPEN = ('/', '/health')  # paths that need no API key
ALWAYS = ('/health', '/metrics')  # paths that answer while the model is loaded, or the server ends
BODY_SECONDS = 30  # that a body may take
SRC = os.path.dirname(os.path.dirname(__file__))
WEB = {name.lower().encode(): value.encode() for name, value in HEADERS.items()}


class Guard:
    """An ASGI application around another: checks, limits, headers, errors and counts.

    service: serving.service.Service.  paths: that are counted by name.
    """

    def __init__(self, app, service, paths):
        self.app, self.service, self.paths = app, service, paths

    async def __call__(self, scope, receive, send):
        if scope['type'] != 'http':
            raise ValueError(f'this server speaks HTTP, not {scope["type"]}')
        start, status = time.monotonic(), None

        async def sent(message):
            nonlocal status
            if message['type'] == 'http.response.start':
                status = message['status']
                message = message | {'headers': with_headers(message['headers'])}
            await send(message)

        self.service.in_flight += 1
        try:
            self.check(scope)
            await self.app(scope, receive, sent)
        except Gone:
            self.service.metrics.clients_left.inc()
        except Exception as error:
            refused = error if isinstance(error, Refused) else failure(error, scope)
            if status is not None:
                raise  # uvicorn hangs up
            await send_refusal(refused, sent)
        finally:
            self.service.in_flight -= 1
            path = scope['path'] if scope['path'] in self.paths else OTHER
            # 499 is the word of proxies for a client that has closed the connection.
            self.service.metrics.requests.labels(path, status or 499).inc()
            self.service.metrics.request.labels(path).observe(time.monotonic() - start)

    def check(self, scope):
        headers = {name.decode('latin-1'): v.decode('latin-1') for name, v in scope['headers']}
        if self.service.api_key is None:  # a site that is pointed here does not know the key
            check_host(headers.get('host', ''), self.service.host)
        if from_another_site(headers):
            raise Refused(403, 'other sites may not ask')
        if scope['path'] not in OPEN:
            check_key(headers.get('authorization', ''), self.service.api_key)
        if scope['path'] not in ALWAYS:
            self.service.check_ready()


def check_host(host, own):
    """Refuse a name that is neither localhost nor the server's own: any site may have it."""
    try:
        name = urllib.parse.urlsplit(f'//{host}').hostname or ''
    except ValueError:
        name = ''
    if name in ('localhost', own.lower()):
        return
    try:
        ipaddress.ip_address(name.partition('%')[0])
    except ValueError:
        message = f'this server is not {shown(host)!r}: other names than --host need an API key'
        raise Refused(403, message) from None


def check_key(authorization, key):
    """Refuse a request without the API key, in a time that does not depend on what it has."""
    kind, _, given = authorization.partition(' ')
    right = hmac.compare_digest(given.strip().encode(), (key or '').encode())
    if key and not (right and kind.lower() == 'bearer'):
        message = 'this server asks for an API key: Authorization: Bearer KEY'
        headers = {'WWW-Authenticate': 'Bearer'}
        raise Refused(401, message, code='invalid_api_key', headers=headers)


def with_headers(headers):
    """The headers of an answer, and those that it does not set itself, against abuse."""
    own = {name.lower() for name, _ in headers}
    return [*headers, *((name, value) for name, value in WEB.items() if name not in own)]


def failure(error, scope):
    """What is answered when the server is at fault; where that was is told on standard error."""
    frames = traceback.extract_tb(error.__traceback__)
    place = [frame for frame in frames if frame.filename.startswith(SRC)][-1:] or frames[-1:]
    where = ''.join(f'{os.path.basename(frame.filename)}:{frame.lineno}' for frame in place)
    kind = type(error).__name__
    print(f'error: {shown(scope["path"])} failed: {kind} at {where}', file=sys.stderr, flush=True)
    return Refused(500, f'the server failed ({kind})')


async def send_refusal(refused, send):
    data = json_bytes(refused.body())
    headers = refused.headers | {
        'content-type': 'application/json; charset=utf-8',
        'content-length': str(len(data)),
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({'type': 'http.response.start', 'status': refused.status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': data})


async def body_of(scope, receive, most_bytes):
    """The bytes of a request's body, of no more than most_bytes and BODY_SECONDS.

    They are counted as they come: a chunked body has no Content-Length. Gone is raised if it breaks
    off; what is not read of a refused one uvicorn reads and drops.
    """
    length = dict(scope['headers']).get(b'content-length', b'')
    if length.isdigit() and int(length[:18]) > most_bytes:
        raise too_long(most_bytes)
    data, more = bytearray(), True
    try:
        with anyio.fail_after(BODY_SECONDS):
            while more:
                message = await receive()
                if message['type'] == 'http.disconnect':
                    raise Gone
                data += message.get('body', b'')
                more = message.get('more_body', False)
                if len(data) > most_bytes:
                    raise too_long(most_bytes)
    except TimeoutError:
        raise Refused(408, f'the body took more than {BODY_SECONDS} seconds') from None
    return bytes(data)


def too_long(most_bytes):
    return Refused(413, f'a body may have at most {most_bytes} bytes')
