"""How likely single sentences are, as those are scored that differ in a stereotype.

A sentence's first token is predicted from <|endoftext|>, and all others from the sentence alone,
without <|endoftext|>: so StereoSet's code scores them (Nadeem et al. 2020), and with it all whose
figures are to be compared. No TensorFlow.
"""

from typing import NamedTuple

from scoring.windows import Window


class Compared(NamedTuple):
    """Sentences that are compared: a unit of work.

    sentences: for each a list of Window, whose first one scores the first token.
    about: what the task needs to know of them.
    """

    sentences: list
    about: object

    @property
    def windows(self):
        return [window for sentence in self.sentences for window in sentence]

    @property
    def cost(self):
        """Tokens that are read."""
        return sum(len(window.tokens) for window in self.windows)

    @property
    def scored(self):
        return sum(len(window.tokens) - window.first for window in self.windows)


class Likelihood(NamedTuple):
    """The log-probabilities of a sentence, in nats.

    first: of its first token.  rest: of all others together.  tokens: how many it has.
    """

    first: float
    rest: float
    tokens: int

    @property
    def mean(self):
        """Of a token, StereoSet's score: exp of it is the geometric mean of the probabilities."""
        return (self.first + self.rest) / self.tokens

    @property
    def mean_of_rest(self):
        """Of a token but the first, minus the logarithm of what others call the perplexity."""
        return self.rest / max(self.tokens - 1, 1)


def sentence_windows(text, scorer, context):
    """The windows of a sentence, a list of Window; one longer than the context has several."""
    tokens = scorer.encoder.encode(text)
    first = Window([scorer.encoder.end_of_text, tokens[0]], 1)
    if len(tokens) == 1:
        return [first]
    return [first, *scorer.document_windows(tokens, context, start=False)]


def likelihoods(scorer, parts, progress=None):
    """Yield for each Compared a list with the Likelihood of each of its sentences."""
    windows = (window for part in parts for window in part.windows)
    scores = scorer.score_windows(windows, progress=progress, ranks=False)
    for part in parts:
        found = []
        for sentence in part.sentences:
            first, *rest = [next(scores) for _ in sentence]
            n_tokens = 1 + sum(len(score.logprobs) for score in rest)
            found.append(Likelihood(first.total, sum(score.total for score in rest), n_tokens))
        yield found
