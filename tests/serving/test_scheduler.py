"""The thread that runs a batch for many clients, on scripted rows."""

import threading
import time
from unittest.mock import Mock

import pytest

from generation.continuous import Batch, Request
from helpers.scripted_rows import ScriptedEngine
from serving.scheduler import Full, Scheduler, Stopping
from support.settings import Settings

TEXTS = {(i,): [i] * i for i in range(1, 20)}  # and the end token: n + 1 steps
SETTINGS = Settings(length=50, seed=0, stop_at_end=True)


def request(i, **more):
    return Request([i], settings=SETTINGS, **more)


class Gated(Batch):
    """A batch whose steps wait until they are allowed, and fail when told to."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.allowed, self.errors, self.n_steps = threading.Semaphore(0), {}, 0

    def step(self):
        assert self.allowed.acquire(timeout=10), 'a step too many'
        self.n_steps += 1
        if self.n_steps in self.errors:
            self._join()
            raise self.errors[self.n_steps]
        return super().step()

    def allow(self, n):
        self.allowed.release(n)


class Client:
    """What is told to a client, and a wait for it."""

    def __init__(self):
        self.told, self.changed = [], threading.Condition()

    def __call__(self, events):
        with self.changed:
            self.told.append(events)
            self.changed.notify_all()

    def wait(self, ready, seconds=10):
        with self.changed:
            assert self.changed.wait_for(lambda: ready(self), seconds), self.told

    @property
    def events(self):
        return [event for events in self.told if isinstance(events, list) for event in events]

    def tokens(self, index=0):
        return [new.token for i, new in self.events if i == index and new.end != 'end']

    def ended(self, n=1):
        self.wait(lambda c: sum(new.end is not None for _, new in c.events) == n)
        return self

    def failed(self, kind):
        self.wait(lambda c: c.told and isinstance(c.told[-1], kind))
        assert [isinstance(each, Exception) for each in self.told].count(True) == 1
        return self


@pytest.fixture
def started():
    """A function that starts a scheduler of a batch; all are closed in the end."""
    schedulers = []

    def start(batch=None, **more):
        scheduler = Scheduler(batch or Batch(ScriptedEngine(texts=TEXTS), rows=2), **more)
        scheduler.start()
        schedulers.append(scheduler)
        return scheduler

    yield start
    for scheduler in schedulers:
        if hasattr(scheduler._batch, 'allow'):
            scheduler._batch.allow(1000)
        scheduler.close(seconds=5)
        assert not scheduler._thread.is_alive()


def gated(rows=2):
    return Gated(ScriptedEngine(texts=TEXTS), rows=rows)


def wait_until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_each_client_is_told_its_own_tokens_once_and_in_order(started):
    scheduler = started()
    clients = [Client() for _ in range(12)]
    for i, client in enumerate(clients, 1):
        scheduler.submit([request(i)], client)
    for i, client in enumerate(clients, 1):
        assert client.ended().tokens() == [i] * i
        assert [new.end for _, new in client.events] == [None] * i + ['end']
    wait_until(lambda: (scheduler.running, scheduler.waiting) == (0, 0))


def test_a_job_of_several_requests_is_told_which_each_token_is_of(started):
    client = Client()
    started().submit([request(3), request(1), request(7)], client)
    client.ended(3)
    assert [client.tokens(index) for index in range(3)] == [[3] * 3, [1], [7] * 7]


def test_who_cancels_frees_the_row_before_the_next_step(started):
    batch = gated(rows=1)
    scheduler = started(batch)
    first, second = Client(), Client()
    job = scheduler.submit([request(19)], first)
    scheduler.submit([request(2)], second)
    batch.allow(2)
    first.wait(lambda c: len(c.events) == 2)
    assert (scheduler.running, scheduler.waiting) == (1, 1)
    for _ in range(3):
        job.cancel()
    batch.allow(3 + 1)  # one may have begun
    assert second.ended().tokens() == [2, 2]
    assert len(first.events) == 2


def test_who_cancels_before_it_has_a_row_never_gets_one(started):
    batch = gated(rows=1)
    scheduler = started(batch)
    clients = [Client() for _ in range(3)]
    jobs = [scheduler.submit([request(3)], client) for client in clients]
    jobs[1].cancel()
    batch.allow(100)
    clients[2].ended()
    assert clients[0].tokens() == [3] * 3 and not clients[1].told
    jobs[2].cancel()  # that has ended: nothing happens


def test_who_cancels_before_the_thread_has_seen_it_never_joins():
    scheduler, clients = Scheduler(Batch(ScriptedEngine(texts=TEXTS), rows=4)), [Client(), Client()]
    jobs = [scheduler.submit([request(3)], client) for client in clients]
    jobs[0].cancel()
    scheduler.start()
    assert clients[1].ended().tokens() == [3] * 3
    scheduler.close(seconds=5)
    assert scheduler._batch.engine.made[0].joined == [[0]] and not clients[0].told


def test_a_job_of_which_some_has_ended_may_be_cancelled(started):
    batch = gated(rows=2)
    scheduler = started(batch)
    client, other = Client(), Client()
    job = scheduler.submit([request(1), request(19)], client)
    batch.allow(3)
    client.wait(lambda c: len(c.events) == 2 + 2 + 1)
    job.cancel()
    scheduler.submit([request(1)], other)
    batch.allow(3)
    assert other.ended().tokens() == [1]
    assert scheduler.running == 0


def test_a_failure_is_told_to_those_that_ran_and_the_others_go_on(started):
    batch = gated(rows=2)
    batch.errors[3] = ValueError('out of memory')
    scheduler = started(batch)
    clients = [Client() for _ in range(4)]
    for client in clients:
        scheduler.submit([request(5)], client)
    batch.allow(100)
    for client in clients[:2]:
        client.failed(ValueError)
    for client in clients[2:]:
        assert client.ended().tokens() == [5] * 5
    assert len(batch.engine.made) == 2


def test_a_job_that_fails_in_part_is_told_once_and_takes_all_of_it_back(started):
    batch = gated(rows=2)
    batch.errors[2] = RuntimeError('a fault')
    scheduler = started(batch)
    many, other = Client(), Client()
    scheduler.submit([request(5)] * 7, many)
    batch.allow(1)
    many.wait(lambda client: len(client.events) == 2)
    scheduler.submit([request(1)], other)
    batch.allow(100)
    assert other.ended().tokens() == [1]
    assert len(many.failed(RuntimeError).told) == 2


def test_where_no_text_can_run_those_who_wait_are_told(started):
    batch = Batch(ScriptedEngine(texts=TEXTS), rows=2)
    rows, client, later = batch.engine.rows, Client(), Client()
    batch.engine.rows = Mock(side_effect=ValueError('out of memory'))
    scheduler = started(batch)
    scheduler.submit([request(5), request(6)], client)
    client.failed(ValueError)
    batch.engine.rows = rows
    scheduler.submit([request(5)], later)
    later.ended()
    assert len(client.told) == 1


def test_a_client_whose_ear_fails_is_dropped_and_no_other(started):
    scheduler = started()

    def deaf(events):
        raise RuntimeError('Event loop is closed')

    other = Client()
    scheduler.submit([request(19)], deaf)
    scheduler.submit([request(9)], other)
    assert other.ended().tokens() == [9] * 9
    wait_until(lambda: scheduler.running == 0)


def test_what_cannot_be_done_or_is_too_much_is_refused_at_once_and_whole(started):
    batch = gated(rows=1)
    scheduler = started(batch, most_waiting=3)
    client = Client()
    with pytest.raises(ValueError, match='prompt is empty'):
        scheduler.submit([request(1), Request([], settings=SETTINGS)], client)
    with pytest.raises(ValueError, match='at most 3 texts at a time, not 4'):
        scheduler.submit([request(1)] * 4, client)
    scheduler.submit([request(5)], client)
    batch.allow(1)
    client.wait(lambda c: c.told)
    scheduler.submit([request(1)] * 2, client)
    with pytest.raises(Full, match='2 requests are waiting'):
        scheduler.submit([request(1)] * 2, client)
    scheduler.submit([request(1)], client)
    batch.allow(100)
    client.ended(4)


def test_what_comes_during_a_step_is_counted_at_its_end(started):
    batch, waiting = gated(), []
    scheduler = started(batch)
    scheduler.submit([request(3)], lambda events: waiting.append(scheduler.waiting))
    wait_until(lambda: scheduler._jobs)
    scheduler.submit([request(2)] * 3, Client())
    batch.allow(1)
    wait_until(lambda: waiting)
    assert waiting == [3]


def test_close_finishes_what_runs_and_waits_and_accepts_no_more(started):
    batch = gated(rows=1)
    scheduler = started(batch)
    clients = [Client() for _ in range(3)]
    for client in clients:
        scheduler.submit([request(4)], client)
    closing = threading.Thread(target=scheduler.close)
    closing.start()

    def refused():
        try:
            scheduler.submit([request(1)], Client())
        except Stopping:
            return True

    wait_until(refused)
    batch.allow(1000)
    closing.join(10)
    assert not closing.is_alive()
    assert [client.tokens() for client in clients] == [[4] * 4] * 3
    scheduler.close()  # again


def test_when_the_time_is_up_the_rest_is_told_so(started):
    batch = gated(rows=1)
    scheduler = started(batch)
    clients = [Client() for _ in range(2)]
    for client in clients:
        scheduler.submit([request(4)], client)
    batch.allow(1)
    clients[0].wait(lambda c: c.told)
    closing = threading.Thread(target=scheduler.close, args=[0])
    closing.start()
    batch.allow(1)  # the step that runs
    for client in clients:
        client.failed(Stopping)
    closing.join(10)
    assert not closing.is_alive() and scheduler.running == scheduler.waiting == 0


def test_an_idle_scheduler_does_nothing_and_ends_at_once(started):
    batch = gated()
    scheduler = started(batch)
    time.sleep(0.05)
    assert batch.n_steps == 0
    start = time.monotonic()
    scheduler.close()
    assert time.monotonic() - start < 1


def test_many_threads_lose_nothing_and_are_told_nothing_twice(started):
    scheduler = started(Batch(ScriptedEngine(texts=TEXTS), rows=3), most_waiting=1000)
    clients = {}

    def use(thread):
        for i in range(1, 20):
            client = clients[thread, i] = Client()
            job = scheduler.submit([request(i), request(20 - i)], client)
            if (thread + i) % 5 == 0:
                job.cancel()
                del clients[thread, i]

    threads = [threading.Thread(target=use, args=[n]) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (_, i), client in clients.items():
        client.ended(2)
        assert client.tokens(0) == [i] * i and client.tokens(1) == [20 - i] * (20 - i)
    wait_until(lambda: (scheduler.running, scheduler.waiting) == (0, 0))


def test_many_texts_of_one_client_do_not_keep_another_waiting():
    """Two rows: of the first client's six texts two run, then each client gets a row in turn."""
    batch = Gated(ScriptedEngine(texts=TEXTS), rows=2)
    scheduler = Scheduler(batch)
    many, few = Client(), Client()
    scheduler.submit([request(2)] * 6, many)
    scheduler.submit([request(2)] * 2, few)
    assert scheduler.waiting == 8
    scheduler.start()
    batch.allow(6)
    few.wait(lambda client: len(client.events) == 6)
    assert sum(bool(new.end) for _, new in many.events) == 2
    batch.allow(1000)
    many.wait(lambda client: len(client.events) == 18)
    scheduler.close()
    assert (scheduler.running, scheduler.waiting) == (0, 0)
