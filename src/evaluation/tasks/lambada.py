"""LAMBADA: how well a model predicts the last word of a passage. No TensorFlow.

Three ways to count a prediction are in use, and all are reported (Radford et al. 2019, section 3.3,
does not say how it was done):

whole word      each token of the word is the most likely one after those before it
stop words out  the most likely word that is no stop word is the word; see `most_likely_words`. A
                word that is not of letters and digits alone (o'clock), which it does not find, is
                counted as a whole word
last token      the last token of the word is the most likely one after those before it
"""

import re
from typing import NamedTuple

import numpy as np

from evaluation import detokenizers
from evaluation.data_files import DataFile, known_choice
from evaluation.metric import Metric, accuracy
from evaluation.task import Task
from evaluation.texts import fitting
from scoring.windows import split_tokens
from support.documents import texts_of

FILES = {  # version: set, file
    'openai': ('lambada', 'lambada_test.jsonl'),
    'plain': ('lambada_plain', 'lambada_test_plain_text.txt'),
}
CANDIDATES = 40  # Words are made of so many of the most likely next tokens.
WORD_TOKENS = 12  # No word has more tokens.
BEGINNING = re.compile(r' [^\W_]*')  # The start of a word: a space, letters and digits.

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


def read_lambada(data_dir='data', version='openai', complete=True):
    """The passages of LAMBADA's test split, a list of str; the last word of each is the question.

    version: 'openai' for the file that came with GPT-2, of texts as in the books; 'plain' for the
        one of the authors of LAMBADA, of lower-case tokens with spaces between.
    """
    file = DataFile(data_dir, *known_choice('version', version, FILES), complete)
    with file.complaints():
        passages = list(texts_of(file.path)) if version == 'openai' else file.lines()
        file.require(len(passages), 'passages')
        for number, passage in enumerate(passages, start=1):
            if len(passage.split()) < 2:
                raise ValueError(f'passage {number} has no word to predict and words before it')
    return passages


class Passage(NamedTuple):
    """prompt: tokens of all before the word.  word: str, without the space.  tokens: its tokens."""

    prompt: list[int]
    word: str
    tokens: list[int]

    @property
    def cost(self):
        """Tokens that are read: once for its own word, about three times in the search."""
        return 4 * (len(self.prompt) + len(self.tokens))

    @property
    def scored(self):
        return len(self.tokens)


COLUMNS = ('nll', 'last_nll', 'right', 'right_filtered', 'last_right')


def passages(texts, scorer, context, _stride):
    """The Passages of texts: the last word is all after the last white space."""
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
    found = most_likely_words(scorer, [passage.prompt for passage in some])
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
    """Whether `most_likely_words` may find a word: is it of letters and digits?"""
    return BEGINNING.fullmatch(' ' + word) is not None


def most_likely_words(scorer, contexts):
    """The most likely next word of each context that is no stop word, list of str; or ''.

    A word is what follows a space, letters and digits, up to the first token that is no part of it.
    Each of the CANDIDATES most likely next tokens is made a word by adding the most likely token
    after it, again and again; the word's probability is the product of those of its tokens. Stop
    words are left out. Candidates that are less likely than the best word are not completed: a word
    cannot be more likely than its beginning.
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
    """Makes words of likely tokens, one after the other, and keeps the best.

    candidates: iterator of (token, log-probability), most likely first.
    tokens: of the word that is being made, whose next token `extend` is to be told; empty at the
    end.  best: the most likely word so far.
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
        """Take the most likely token after `tokens`: more of the word, or what ends it."""
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


def perplexity(total, unit, column):
    normalisation = f'log-probability of the last {unit} / last {unit}'
    return Metric('perplexity', total, None, unit, normalisation, column)


LAST_WORD = {
    'accuracy_filtered': accuracy(
        'right_filtered',
        'passages',
        f'the most likely word but {len(STOP_WORDS)} stop words (own list) is the last',
        'lambada_accuracy',
    ),
    'accuracy': accuracy(
        'right',
        'passages',
        'each token of the last word is the most likely',
        'lambada_accuracy_no_filter',
    ),
    'last_token_accuracy': accuracy(
        'last_right',
        'passages',
        'the last token of the last word is the most likely',
        'lambada_accuracy',
    ),
    'perplexity': perplexity('nll', 'words', 'lambada_perplexity'),
    'last_token_perplexity': perplexity('last_nll', 'tokens', 'lambada_perplexity'),
}


def lambada_task(version, split, detokenizer, detokenize):
    def read(data_dir, complete):
        passages = read_lambada(data_dir, version, complete=complete)
        return [detokenize(passage) for passage in passages]

    return Task(
        read,
        split,
        detokenizer,
        parts=passages,
        score=score_passages,
        columns=COLUMNS,
        resampled='passages',
        metrics=LAST_WORD,
    )


TASKS = {
    'lambada': lambada_task('openai', 'test (lambada_test.jsonl)', 'lambada', detokenizers.lambada),
    'lambada_plain': lambada_task(
        'plain',
        'test (lambada_test_plain_text.txt, lower-case)',
        'lambada_plain',
        detokenizers.lambada_plain,
    ),
}
