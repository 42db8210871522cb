"""Continuous batching: texts join a running batch, and leave it, between any two tokens.

What a batch computes with is in rows.py. No TensorFlow.
"""

import itertools
import typing

from generation.text_stream import TextStream
from support.checks import check_number, check_whole
from support.settings import Settings

# Pieces of prompts that are read before the texts that run go on. Each takes about as long as two
# steps: so a new request gets most of the time, and has to wait half as long again as alone.
PIECES_BETWEEN_STEPS = 2
LARGEST = 1e4  # of a bias or a penalty: beyond any use, and safe to add to logits


class Request(typing.NamedTuple):
    """A prompt to continue."""

    prompt: list  # of token ids
    sample: int = 0  # its number, which with the seed alone decides what is drawn
    settings: Settings | None = None  # its own, in place of those of all requests
    stops: tuple = ()  # strings that end its text
    bias: dict | None = None  # {token: what is added to its logit}
    # OpenAI's: subtracted from the logits of tokens that the text, not the prompt, holds; and
    # subtracted once for each time that it holds them.
    presence_penalty: float = 0
    frequency_penalty: float = 0
    n_top: int = 0  # how many of the most likely tokens are told of each position


class New(typing.NamedTuple):
    """The next token of a text."""

    token: int
    logprob: float  # in nats, by the model itself: before temperature, truncation, penalty and bias
    top: list  # [(token, logprob)] of the most likely ones, best first, out of the same numbers
    end: str | None  # None: the text goes on.  'end': this is the end token, which is not part of
    # the text.  'stop': the token completes a stop string.  'length': it is the last one asked for.


class Completion(typing.NamedTuple):
    """What has followed a prompt."""

    tokens: list  # new ids: before the end token, up to the one that completes a stop string
    logprobs: list  # of each in nats, by the model itself; then of the end token, if that has come
    ended: bool  # by the end token
    stopped: bool  # by a stop string


class Text:
    """A text that is growing: what a Request asks of it, and how far it has come."""

    def __init__(self, request, encoder):
        settings = request.settings
        self.end_token = encoder.end_of_text if settings.stop_at_end else None
        self.stream = TextStream(encoder, request.stops) if request.stops else None
        self.n_left = settings.length

    def add(self, token):
        """Add the next token: None if the text goes on, or why it ends, as New has it."""
        if token == self.end_token:
            return 'end'
        self.n_left -= 1
        if self.stream:
            self.stream.add([token])
            if self.stream.ended:
                return 'stop'
        return None if self.n_left else 'length'


class Batch:
    """A running batch to which requests are added, and from which they are taken, at any time.

    The tokens of a request are those that Engine.generate gives for it alone, with its settings and
    first_sample = its sample, whatever runs beside it.
    Not thread-safe but for `check`; the engine serves nobody else meanwhile.

    engine: generation.engine.Engine.  rows: how many texts run at a time.
    patiently: for a list of requests of which nobody waits for a single one. Then free rows wait
        for each other before they take new requests, and their prompts are prefilled at once.
        Otherwise requests join before the next step, and prompts are prefilled in pieces between
        steps.
    """

    def __init__(self, engine, rows=16, patiently=False):
        check_whole('rows', rows, least=1)
        self.engine, self.n_rows, self.patiently = engine, rows, patiently
        self._numbers = itertools.count()
        self._waiting, self._texts = {}, {}  # {number: Request}, {number: Text} of those in rows
        self._rows = None  # rows.Rows, of the first step
        self._idle = 0  # rows that were free in steps since others joined, all steps together
        self._n_pieces = 0  # that were read since the last step

    @property
    def n_waiting(self):
        """How many requests have no row yet."""
        return len(self._waiting)

    @property
    def n_running(self):
        """How many have one; some of their prompts may not be read yet."""
        return len(self._texts)

    def check(self, request):
        """Raise ValueError if a request cannot be done; any thread may ask."""
        if request.settings is None:
            raise ValueError('a request of a batch needs settings of its own')
        self.engine.check([request.prompt], request.settings)
        n_vocab = self.engine.hparams.n_vocab
        limits = dict(least=-LARGEST, below=LARGEST)
        for token, value in (request.bias or {}).items():
            check_whole('a token with a bias', token, least=0, below=n_vocab)
            check_number('a bias', value, **limits)
        check_number('presence_penalty', request.presence_penalty, **limits)
        check_number('frequency_penalty', request.frequency_penalty, **limits)
        check_whole('n_top', request.n_top, least=0, below=n_vocab + 1)
        check_whole('sample', request.sample, least=0, below=2**63)

    def add(self, request):
        """Let a request wait for a row: its number. Raises what `check` raises."""
        self.check(request)
        number = next(self._numbers)
        self._waiting[number] = request
        return number

    def remove(self, number):
        """Forget a request, whether it waits or runs: its row is free at once."""
        self._waiting.pop(number, None)
        if number in self._texts:
            self._leave(number)

    def drop(self):
        """Forget all that run, after `step` has failed: their numbers. Those that wait go on."""
        numbers = list(self._texts)
        self._texts.clear()
        self._rows = None
        return numbers

    def step(self):
        """Let who waits join; then read a piece of their prompts, or continue each text by a token.

        Returns {number: New}, of the texts that go on. If it raises, those that ran are lost: see
        `drop`.
        """
        if not self._waiting and not self._texts:
            return {}
        if self._rows is None:
            self._rows = self.engine.rows(self.n_rows, self.patiently)
        self._join()
        if self._n_pieces < PIECES_BETWEEN_STEPS and self._rows.read():
            self._n_pieces += 1
            return {}
        self._n_pieces = 0
        news = {}
        for number, (token, logprob, top) in self._rows.step().items():
            news[number] = New(token, logprob, top, self._texts[number].add(token))
        for number, new in news.items():
            if new.end:
                self._leave(number)
        self._idle += self.n_rows - len(self._texts)
        return news

    def _join(self):
        """Give free rows to those who have waited longest."""
        free = self.n_rows - len(self._texts)
        # To let rows join takes about as long as a step: so much may be lost before.
        if self.patiently and self._texts and self._idle < self.n_rows:
            return
        joining = list(itertools.islice(self._waiting, free))
        if not joining:
            return
        requests = {number: self._waiting.pop(number) for number in joining}
        encoder = self.engine.encoder
        self._texts |= {number: Text(request, encoder) for number, request in requests.items()}
        self._rows.join(requests)
        self._idle = 0

    def _leave(self, number):
        del self._texts[number]
        self._rows.leave(number)


def batch_of(engine, requests, settings, stops=(), rows=32):
    """A patient Batch of a list of requests, which are numbered from 0.

    settings, stops: of those that have none of their own.
    """
    check_whole('rows', rows, least=1)
    batch = Batch(engine, min(rows, max(len(requests), 1)), patiently=True)
    for request in requests:
        own, its_stops = request.settings or settings, request.stops or tuple(stops)
        batch.add(request._replace(settings=own, stops=its_stops))
    return batch


def completions(batch, progress=None):
    """All texts of a Batch, as they end: (number of the request, Completion).

    progress: called as tokens come with the number of new ones, all texts together.
    """
    texts = {}
    while batch.n_waiting or batch.n_running:
        news = batch.step()
        for number, new in news.items():
            tokens, logprobs = texts.setdefault(number, ([], []))
            tokens += [new.token] * (new.end != 'end')
            logprobs.append(new.logprob)
        if progress:
            progress(sum(new.end != 'end' for new in news.values()))
        for number, new in news.items():
            if new.end:
                yield number, Completion(*texts.pop(number), new.end == 'end', new.end == 'stop')
