"""What the server refuses, and how it says so: OpenAI's error objects. No TensorFlow."""

import contextlib
import json

LONGEST = 300  # characters of a message, which may quote what came in
TYPES = {401: 'authentication_error', 403: 'permission_error', 429: 'rate_limit_error'}


class Refused(Exception):
    """A request that is answered by an error.

    status: of the answer.  message: one line.  param: the field at fault.  code: OpenAI's word.
    headers: dict of more headers.
    """

    def __init__(self, status, message, param=None, code=None, headers=None):
        super().__init__(message)
        self.status, self.message = status, one_line(message)
        self.param = None if param is None else one_line(param)  # a field may have any name
        self.code, self.headers = code, headers or {}

    def body(self):
        """The JSON object of the answer."""
        default = 'server_error' if self.status >= 500 else 'invalid_request_error'
        error = {'message': self.message, 'type': TYPES.get(self.status, default)}
        return {'error': error | {'param': self.param, 'code': self.code}}


@contextlib.contextmanager
def naming(param):
    """Have a ValueError of the block refused, as the fault of a field."""
    try:
        yield
    except ValueError as error:
        raise Refused(400, str(error), param) from None


def one_line(text):
    """A text as one line of at most LONGEST characters."""
    text = ' '.join(text.split())
    return text if len(text) <= LONGEST else f'{text[: LONGEST - 3]}...'


def json_bytes(value):
    """JSON in UTF-8; what is no character (a lone surrogate in a message) is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    return text.encode('utf-8', 'backslashreplace')
