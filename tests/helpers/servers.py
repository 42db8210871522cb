"""Web servers on this machine."""

import contextlib
import functools
import http.server
import socketserver
import threading


@contextlib.contextmanager
def web_server(folder):
    """(address, paths asked for by GET) of Python's own web server over a folder."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}', asked
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def raw_server(answer):
    """(address, requests) of a server that sends whatever it is told to, and hangs up.

    answer: function (method, first byte asked for) -> iterable of bytes.
    requests: list of these pairs.
    """
    requests = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            lines = iter(lambda: self.rfile.readline().decode('latin-1').strip().lower(), '')
            method = next(lines, '').split(' ')[0].upper()
            ranges = [line for line in lines if line.startswith('range: bytes=')]
            first = int(ranges[0].split('=')[1].split('-')[0]) if ranges else 0
            requests.append((method, first))
            with contextlib.suppress(OSError):  # the client has heard enough
                for block in answer(method, first):
                    self.wfile.write(block)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass  # a client that went in the midst of a request

    with Server(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}', requests
        finally:
            server.shutdown()
            thread.join()
