"""What servers on this machine have in common: a port, headers against abuse, who may ask.

A page of another site, opened in a browser on this machine, must neither read what a server says
nor keep it busy. No TensorFlow.
"""

import contextlib
import errno
import socket

HEADERS = {
    # A page loads nothing from elsewhere, runs nothing of the texts, and stands in no frame.
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-store',
}


@contextlib.contextmanager
def listening_errors(host, port):
    """Raise what goes wrong while a port is bound in the block as a ValueError of one line."""
    try:
        yield
    except socket.gaierror as error:
        raise ValueError(f'there is no address {host} here ({error.strerror})') from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f'another program listens at port {port} of {host}: choose another --port'
            ) from error
        raise ValueError(f'cannot listen at port {port} of {host}: {error.strerror}') from error


def address(host, port):
    """Where a browser on the server's machine finds it."""
    host = {'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host)  # those stand for all addresses
    return f'http://[{host}]:{port}/' if ':' in host else f'http://{host}:{port}/'


def from_another_site(headers):
    """Whether another site sends a request through a browser; a link may lead to a page.

    headers: has `get`, by names in lower case. Browsers set these, and pages cannot.
    """
    origin, embedded = headers.get('origin'), headers.get('sec-fetch-mode') != 'navigate'
    if origin is not None and origin.partition('://')[2] != headers.get('host'):
        return True
    return embedded and headers.get('sec-fetch-site') == 'cross-site'
