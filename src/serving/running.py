"""How the server begins and ends: a port, a thread that answers, signals. No TensorFlow."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from support.stopping import Stopped, handling, our_signals
from support.web import listening_errors

MOST_CONNECTIONS = 1000
BACKLOG = 128  # connections that wait to be accepted
IDLE_SECONDS = 30  # that a connection stays open without a whole request, or after an answer
LAST_SECONDS = 5  # for answers that end with the server to be sent
LOOK_SECONDS = 0.05  # between two looks at what has changed


class Connection(H11Protocol):
    """A connection that is closed when nothing moves on it but what nobody asked for.

    uvicorn would wait for a request that is begun and never ends, for the rest of a body that was
    refused, and for a client that does not read.
    """

    def connection_made(self, transport):
        super().connection_made(transport)
        self.loop.call_later(IDLE_SECONDS, self.look, (None, 0))

    def data_received(self, data):
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # the rest of a body is none, and the answer is sent already
            self.transport.abort()

    def look(self, before):
        """Close the connection if it is where it was at the look before, and no answer is due."""
        now = self.cycle, self.transport.get_write_buffer_size()
        if now == before and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()  # `close` would wait until the client has read
        elif self in self.connections:
            self.loop.call_later(IDLE_SECONDS, self.look, now)


def listening(host, port):
    """A socket that listens, for a `with` block; port 0 takes any that is free.

    Raises ValueError, in one line, if another program has the port or the address is not ours.
    """
    with listening_errors(host, port):
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name != 'nt':  # where it would share the port with another program
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    return listener


@contextlib.contextmanager
def answering(app, listener):
    """Have requests answered in a thread of its own; yields this thread."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws='none',
        lifespan='off',
        log_config=None,
        log_level='critical',
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    # It warns of each piece of a stream that comes after its client has left.
    logging.getLogger('asyncio').setLevel(logging.ERROR)
    server = uvicorn.Server(config)
    serving = server.serve(sockets=[listener])
    thread = threading.Thread(target=asyncio.run, args=(serving,), name='answers', daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        server.should_exit = True
        thread.join(2 * LAST_SECONDS)


def serve_until_signal(service, thread):
    """Wait for Ctrl-C, SIGTERM or SIGHUP; then refuse what comes, and answer what is there.

    That may take as long as a request may. A second signal interrupts it at once.
    thread: the one that answers. Raises RuntimeError if it ends by itself.
    """
    ending = threading.Event()

    def press(number, _):
        if ending.is_set():
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)
        ending.set()

    with handling(our_signals(), press):
        while not ending.wait(LOOK_SECONDS):
            if not thread.is_alive():
                raise RuntimeError('the thread that answers requests has ended')
        service.stopping = True
        end = time.monotonic() + service.most_seconds
        while service.in_flight and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
