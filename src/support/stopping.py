"""How programs stop before their end: signals, outputs that take no more, and what is kept then."""

import contextlib
import os
import signal
import sys
import threading

# `docker stop`, `kill` and the notice of a cluster send SIGTERM, a terminal that closes SIGHUP.
TERMINATING = [getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name)]


class Stopped(BaseException):
    """A program is to stop, by the signal of this number. Ctrl-C is KeyboardInterrupt, as ever."""

    def __init__(self, number):
        super().__init__(f'stopped by {signal.Signals(number).name}')
        self.number = number


class OutputLost(OSError):
    """A standard stream takes no more: its reader (head, a terminal) is gone, or a disk is full."""

    def __str__(self):
        return f'cannot write to {self.filename}: {self.strerror}'


@contextlib.contextmanager
def keeping(what):
    """Have command_line.run tell what is kept of the work in the block if that is stopped.

    what: str, or a function that returns one; nothing is told if it is empty. Of blocks within
      each other the innermost that has anything to tell does.
    """
    try:
        yield
    except (KeyboardInterrupt, Stopped, OutputLost) as error:
        if not what_is_kept(error):
            error.kept = what() if callable(what) else what
        raise


def what_is_kept(error):
    """What `keeping` has to tell of an error, a list of one text or none."""
    return list(filter(None, [getattr(error, 'kept', '')]))


class Stream:
    """Standard output or error: raises OutputLost for what it cannot write, and drops the rest.

    stop: if there is one, a Stop that is set instead.
    """

    def __init__(self, stream, name):
        self.stream, self.name, self.stop = stream, name, None

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        with self._watched():
            return self.stream.write(text)

    def flush(self):
        with self._watched():
            self.stream.flush()

    @contextlib.contextmanager
    def _watched(self):
        try:
            yield
        except OSError as error:
            lost = OutputLost(error.errno, error.strerror, self.name)
            with contextlib.suppress(OSError):  # Python would fail again when it flushes at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            if self.stop is None:
                raise lost from error
            self.stop.give(lost)


@contextlib.contextmanager
def watched_streams():
    """Have a Stream in the place of standard output and of standard error."""
    before = sys.stdout, sys.stderr
    sys.stdout = Stream(sys.stdout, 'standard output')
    sys.stderr = Stream(sys.stderr, 'standard error')
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class Stop(threading.Event):
    """Set when a program is to stop where that is safe; `error` is what it is to raise there."""

    def __init__(self):
        super().__init__()
        self.error = KeyboardInterrupt()

    def give(self, error):
        """Set it for a reason, unless there is one already."""
        if not self.is_set():
            self.error = error
            self.set()


@contextlib.contextmanager
def deferred_interrupts():
    """Yield a Stop, for the block to look at where it can end; see `Stop.error`.

    It is set by Ctrl-C, SIGTERM, SIGHUP, and by a standard stream that takes no more. So work stops
    between two pieces, not in the midst of TensorFlow's session. Ctrl-C after another signal
    interrupts at once. A process that was told to ignore a signal (nohup) still ignores it.
    """
    stop, signalled = Stop(), threading.Event()

    def press(number, _):
        if number == signal.SIGINT and signalled.is_set():
            raise KeyboardInterrupt
        signalled.set()
        stop.give(KeyboardInterrupt() if number == signal.SIGINT else Stopped(number))

    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Stream)]
    for stream in streams:
        stream.stop = stop
    try:
        with handling(our_signals(), press):
            yield stop
    finally:
        for stream in streams:
            stream.stop = None
    if stop.is_set() and not isinstance(stop.error, KeyboardInterrupt):
        raise stop.error  # it came after the block had looked for the last time


@contextlib.contextmanager
def deadly_signals():
    """Let signals end the process in the block, where Python would hear of them at its end."""
    with handling(our_signals(), signal.SIG_DFL):
        yield


@contextlib.contextmanager
def handling(numbers, handler):
    """Have a handler for signals of these numbers in the block."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_now(number, _):
    """The handler of TERMINATING; more of them, as a terminal sends, do not disturb the end."""
    for other in TERMINATING:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def stopping_now():
    """Have Stopped raised for TERMINATING in a block, those that nobody told us to ignore."""
    return handling(default_signals(), stop_now)


def default_signals():
    """Those of TERMINATING that nobody has told the process to ignore."""
    return [number for number in TERMINATING if signal.getsignal(number) is signal.SIG_DFL]


def our_signals():
    """The signals that now raise KeyboardInterrupt or Stopped."""
    handlers = signal.default_int_handler, stop_now
    return [n for n in (signal.SIGINT, *TERMINATING) if signal.getsignal(n) in handlers]
