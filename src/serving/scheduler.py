"""A thread that runs a batch of texts for many clients. No TensorFlow."""

import collections
import contextlib
import threading
import time

# How long the thread is joined for after its last step was due, if the time of `close` is up.
LAST_STEP_SECONDS = 30


class Full(Exception):
    """As many requests wait already as may."""


class Stopping(Exception):
    """The server ends."""


class Job:
    """Requests of one client, all of which have been accepted; `cancel` takes them back."""

    def __init__(self, scheduler, requests, tell):
        self._scheduler, self._tell = scheduler, tell
        self.left = collections.deque(enumerate(requests))  # those that the batch does not have yet
        self.numbers = {}  # {number in the batch: index of the request}, of those that go on
        self.over = False  # nothing more is told

    def cancel(self):
        """Forget what has not ended; from any thread, at any time, as often as one likes."""
        self._scheduler._cancel(self)

    def tell(self, what):
        """Tell the client; whoever cannot be told has gone."""
        try:
            if not self.over:
                self._tell(what)
        except Exception:  # of the client's own: it must not end the texts of others
            self.cancel()


class Scheduler:
    """Runs a Batch in a thread of its own, from `start` to `close`.

    batch: generation.continuous.Batch, or what has its methods. Nobody else may use it.
    most_waiting: how many requests may wait for a row.
    """

    def __init__(self, batch, most_waiting=256):
        self._batch, self.most_waiting = batch, most_waiting
        self._changed = threading.Condition()  # guards what follows
        self._arrived, self._cancelled = [], []  # jobs that the thread has not seen yet
        self._closing, self._deadline = False, None
        self.running = self.waiting = 0  # requests that have a row, and those that wait for one
        # Of the thread alone: jobs with requests that the batch does not have yet, the next one
        # first; and those of the requests that it has, {number in the batch: Job}.
        self._queue, self._jobs = collections.deque(), {}
        self._thread = threading.Thread(target=self._run, name='scheduler', daemon=True)

    def start(self):
        self._thread.start()

    def submit(self, requests, tell):
        """Have requests done, all of them or none: a Job.

        requests: list of generation.continuous.Request.
        tell: called in the scheduler's thread after each step with [(index of the request, New)],
            or once with the Exception that has ended all of them. It must be quick.
        Raises ValueError if one cannot be done, Full, or Stopping.
        """
        if not 1 <= len(requests) <= self.most_waiting:
            raise ValueError(f'at most {self.most_waiting} texts at a time, not {len(requests)}')
        for request in requests:
            self._batch.check(request)
        job = Job(self, list(requests), tell)
        with self._changed:
            if self._closing:
                raise Stopping('the server is stopping')
            if self.waiting + len(requests) > self.most_waiting:
                raise Full(f'{self.waiting} requests are waiting: try again later')
            self.waiting += len(requests)
            self._arrived.append(job)
            self._changed.notify()
        return job

    def close(self, seconds=None):
        """Accept no more, finish what runs and waits, and end the thread.

        seconds: after which the rest is told Stopping; None waits for all.
        """
        with self._changed:
            self._closing = True
            if seconds is not None:
                self._deadline = time.monotonic() + seconds
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(None if seconds is None else seconds + LAST_STEP_SECONDS)

    def _cancel(self, job):
        with self._changed:
            if not job.over:
                job.over = True
                self._cancelled.append(job)
                self._changed.notify()

    def _run(self):
        while self._take():
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._end_all(
                    [*self._jobs.values(), *self._queue], Stopping('the server is stopping')
                )
            elif self._jobs or self._queue:
                self._fill()
                self._step()

    def _take(self):
        """Let jobs that arrived join, and those that were cancelled leave; whether to go on."""
        with self._changed:
            self._count()
            while not (self._busy or self._cancelled or self._closing):
                self._changed.wait()
            arrived, self._arrived = self._arrived, []
            cancelled, self._cancelled = self._cancelled, []
        for job in cancelled:
            self._forget(job)
        self._queue += [job for job in arrived if not job.over]
        with self._changed:
            self._count()
            return bool(self._busy or not self._closing)

    @property
    def _busy(self):
        return self._jobs or self._queue or self._arrived

    def _fill(self):
        """Give the batch requests for its free rows: one of each job in turn.

        So a client with many texts does not keep the others waiting until all of them are done.
        """
        batch = self._batch
        while self._queue and batch.n_running + batch.n_waiting < batch.n_rows:
            job = self._queue.popleft()
            index, request = job.left.popleft()
            try:
                number = batch.add(request)
            except Exception as error:
                self._end(job, error)
                continue
            job.numbers[number], self._jobs[number] = index, job
            if job.left:
                self._queue.append(job)

    def _step(self):
        try:
            news = self._batch.step()
        except Exception as error:  # out of memory, for example; those who wait may fare better
            # If none ran, nobody has a row to fail for, and those who wait would wait for ever.
            numbers = self._batch.drop() or list(self._jobs)
            self._end_all([self._jobs[number] for number in numbers], error)
            return
        told = {}
        for number, new in news.items():
            job = self._jobs[number]
            told.setdefault(job, []).append((job.numbers[number], new))
            if new.end:
                del self._jobs[number], job.numbers[number]
        # Whoever asks how many run when a text has ended is not to count it.
        with self._changed:
            self._count()
        for job, events in told.items():
            job.tell(events)

    def _end_all(self, jobs, error):
        for job in dict.fromkeys(jobs):
            self._end(job, error)

    def _end(self, job, error):
        self._forget(job)
        job.tell(error)
        job.over = True

    def _forget(self, job):
        for number in job.numbers:
            self._batch.remove(number)
            del self._jobs[number]
        job.numbers = {}
        job.left.clear()
        with contextlib.suppress(ValueError):
            self._queue.remove(job)

    def _count(self):
        self.running = self._batch.n_running
        left = sum(len(job.left) for job in [*self._queue, *self._arrived] if not job.over)
        self.waiting = self._batch.n_waiting + left
