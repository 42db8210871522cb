"""The answer to a request for completions, whole or as the chunks of a stream. No TensorFlow."""

import contextlib

from starlette.concurrency import run_in_threadpool

from serving.answers import Answer, Piece, Text, best, choice_of, joined, prompt_piece, usage_of
from serving.errors import json_bytes, naming
from serving.metrics import Times
from serving.scores import prompt_logprobs
from serving.service import requests_of


class Completion:
    """One request while it is answered.

    service: serving.service.Service.  asked: serving.requests.Asked.  deadline: service.Deadline.
    """

    def __init__(self, service, asked, deadline):
        self.service, self.asked, self.deadline = service, asked, deadline
        self.times = Times(service.metrics)
        self.answer = Answer(service.name, asked.settings.seed, asked.include_usage)
        # Evaluations ask for an echo and one new token, and leave off the last log-probability:
        # it must be that of the new token, also where this ends the text.
        self.texts = [
            Text(service.encoder, prompt, asked.stops, tells_end=asked.echo)
            for prompt in asked.prompts
            for _ in range(asked.best_of)
        ]

    async def whole(self):
        """The whole answer, JSON in bytes."""
        prompts = await self.prompts()
        pieces = [[] for _ in self.texts]
        async for number, piece in self.pieces():
            pieces[number].append(piece)
        # In another thread: what is told of many tokens takes seconds.
        return await run_in_threadpool(self.put_together, prompts, pieces)

    def put_together(self, prompts, pieces):
        """The whole answer, from a Piece of each prompt and a list of Pieces of each text."""
        asked, choices = self.asked, []
        for number, prompt in enumerate(asked.prompts):
            first = number * asked.best_of
            order = range(asked.n)
            if asked.best_of > asked.n:
                order = best(self.texts[first : first + asked.best_of], asked.n)
            for sample in order:
                piece = joined([prompts[number], *pieces[first + sample]])
                choices.append(choice_of(len(choices), piece, asked, self.service.encoder, prompt))
        return json_bytes(self.answer.whole(choices, usage_of(asked, self.texts)))

    async def chunks(self):
        """Yield the objects of a stream's chunks."""
        fresh = set(range(len(self.texts)))  # choices that nothing has been told of
        prompts = await self.prompts()
        if self.asked.echo:
            for number in range(len(self.texts)):
                yield self.chunk(number, prompts[number // self.asked.n], fresh)
        async for number, piece in self.pieces():
            if piece.text or piece.told or piece.finish_reason:
                yield self.chunk(number, piece, fresh)
        if self.asked.include_usage:
            yield self.answer.chunk([], usage_of(self.asked, self.texts))

    def chunk(self, number, piece, fresh):
        prompt = self.asked.prompts[number // self.asked.n] if number in fresh else None
        fresh.discard(number)
        return self.answer.chunk(
            [choice_of(number, piece, self.asked, self.service.encoder, prompt)]
        )

    async def prompts(self):
        """What is told of each prompt: Pieces, empty ones without echo."""
        asked, service = self.asked, self.service
        if not asked.echo:
            return [Piece('') for _ in asked.prompts]
        pieces = []
        for prompt in asked.prompts:
            scores = ()
            if asked.logprobs is not None:
                arguments = prompt_logprobs, service.scorer, prompt, asked.logprobs
                with naming('prompt'):
                    scores = await service.score(*arguments, deadline=self.deadline)
            piece = prompt_piece(service.encoder, prompt, *scores)
            pieces.append(piece if asked.max_tokens else piece._replace(finish_reason='length'))
        return pieces

    async def pieces(self):
        """Yield (number of the text, Piece) as tokens come; nothing for max_tokens 0."""
        metrics = self.service.metrics
        n_prompt = sum(map(len, self.asked.prompts))
        if not self.asked.max_tokens:
            metrics.prompt_tokens.inc(n_prompt)
            return
        events = self.service.events(requests_of(self.asked), self.deadline)
        async with contextlib.aclosing(events):
            async for news in events:
                metrics.prompt_tokens.inc(n_prompt)
                metrics.generated_tokens.inc(len(news))
                n_prompt = 0  # they have been counted, once they were read
                for number, new in news:
                    self.times.came(number)
                    piece = self.texts[number].add(new)
                    if piece.finish_reason:
                        metrics.choices.labels(piece.finish_reason).inc()
                    yield number, piece
