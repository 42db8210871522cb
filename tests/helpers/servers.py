"""A web server on this machine."""

import contextlib
import functools
import http.server
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
        yield f'http://127.0.0.1:{server.server_address[1]}', asked
        server.shutdown()
        thread.join()
