import errno
import socket

import pytest

from support import web


def test_addresses_of_both_kinds():
    assert web.address('127.0.0.1', 80) == 'http://127.0.0.1:80/'
    assert web.address('::1', 80) == 'http://[::1]:80/'
    assert web.address('0.0.0.0', 80) == 'http://127.0.0.1:80/'
    assert web.address('::', 80) == 'http://[::1]:80/'


@pytest.mark.parametrize(
    'error, message',
    [
        (socket.gaierror(1, 'unknown'), r'there is no address box here \(unknown\)'),
        (OSError(errno.EADDRINUSE, 'in use'), 'another program listens at port 80 of box'),
        (OSError(errno.EACCES, 'not yours'), 'cannot listen at port 80 of box: not yours'),
    ],
)
def test_what_goes_wrong_with_a_port_is_one_line(error, message):
    with pytest.raises(ValueError, match=message), web.listening_errors('box', 80):
        raise error


@pytest.mark.parametrize(
    'headers, foreign',
    [
        ({}, False),
        ({'host': 'a:1', 'origin': 'http://a:1'}, False),
        ({'host': 'a:1', 'origin': 'http://a:2'}, True),
        ({'host': 'a', 'origin': 'null'}, True),
        ({'origin': 'http://a'}, True),
        ({'sec-fetch-site': 'cross-site'}, True),
        ({'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate'}, False),
        ({'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors'}, False),
    ],
)
def test_what_another_site_sends(headers, foreign):
    assert web.from_another_site(headers) == foreign
