"""Server-sent events: how the chunks of a stream are sent. No TensorFlow."""

import contextlib

import anyio

from detection.oracle import Gone
from serving.errors import Refused, json_bytes
from serving.guard import failure
from serving.service import unless_gone

SEND_SECONDS = 30  # that a client may take to read what it is sent
HEADERS = [(b'content-type', b'text/event-stream; charset=utf-8')]
DONE = b'data: [DONE]\n\n'


class EventStream:
    """An answer of events, an ASGI application.

    chunks: an asynchronous generator of JSON objects; it is closed when the client hangs up. What
      it raises before the first one is an answer with a status of its own, later it is an event.
    """

    def __init__(self, chunks):
        self.chunks = chunks

    async def __call__(self, scope, receive, send):
        await unless_gone(receive, self.send_all(scope, send))

    async def send_all(self, scope, send):
        async with contextlib.aclosing(self.chunks) as chunks:
            event = event_of(await anext(chunks))
            await send({'type': 'http.response.start', 'status': 200, 'headers': HEADERS})
            try:
                await send_body(send, event)
                async for chunk in chunks:
                    await send_body(send, event_of(chunk))
                await send_body(send, DONE)
            except (Gone, OSError):
                raise Gone from None
            except Exception as error:
                refused = error if isinstance(error, Refused) else failure(error, scope)
                await send_body(send, event_of(refused.body()))
            await send_body(send, b'', more=False)


def event_of(value):
    return b'data: ' + json_bytes(value) + b'\n\n'


async def send_body(send, data, more=True):
    """Send a piece of an answer; Gone if the client does not read."""
    message = {'type': 'http.response.body', 'body': data, 'more_body': more}
    try:
        with anyio.fail_after(SEND_SECONDS):
            await send(message)
    except TimeoutError:
        raise Gone from None
