"""Perplexity and bits per byte: how well a model predicts whole texts. No TensorFlow."""

import re
from typing import NamedTuple

import numpy as np

from encoder import bytes_to_unicode

CHARACTER_OF_BYTE = bytes_to_unicode()
NOT_UTF8 = re.compile('([\udc80-\udcff]+)')  # as errors='surrogateescape' writes bytes

COLUMNS = ('nll', 'tokens', 'units')


class Text(NamedTuple):
    """content: str or bytes to score.  units: what its score is divided by: words, bytes, …"""

    content: str | bytes
    units: int


class Part(NamedTuple):
    """Windows that are scored together, and the share of the units that falls to them."""

    windows: list
    units: float

    @property
    def cost(self):
        """Tokens that are read."""
        return sum(len(window.tokens) for window in self.windows)

    @property
    def scored(self):
        return sum(len(window.tokens) - window.first for window in self.windows)


def stream(texts, scorer, context, stride):
    """The Parts of long texts, one for each window.

    A text's units are shared out among its tokens: sum(nll) / sum(units) of some windows is their
    nats a token times the tokens a unit of the whole text.
    """
    parts = []
    for text in texts:
        windows = windows_of_text(text, scorer, context, stride)
        n_tokens = sum(len(window.tokens) - window.first for window in windows)
        for window in windows:
            share = (len(window.tokens) - window.first) / n_tokens
            parts.append(Part([window], share * text.units))
    return parts


def documents(texts, scorer, context, stride):
    """The Parts of texts that have nothing to do with each other, one for each text."""
    return [Part(windows_of_text(text, scorer, context, stride), text.units) for text in texts]


def windows_of_text(text, scorer, context, stride):
    """Windows that score each token of a text once; the first one is read after <|endoftext|>."""
    return scorer.document_windows(tokens_of(text.content, scorer.encoder), context, stride)


def tokens_of(content, encoder):
    """The tokens of a text, int32 [tokens]; they decode to it exactly.

    content: str, or bytes that are UTF-8 but for some: these, like the rest of a character that is
    cut in two at the start of a file's last part, become a token each.
    """
    if isinstance(content, str):
        return np.array(encoder.encode(content), np.int32)
    tokens = []
    for piece in NOT_UTF8.split(content.decode('utf-8', errors='surrogateescape')):
        if NOT_UTF8.match(piece):
            some = piece.encode('utf-8', errors='surrogateescape')
            tokens += [encoder.encoder[CHARACTER_OF_BYTE[byte]] for byte in some]
        elif piece:
            tokens += encoder.encode(piece)
    return np.array(tokens, np.int32)


def score_parts(scorer, parts, progress=None):
    """What `COLUMNS` says of each Part, float64 [parts, columns]."""
    windows = [window for part in parts for window in part.windows]
    totals = iter(
        [scores.total for scores in scorer.score_windows(windows, progress=progress, ranks=False)]
    )
    nll = [-sum(next(totals) for _ in part.windows) for part in parts]
    return np.array([(n, part.scored, part.units) for n, part in zip(nll, parts, strict=True)])


def fitting(prompt, n_scored, context):
    """The end of a prompt, so that n_scored tokens after it are predicted from `context` at most.

    Raises ValueError if not one token of it is left.
    """
    if n_scored > context:
        raise ValueError(f'{n_scored} tokens are to be scored with a context of {context}')
    return prompt[-(context + 1 - n_scored) :]
