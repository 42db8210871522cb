"""Rows of a running batch (generation/rows.py) that say given tokens, without a model."""

import numpy as np

from generation.continuous import completions


class ScriptedRows:
    """Says, one after the other, the tokens that belong to a request's prompt.

    texts: {prompt as a tuple: tokens}; after the last of them comes `end`.
    joined: the numbers of the rows that began a text, for each time that some did.
    n_steps: how many steps were taken.
    """

    def __init__(self, n, texts, end=0):
        self.n, self.texts, self.end = n, texts, end
        self.said, self.joined, self.n_steps = {}, [], 0

    def join(self, requests):
        assert not set(requests) & set(self.said), 'a row runs already'
        self.joined.append(sorted(requests))
        self.said |= {row: list(self.texts[tuple(r.prompt)]) for row, r in requests.items()}

    def step(self):
        self.n_steps += 1
        new = np.full(self.n, self.end)
        for row, left in self.said.items():
            new[row] = left.pop(0) if left else self.end
        return new, -0.5 * new

    def leave(self, row):
        del self.said[row]


class ScriptedEngine:
    """Completes requests by ScriptedRows, as an engine does by others."""

    def __init__(self, encoder, texts):
        self.encoder, self.texts = encoder, texts

    def complete(self, requests, settings, *, stops=(), rows=32, progress=None):
        self.prompts = [request.prompt for request in requests]
        self.rows = ScriptedRows(rows, self.texts, self.encoder.end_of_text)
        start, encoder = lambda: self.rows, self.encoder
        return completions(start, encoder, requests, settings, stops, progress)
