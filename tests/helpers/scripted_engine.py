"""An engine whose model is a table of texts: what tasks ask of it, and make of it, is known."""

from typing import NamedTuple

from hparams import HParams

END = '<|endoftext|>'


class Completion(NamedTuple):
    """As generation.continuous has it."""

    tokens: list
    logprobs: list
    ended: bool
    stopped: bool


class ScriptedEngine:
    """Has `complete` of the real engine, and continues each prompt by a text that is known.

    answers: {prompt: text}, or a function of a prompt's text.  A prompt that is not there fails the
      test. What is generated is the text, as far as the settings' length, a stop string or
      <|endoftext|> lets it be; a text that comes to none of them goes on from its beginning.
    logprob: of every token; or a function of the tokens before and the token, all of the prompt
      included.
    after: ends the process that it would be in, by raising Killed, when so many texts have ended.

    requests: those that were read, in order.  settings, stops, rows: of the last call.
    """

    def __init__(self, encoder, answers, n_ctx=1024, logprob=-0.5, after=None):
        self.encoder, self.after = encoder, after
        self.hparams = HParams(n_vocab=encoder.n_vocab, n_ctx=n_ctx, n_embd=1, n_head=1)
        self.answer_to = answers if callable(answers) else answers.__getitem__
        self.logprob = logprob if callable(logprob) else lambda before, token: logprob
        self.requests, self.closed = [], False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self.closed = True

    def complete(self, requests, settings, *, stops=(), rows=32, progress=None):
        """Yield (number of the request, Completion), those that end first first, `rows` at once."""
        assert not self.closed
        self.settings, self.stops, self.rows = settings, tuple(stops), rows
        waiting, running, ended = enumerate(requests), {}, 0
        while True:
            while len(running) < rows and (next_one := next(waiting, None)):
                number, request = next_one
                self.requests.append(request)
                running[number] = [self.completion(request), 0]
            if not running:
                return
            for number, (completion, n) in list(running.items()):
                if n == len(completion.tokens):
                    del running[number]
                    if ended == self.after:
                        raise Killed
                    ended += 1
                    yield number, completion
                else:
                    running[number][1] += 1
                    if progress:
                        progress(1)

    def completion(self, request):
        """The whole Completion of a Request."""
        prompt, end = list(request.prompt), self.encoder.end_of_text
        assert len(prompt) + self.settings.length <= self.hparams.n_ctx + 1, 'it does not fit'
        answer = self.answer_to(self.encoder.decode(prompt))
        script = self.encoder.encode(answer, allowed_special={END}) or [end]
        tokens, stopped, ended = [], False, False
        while len(tokens) < self.settings.length and not stopped and not ended:
            token = script[len(tokens) % len(script)]
            ended = self.settings.stop_at_end and token == end
            tokens += [token] * (not ended)
            stopped = any(stop in self.encoder.decode(tokens) for stop in self.stops)
        scored = tokens + [end] * ended
        logprobs = [self.logprob(tuple(prompt + scored[:n]), t) for n, t in enumerate(scored)]
        return Completion(tokens, logprobs, ended, stopped)


class Killed(Exception):
    """The process that a ScriptedEngine is in has ended."""
