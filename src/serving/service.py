"""What the server answers from: a model's engine and its limits, from the event loop's side.

A scheduler's thread decodes and one more thread scores; requests wait for both here. No TensorFlow.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import threading
import typing

import anyio

from detection.oracle import Closing, Gone
from generation.continuous import Request
from serving.errors import Refused
from serving.metrics import Metrics
from serving.scheduler import Full, Stopping

ENDS = 'the server ends'


@dataclasses.dataclass
class Service:
    """A model that is served.

    name, encoder, n_ctx: of the model; known before its weights are loaded.
    scheduler: serving.scheduler.Scheduler, started; None until the model is loaded.
    scorer: scoring.scorer.Scorer on the engine's weights.  oracle: detection.server.Oracle.
    host: the address that the server listens at.  api_key: that requests need; None: no one.
    most_bytes: of a body.  most_waiting: texts that wait, for decoding or for scores.
    most_seconds: that a request may take.
    with_detector: whether the oracle has, or will have, one.
    """

    name: str
    encoder: typing.Any
    n_ctx: int
    scheduler: typing.Any = None
    scorer: typing.Any = None
    oracle: typing.Any = None
    host: str = '127.0.0.1'
    api_key: str | None = None
    most_bytes: int = 1_000_000
    most_waiting: int = 256
    most_seconds: float = 600
    with_detector: bool = False

    def __post_init__(self):
        self.stopping, self.closed = False, threading.Event()
        self.in_flight = self.n_scoring = 0  # requests, and scores that are waited for
        self.metrics = Metrics(self)
        self.scoring = concurrent.futures.ThreadPoolExecutor(1, 'scoring')

    def begin(self, scheduler, scorer, oracle):
        """Answer from a model that has been loaded now."""
        self.scorer, self.oracle, self.scheduler = scorer, oracle, scheduler

    def close(self):
        """End what still runs; nothing uses the model then."""
        self.stopping = True
        self.closed.set()
        self.scheduler.close(0)
        self.scoring.shutdown(cancel_futures=True)

    def check_ready(self):
        """Refuse a request unless the model is loaded and the server goes on."""
        if self.stopping:
            raise Refused(503, ENDS)
        if self.scheduler is None:
            raise Refused(503, 'the model is being loaded', headers={'Retry-After': '5'})

    async def events(self, requests, deadline):
        """Decode: yield lists of (number of the request, New) as tokens come, until all have ended.

        requests: of generation.continuous.Request.
        deadline: a Deadline. When the generator is closed, rows are free within a step.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue()

        def tell(events):
            with contextlib.suppress(RuntimeError):  # the loop has ended before the scheduler
                loop.call_soon_threadsafe(queue.put_nowait, events)

        job = self._submit(requests, tell)
        running = set(range(len(requests)))
        try:
            while running:
                events = await deadline.within(queue.get())
                if isinstance(events, Stopping):
                    raise Refused(503, ENDS)
                if isinstance(events, Exception):
                    raise events
                running -= {number for number, new in events if new.end}
                yield events
        finally:
            job.cancel()

    def _submit(self, requests, tell):
        try:
            return self.scheduler.submit(requests, tell)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        except Full:
            raise too_many() from None
        except Stopping:
            raise Refused(503, ENDS) from None

    async def score(self, function, *arguments, deadline):
        """What a function of serving/scores.py returns: in a thread of its own, in turn.

        It ends early when nobody waits for it any more. Raises what it raises.
        """
        if self.n_scoring >= self.most_waiting:
            raise too_many()
        left = threading.Event()
        gone = functools.partial(any_set, left, self.closed)
        future = self.scoring.submit(function, *arguments, gone=gone)
        self.n_scoring += 1
        try:
            return await deadline.within(asyncio.wrap_future(future))
        except (Closing, Gone):
            raise Refused(503, ENDS) from None
        finally:
            self.n_scoring -= 1
            left.set()
            future.cancel()


def any_set(*events):
    return any(event.is_set() for event in events)


def too_many():
    return Refused(429, 'too many requests wait: try again later', headers={'Retry-After': '1'})


class Deadline:
    """The time at which a request must have been answered."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.end = asyncio.get_running_loop().time() + seconds

    async def within(self, work):
        """What an awaitable gives; Refused if it is not there in time."""
        left = self.end - asyncio.get_running_loop().time()
        try:
            with anyio.fail_after(max(left, 0)):  # asyncio.wait_for loses cancellations
                return await work
        except TimeoutError:
            # The client of openai would ask twice more, and wait as long.
            headers = {'x-should-retry': 'false'}
            message = f'the answer would take more than {self.seconds:g} seconds'
            raise Refused(504, message, headers=headers) from None


async def unless_gone(receive, work):
    """What an awaitable gives; it is cancelled, and Gone raised, when the client hangs up.

    receive: ASGI's, after the body has been read.
    """
    work, gone = asyncio.ensure_future(work), asyncio.ensure_future(hung_up(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise Gone
    finally:
        gone.cancel()
        work.cancel()
        await asyncio.wait({work})  # until its rows are free


async def hung_up(receive):
    while (await receive())['type'] != 'http.disconnect':
        pass


def requests_of(asked):
    """The texts to decode: best_of of each prompt, samples 0, 1, ... of the seed."""
    return [
        Request(
            prompt=prompt,
            sample=sample,
            settings=asked.settings,
            stops=asked.stops,
            bias=asked.bias or None,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            n_top=asked.logprobs or 0,
        )
        for prompt in asked.prompts
        for sample in range(asked.best_of)
    ]
