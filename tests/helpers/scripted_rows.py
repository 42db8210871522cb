"""Rows of a running batch (generation/rows.py) that say given tokens, without a model."""

import contextlib
from typing import NamedTuple

from generation.continuous import batch_of, completions
from hparams import HParams
from support.settings import check_fits


class ScriptedRows:
    """Says, one after the other, the tokens that belong to a request's prompt.

    texts: {prompt as a tuple: tokens}; after the last of them comes `end`.
    pieces: {prompt as a tuple: how many times it must be read before its first token}; or none.
    joined: the numbers of those that began a text, for each time that some did.
    n_steps: how many steps were taken.  left: the numbers of those that left, in order.
    """

    def __init__(self, n, texts, end=0, pieces=None, patiently=False):
        self.n, self.texts, self.end, self.pieces = n, texts, end, pieces or {}
        self.patiently = patiently
        self.said, self.unread, self.joined, self.left, self.n_steps = {}, {}, [], [], 0

    def join(self, requests):
        assert not set(requests) & set(self.said), 'it runs already'
        assert len(requests) + len(self.said) <= self.n, 'there are no more rows'
        self.joined.append(sorted(requests))
        self.said |= {number: list(self.texts[tuple(r.prompt)]) for number, r in requests.items()}
        self.requests = getattr(self, 'requests', {}) | requests
        for number, request in requests.items():
            if self.pieces.get(tuple(request.prompt)):
                self.unread[number] = self.pieces[tuple(request.prompt)]

    def read(self):
        anything = bool(self.unread)
        while self.unread:
            number = min(self.unread, key=self.unread.get)
            self.unread[number] -= 1
            if not self.unread[number]:
                del self.unread[number]
            if not self.patiently:
                break
        return anything

    def step(self):
        running = [number for number in self.said if number not in self.unread]
        self.n_steps += bool(running)
        return {number: self._say(number) for number in running}

    def _say(self, number):
        left = self.said[number]
        token = left.pop(0) if left else self.end
        top = [(token + i, -0.5 * (token + i)) for i in range(self.requests[number].n_top)]
        return token, -0.5 * token, top

    def leave(self, number):
        del self.said[number]
        self.unread.pop(number, None)
        self.left.append(number)


class Encoder(NamedTuple):
    """Token n is the letter of this number; the last one is the end token."""

    end_of_text: int = 26

    def decode_bytes(self, tokens):
        return bytes(ord('a') + token for token in tokens)


class ScriptedEngine:
    """Completes requests by ScriptedRows, as an engine does by others.

    rows: all that it made, in order.
    """

    def __init__(self, encoder=None, texts=None, pieces=None, n_ctx=256):
        self.encoder, self.texts, self.pieces = encoder or Encoder(), texts or {}, pieces
        self.hparams = HParams(n_vocab=self.encoder.end_of_text + 1, n_ctx=n_ctx)
        self.turn, self.made = contextlib.nullcontext(), []

    def check(self, prompts, settings):
        for prompt in prompts:
            check_fits(len(prompt), settings.length, self.hparams.n_ctx)

    def rows(self, n, patiently=False):
        end = self.encoder.end_of_text
        self.made.append(ScriptedRows(n, self.texts, end, self.pieces, patiently))
        return self.made[-1]

    def complete(self, requests, settings, *, stops=(), rows=32, progress=None):
        self.prompts = [request.prompt for request in requests]
        return completions(batch_of(self, requests, settings, stops, rows), progress)
