"""A scorer whose model is a function in Python, so that what it should find is known."""

import numpy as np

from hparams import HParams
from scoring.scorer import Scorer
from scoring.windows import Scores

UNLIKELY = -30.0


class TableScorer(Scorer):
    """Has the windows of the real one, and a model of its own.

    model: tokens of a context, a tuple -> float [V], log-probabilities of the next token.
    """

    def __init__(self, encoder, model, n_ctx=1024):
        self.encoder, self.model = encoder, model
        self.hparams = HParams(n_vocab=encoder.n_vocab, n_ctx=n_ctx, n_embd=1, n_head=1)
        self.read = 0  # tokens, all windows together

    def close(self):
        pass

    def score_windows(self, windows, details=False, progress=None, ranks=True, more=(), n_top=0):
        for tokens, first in windows:
            tokens = [int(token) for token in tokens]
            assert 1 <= first < len(tokens) <= self.hparams.n_ctx + 1
            self.read += len(tokens)
            found = [
                scores_of(self.model(tuple(tokens[:place])), tokens[place])
                for place in range(first, len(tokens))
            ]
            if progress:
                progress(len(found))
            logprobs, ranks = zip(*found, strict=True)
            yield Scores(np.array(logprobs, np.float32), np.array(ranks, np.int32))

    def score_continuations(self, pairs, details=False, progress=None, ranks=True):
        windows = [(list(prompt) + list(rest), len(prompt)) for prompt, rest in pairs]
        return self.score_windows(windows, progress=progress)

    def next_tokens(self, contexts, k):
        assert all(1 <= len(context) <= self.hparams.n_ctx for context in contexts)
        tables = np.array([self.model(tuple(map(int, context))) for context in contexts])
        ids = np.argsort(-tables, axis=1, kind='stable')[:, :k]
        return ids.astype(np.int32), np.take_along_axis(tables, ids, axis=1).astype(np.float32)


def scores_of(logprobs, token):
    """(log-probability, rank) of a token; of equally likely ones the lower ids come first."""
    better = np.sum(logprobs > logprobs[token]) + np.sum(logprobs[:token] == logprobs[token])
    return logprobs[token], 1 + better


def uniform(n_vocab):
    """A model that has learnt nothing."""
    table = np.full(n_vocab, -np.log(n_vocab))
    return lambda context: table


def memory(texts, n_vocab, reach=24):
    """A model that knows lists of tokens by heart: behind `reach` of them it is sure of the next.

    At the start of a list it knows where it is from fewer. Where two lists go on differently it
    takes either for as likely.
    """
    known = {}
    for text in texts:
        for place in range(1, len(text)):
            before = tuple(text[max(place - reach, 0) : place])
            known.setdefault(before, set()).add(text[place])

    def model(context):
        table = np.full(n_vocab, UNLIKELY)
        for n in range(min(len(context), reach), 0, -1):
            if context[-n:] in known:
                table[list(known[context[-n:]])] = -np.log(len(known[context[-n:]]))
                break
        return table

    return model
