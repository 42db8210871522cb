"""What is scored: windows of tokens, and the numbers that a model gives to them. No TensorFlow."""

import typing
from collections.abc import Sequence

import numpy as np

from support.checks import check_whole


class Window(typing.NamedTuple):
    """tokens: what the model reads and, after it, the last token that is scored.
    first: the first token that is scored, at least 1; those before are context only.
    """

    tokens: Sequence[int]
    first: int


class Scores(typing.NamedTuple):
    """What a model gives to n tokens that follow each other.

    logprobs: float32 [n], nats.  ranks: int32 [n], 1 for the argmax; of equally likely tokens
    the lower ids come first.  Of the distribution p that each token was drawn from, float32 [n]:
    entropies: nats.  second_moments: the means of log^2 p, nats^2.  mass_before: the probability of
    all tokens that rank before this one.
    top_ids: int32 [n, k], the k most likely tokens.  top_logprobs: float32 [n, k], theirs. A token
    of rank 1 is the first of these, and has exactly that log-probability.
    All but logprobs are None where they were not asked for.
    """

    logprobs: np.ndarray
    ranks: np.ndarray | None = None
    entropies: np.ndarray | None = None
    second_moments: np.ndarray | None = None
    mass_before: np.ndarray | None = None
    top_ids: np.ndarray | None = None
    top_logprobs: np.ndarray | None = None

    @property
    def total(self):
        """The log-probability of all of them, summed in float64."""
        return float(self.logprobs.sum(dtype=np.float64))

    @property
    def top(self):
        """The most likely tokens and their log-probabilities, or None."""
        return None if self.top_ids is None else (self.top_ids, self.top_logprobs)

    @property
    def greedy(self):
        """Whether each is the most likely token, the argmax."""
        return bool((self.ranks == 1).all())


def windows_of(n_tokens, context, stride):
    """Cut a sequence into windows that score each token but the first exactly once.

    context: the most tokens that are read to predict one.  stride: tokens that each window but the
    first scores; the fewer, the more context each of them has, and the longer it takes.
    Returns a list of (start, end, first): the window is tokens[start:end], scored from `first` on.
    With 11 tokens, context 4 and stride 2, where r is only read and s is scored (the last one of a
    window is not read there):

        tokens      0 1 2 3 4 5 6 7 8 9 10      start, end, first
                    r s s s s                   0, 5, 1
                        r r r s s               2, 7, 5
                            r r r s s           4, 9, 7
                                r r r s s       6, 11, 9

    So a token is predicted from `context` - `stride` + 1 to `context` tokens, the very first ones
    from fewer. The last window scores what is left, and reads a whole context all the same.
    Raises ValueError unless 1 <= stride <= context.
    """
    check_whole('context', context, least=1)
    check_whole('stride', stride, least=1, below=context + 1)
    windows, first = [], 1
    while first < n_tokens:
        end = min(first + (stride if windows else context), n_tokens)
        windows.append((max(end - context - 1, 0), end, first))
        first = end
    return windows


class Cutter:
    """Cuts documents into windows as a Scorer does, where there is no model but its tokenizer.

    encoder, hparams: the model's.
    """

    def __init__(self, encoder, hparams):
        self.encoder, self.hparams = encoder, hparams

    def document_windows(self, tokens, context=None, stride=None, start=True):
        """The windows of a document; arguments and errors as `Scorer.score_document` has them."""
        context = self.hparams.n_ctx if context is None else context
        check_whole('context', context, least=1, below=self.hparams.n_ctx + 1)
        stride = max(context // 2, 1) if stride is None else stride
        tokens = np.asarray(tokens, np.int64)
        if start:
            tokens = np.concatenate([[start_of(self.encoder)], tokens])
        if len(tokens) < 2:
            raise ValueError('there is no token to score')
        return [
            Window(tokens[begin:end], first - begin)
            for begin, end, first in windows_of(len(tokens), context, stride)
        ]


def start_of(encoder):
    """The token that a document is read after: <|endoftext|>."""
    if encoder.end_of_text is None:
        raise ValueError('the vocabulary has no <|endoftext|> to start a text with')
    return encoder.end_of_text


def split_tokens(encoder, prompt, continuation):
    """The tokens of a prompt and of what continues it, split from those of the whole text.

    The whole is encoded at once, as the model has seen text: ' the' after 'in' is one token only
    because no token spans the two. A token that begins in the prompt and ends after it belongs to
    the continuation, which is then scored with those characters.
    """
    tokens = encoder.encode(prompt + continuation)
    room = len(prompt.encode('utf-8'))
    for n, token in enumerate(tokens):
        room -= len(encoder.decode_bytes([token]))
        if room < 0:
            return tokens[:n], tokens[n:]
    return tokens, []


def joined(parts):
    """The Scores of tokens that follow each other, from those of their windows."""
    arrays = zip(*parts, strict=True)
    return Scores(*(None if each[0] is None else np.concatenate(each) for each in arrays))
