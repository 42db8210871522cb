"""Requests for texts, more than run at a time: rows whose texts have ended take the next ones.

How a row does that is in rows.py. No TensorFlow.
"""

import collections
import typing

from generation.text_stream import TextStream


class Request(typing.NamedTuple):
    """A prompt to continue."""

    prompt: list  # of token ids
    sample: int = 0  # its number, which with the seed alone decides what is drawn
    top_p: float | None = None  # its own, in place of the settings'


class Completion(typing.NamedTuple):
    """What has followed a prompt."""

    tokens: list  # new ids: before the end token, up to the one that completes a stop string
    logprobs: list  # of each in nats, by the model itself; then of the end token, if that has come
    ended: bool  # by the end token
    stopped: bool  # by a stop string


class Text:
    """A text that is growing.

    number: of its request.  stops: strings that end it.
    """

    def __init__(self, number, encoder, stops, settings):
        self.number, self.length = number, settings.length
        self.end_token = encoder.end_of_text if settings.stop_at_end else None
        self.stream = TextStream(encoder, stops) if stops else None
        self.tokens, self.logprobs, self.ended = [], [], False

    def add(self, token, logprob):
        """Add the next token; whether it becomes one of the text's."""
        self.logprobs.append(logprob)
        self.ended = token == self.end_token
        if not self.ended:
            self.tokens.append(token)
            if self.stream:
                self.stream.add([token])
        return not self.ended

    @property
    def stopped(self):
        return bool(self.stream and self.stream.ended)

    @property
    def complete(self):
        return self.ended or self.stopped or len(self.tokens) == self.length

    def completion(self):
        return Completion(self.tokens, self.logprobs, self.ended, self.stopped)


def completions(start, encoder, requests, settings, stops, progress):
    """The texts of Generator.complete, as they end: (number of the request, Completion).

    start: a function that returns a rows.Rows.
    """
    rows = start()
    waiting, free = collections.deque(enumerate(requests)), collections.deque(range(rows.n))
    texts = {}  # {row: Text}
    idle = 0  # rows that were free in steps since others have joined, all steps together
    while waiting or texts:
        # To let rows join takes about as long as a step: so much may be lost while others wait.
        if waiting and free and (idle >= rows.n or not texts):
            joining = {free.popleft(): one for one in pop(waiting, len(free))}
            rows.join({row: request for row, (_, request) in joining.items()})
            for row, (number, _) in joining.items():
                texts[row] = Text(number, encoder, stops, settings)
            idle = 0
        new, logprobs = (of_rows.tolist() for of_rows in rows.step())
        n_new = sum(text.add(new[row], logprobs[row]) for row, text in texts.items())
        if progress:
            progress(n_new)
        for row in [row for row, text in texts.items() if text.complete]:
            rows.leave(row)
            free.append(row)
            text = texts.pop(row)
            yield text.number, text.completion()
        idle += len(free)


def pop(queue, n):
    """Up to n items from the left of a queue."""
    return [queue.popleft() for _ in range(min(n, len(queue)))]
