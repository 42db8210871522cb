"""How a server is asked: sessions of requests that wait neither for ever nor for nonsense."""

import http.client
import io
import os
import time
from contextlib import ExitStack
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import urllib3

from support.files import shown

SLOWEST = 1000  # bytes a second; with less an attempt counts as one that brought nothing
SLOW_SECONDS = 60.0  # so long an answer may be slower, and then it is interrupted
REDIRECTS = 5  # so many in a row are followed
HEADER_BYTES = 1 << 20  # so many in a row are no headers any more
SAID_CHARACTERS = 200  # of what a server says, in a message


class Interrupted(Exception):
    """An attempt failed for a reason that may pass; the server asks for `wait` seconds of peace."""

    def __init__(self, reason, wait=0.0):
        super().__init__(reason)
        self.wait = wait


def open_session(url):
    """A requests.Session for a file's address. Only a file:// address has it read files."""
    session = requests.Session()
    session.headers['Accept-Encoding'] = 'identity'  # offsets and sizes count bytes of the file
    session.max_redirects = REDIRECTS
    if url.startswith('file://'):  # not where a server could redirect to one
        session.mount('file://', FileAdapter())
    return session


class MinimumSpeed(io.RawIOBase):
    """What a server sends, as long as it is not too slow; counts only the time of waiting for it.

    raw: what is read from.  Raises Interrupted. A timeout alone would be content with a byte a
    minute.
    """

    def __init__(self, raw):
        self.raw, self.bytes, self.seconds = raw, 0, 0.0

    def readable(self):
        return True

    def readinto(self, buffer):
        start = time.monotonic()
        count = self.raw.readinto(buffer)
        self.seconds += time.monotonic() - start
        self.bytes += count or 0
        if self.seconds >= SLOW_SECONDS:
            if self.bytes < SLOWEST * self.seconds:
                raise Interrupted(f'slower than {SLOWEST:,} bytes a second')
            self.bytes, self.seconds = 0, 0.0
        return count

    def close(self):
        self.raw.close()
        super().close()


class FiniteLines(io.BufferedReader):
    """Reads lines, which are headers, sizes of chunks and the like, until they are too many."""

    lines = 0  # bytes of them in a row

    def readline(self, size=-1):
        line = super().readline(HEADER_BYTES if size is None or size < 0 else size)
        self.lines += len(line)
        if self.lines >= HEADER_BYTES:
            raise Interrupted(f'{HEADER_BYTES:,} bytes of headers without an end')
        return line

    def read(self, size=-1):
        self.lines = 0  # this is of the file, whose size is looked after
        return super().read(size)

    def readinto(self, buffer):
        self.lines = 0
        return super().readinto(buffer)


class Answer(http.client.HTTPResponse):
    """A server's answer, which comes neither too slowly nor with headers for ever."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fp = FiniteLines(MinimumSpeed(self.fp.detach()))


# requests and urllib3 have no setting for this; it is for all schemes and proxies.
urllib3.connection.HTTPConnection.response_class = Answer


class FileAdapter(requests.adapters.BaseAdapter):
    """Lets requests read file:// URLs, so that a copy on a disk is treated like any mirror."""

    def __init__(self):
        super().__init__()
        self.opened = ExitStack()

    def send(self, request, **_):
        response = requests.Response()
        response.request, response.url = request, request.url
        try:
            path = url2pathname(urlsplit(request.url).path)
            if os.path.exists(path) and not os.path.isfile(path):  # a pipe may never end
                raise OSError(None, 'it is no file')
            response.raw = self.opened.enter_context(open(path, 'rb'))
        except OSError as error:
            response.raw, response.status_code, response.reason = io.BytesIO(), 404, error.strerror
        else:
            response.status_code = 200
            response.headers['Content-Length'] = str(os.path.getsize(path))
        return response

    def close(self):
        self.opened.close()


def said(text):
    """What a server may have put into a message: nothing that a terminal obeys, and not a page."""
    text = shown(' '.join(str(text).split()))
    return text if len(text) <= SAID_CHARACTERS else f'{text[:SAID_CHARACTERS]}…'
