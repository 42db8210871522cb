"""What servers tell of a text: scores, a detector's rates, and its tokens. No TensorFlow."""

import threading

from detection.findings import find, rows_of
from scoring.outputs import token_records
from scoring.surprisal_page import columns_of


class Closing(Exception):
    """The server ends while a text is being scored."""


class Gone(ConnectionError):
    """Who asked does not wait for the answer any more."""


class Oracle:
    """Tells of texts, one at a time, whichever thread asks.

    scorer: an open Scorer.  detector: an open Detector, or None.
    """

    def __init__(self, scorer, detector=None):
        self.scorer, self.detector = scorer, detector
        self.turn, self.closing = threading.Lock(), False

    def tell(self, text, with_tokens=False, gone=lambda: False):
        """The record of a text; with tokens it has what the page shows of them, too.

        gone: () -> whether nobody waits for it any more; then it ends, by Gone.
        """
        tokens = self.scorer.encoder.encode(text)

        def go_on(_=None):
            if self.closing:
                raise Closing
            if gone():
                raise Gone

        with self.turn:
            go_on()
            ((scores, record),) = find(self.scorer, self.detector, [(text, tokens)], go_on)
        if with_tokens and scores is not None:
            columns = columns_of(list(token_records(self.scorer.encoder, tokens, scores)))
            record |= {'rows': rows_of(record), 'tokens': columns}
        return record

    def close(self):
        """Wait until no text is being scored; what waits its turn gets none."""
        self.closing = True
        self.turn.acquire()
