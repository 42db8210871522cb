"""The server and its page on a model that is made up, for a browser."""

import contextlib

import numpy as np

from detection.oracle import Oracle
from helpers.serving import small_service
from helpers.stub_detector import StubDetector
from helpers.stub_scorer import StubScorer
from scoring.windows import Scores
from serving import running
from serving.app import make_app

HOST = '127.0.0.1'


class PromptScorer(StubScorer):
    """Gives byte b the log-probability -b / 100, as helpers.serving.ByteRows do, and the next ones
    less."""

    def score_windows(self, windows, progress=None, ranks=True, n_top=0):
        for window in windows:
            tokens = np.array(window.tokens[1:], np.int32)
            logprobs = (-tokens / 100).astype(np.float32)
            nth = np.arange(n_top)
            top = (tokens[:, None] + nth) % 257, logprobs[:, None] - nth
            yield Scores(logprobs, top_ids=top[0], top_logprobs=top[1])


@contextlib.contextmanager
def page_server(answers, port=0, **more):
    """(address, serving.service.Service) of a server of texts as helpers.serving has them."""
    scorer = PromptScorer()
    more = {
        'scorer': scorer,
        'oracle': Oracle(scorer, StubDetector()),
        'with_detector': True,
    } | more
    with (
        small_service(answers, **more) as service,
        running.listening(HOST, port) as listener,
        running.answering(make_app(service), listener),
    ):
        yield f'http://{HOST}:{listener.getsockname()[1]}/', service
