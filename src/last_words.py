"""LAMBADA: how well a model predicts the last word of a passage. No TensorFlow.

Three ways to count a prediction are in use, and all are reported (Radford et al. 2019, section 3.3,
does not say how it was done):

whole word      each token of the word is the likeliest one behind those before it
stop words out  the likeliest word that is no stop word is the word; see `likeliest_words`. A word
                that is not of letters and digits alone (o'clock), which it does not find, is
                counted as a whole word
last token      the last token of the word is the likeliest one behind those before it
"""

import re
from typing import NamedTuple

import numpy as np

from choice_scoring import fitting
from scored_windows import split_tokens

CANDIDATES = 40  # likeliest next tokens that words are looked for behind
WORD_TOKENS = 12  # no word is longer
BEGINNING = re.compile(r' [^\W_]*')  # of a word: a space, letters and digits

# Words of English that carry grammar, not content; our own list, since the paper's is not
# published. The forms that a tokenizer leaves of contractions (don, ll) are among them.
STOP_WORDS = frozenset(
    """
    a an the this that these those each every either neither some any no all both half such
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one ones oneself
    who whom whose which what whoever whatever whichever someone somebody something anyone anybody
    anything everyone everybody everything nobody nothing none another other others
    am is are was were be been being isn aren wasn weren ain
    have has had having hasn haven hadn do does did doing done don doesn didn
    will would shall should can could may might must ought wouldn shouldn couldn mustn won shan
    needn ll ve re s t d m
    of in on at by for with about against between among into onto through during before after above
    below to from up down out off over under again around across along behind beside besides beyond
    near toward towards upon within without via per despite except until till since
    and but or nor so yet if because as while although though unless whether than whereas
    not never only just even also too very quite rather almost still already then there here now
    once ever always often sometimes when where why how whenever wherever however thus hence
    therefore else instead perhaps maybe more most much many few less least little several enough
    own same well away back
    """.split()
)


class Passage(NamedTuple):
    """prompt: tokens of all before the word.  word: str, without the space.  tokens: its tokens."""

    prompt: list[int]
    word: str
    tokens: list[int]

    @property
    def cost(self):
        """Tokens that are read: once for its own word, about three times to find the likeliest."""
        return 4 * (len(self.prompt) + len(self.tokens))

    @property
    def scored(self):
        return len(self.tokens)


COLUMNS = ('nll', 'last_nll', 'right', 'right_filtered', 'last_right')


def passages(texts, scorer, context, _stride):
    """The Passages of texts: the last word is all behind the last white space."""
    found = []
    for text in texts:
        parts = re.fullmatch(r'(?s)(.*)\s(\S+)\s*', text)
        if parts is None:
            raise ValueError(f'there is no last word to predict in {text!r}')
        before, word = parts.groups()
        prompt, tokens = split_tokens(scorer.encoder, before, ' ' + word)
        found.append(Passage(fitting(prompt, len(tokens), context), word, tokens))
    return found


def score_passages(scorer, some, progress=None):
    """What `COLUMNS` says of each Passage, float64 [passages, columns]."""
    pairs = [(passage.prompt, passage.tokens) for passage in some]
    found = likeliest_words(scorer, [passage.prompt for passage in some])
    rows = []
    for passage, word, scores in zip(
        some, found, scorer.score_continuations(pairs, progress=progress), strict=True
    ):
        logprobs = scores.logprobs.astype(np.float64)
        rows.append(
            (
                -logprobs.sum(),
                -logprobs[-1],
                scores.greedy,
                word == passage.word if is_findable(passage.word) else scores.greedy,
                scores.ranks[-1] == 1,
            )
        )
    return np.array(rows, np.float64)


def is_findable(word):
    """Whether `likeliest_words` may find a word: is it of letters and digits?"""
    return BEGINNING.fullmatch(' ' + word) is not None


def likeliest_words(scorer, contexts):
    """The likeliest next word of each context that is no stop word, list of str; '' if none is.

    A word is what follows a space, letters and digits, up to the first token that is no part of it.
    Each of the CANDIDATES likeliest next tokens is made a word by taking the likeliest token behind
    it, again and again; the word's probability is the product of those of its tokens. Stop words
    are left out. Candidates that are less likely than the best word are not completed: a word
    cannot be likelier than its beginning.
    """
    k = min(CANDIDATES, scorer.hparams.n_vocab)
    tokens, logprobs = scorer.next_tokens(contexts, k)
    searches = [
        WordSearch(scorer.encoder, zip(ids.tolist(), row.tolist(), strict=True))
        for ids, row in zip(tokens, logprobs, strict=True)
    ]
    n_ctx = scorer.hparams.n_ctx
    while True:
        open_ones = [n for n, search in enumerate(searches) if search.tokens]
        if not open_ones:
            return [search.best for search in searches]
        longer = [(list(contexts[n]) + searches[n].tokens)[-n_ctx:] for n in open_ones]
        tokens, logprobs = scorer.next_tokens(longer, 1)
        for n, token, logprob in zip(open_ones, tokens[:, 0], logprobs[:, 0], strict=True):
            searches[n].extend(int(token), float(logprob))


class WordSearch:
    """Makes words of likely tokens, one behind the other, and keeps the best.

    candidates: iterator of (token, log-probability), likeliest first.
    tokens: of the word that is being made, whose next token `extend` is to be told; empty at the
    end.  best: the likeliest word so far.
    """

    def __init__(self, encoder, candidates):
        self.encoder, self.candidates = encoder, candidates
        self.best, self.best_logprob = '', -np.inf
        self._take_next()

    def _take_next(self):
        """Begin with the next candidate that may become the best word."""
        self.tokens = []
        for token, logprob in self.candidates:
            if logprob <= self.best_logprob:
                return
            if self._is_beginning([token]):
                self.tokens, self.logprob = [token], logprob
                return

    def _is_beginning(self, tokens):
        return BEGINNING.fullmatch(self._text(tokens)) is not None

    def _text(self, tokens):
        # The first bytes of a character are no character yet, but may become one.
        return self.encoder.decode_bytes(tokens).decode('utf-8', errors='ignore')

    def extend(self, token, logprob):
        """Take the likeliest token behind `tokens`: more of the word, or what ends it."""
        if self._is_beginning(self.tokens + [token]):
            self.tokens.append(token)
            self.logprob += logprob
            if self.logprob <= self.best_logprob or len(self.tokens) > WORD_TOKENS:
                self._take_next()
            return
        word = self._text(self.tokens)[1:]
        if word and word.lower() not in STOP_WORDS and self.logprob > self.best_logprob:
            self.best, self.best_logprob = word, self.logprob
        self._take_next()
