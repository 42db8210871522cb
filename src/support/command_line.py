"""What every script does around its own work: flags, streams, errors, exit status."""

import contextlib
import difflib
import errno
import inspect
import os
import re
import signal
import sys
import threading

import fire

from support.files import shown

EXIT_OUTPUT_CLOSED = 1
EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128  # and the number of the signal, as shells report it
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


def run(function, argv=None):
    """Run `function` with the flags of the command line, and leave with the matching exit status.

    Flags are those of `function`'s signature, parsed by python-fire; a parameter annotated `str`
    keeps the text as it was typed ('1e5' stays text). A ValueError or OSError from `function`
    becomes one line on standard error and exit status 2. Ctrl-C, SIGTERM and SIGHUP end it where
    it is, or where that is safe (`deferred_interrupts`), with status 128 + their number; a reader
    of its output that goes away, with status 1. What is kept then is told (`keeping`).

    function: callable; its docstring is the help text that `-- --help` shows.
    argv: list of str, without the program's name; None means sys.argv.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    help_wanted = '--help' in argv or '-h' in argv
    use_utf8()
    with watched_streams(), handling(default_signals(), stop_now):
        try:
            if help_wanted:
                show_help(function)
            fire.Fire(function, command=check_flags(function, argv), name=program_name())
            sys.stdout.flush()
        except OutputLost as error:
            kept = what_is_kept(error)
            if error.errno != errno.EPIPE:
                fail('; '.join([str(error), *kept]))
            leave(EXIT_OUTPUT_CLOSED, [f'standard output was closed; {text}' for text in kept])
        except (ValueError, OSError) as error:
            fail(error)
        except MemoryError:
            fail('there is not enough memory for that')
        except KeyboardInterrupt as error:
            leave(EXIT_SIGNAL + signal.SIGINT, ['', *what_is_kept(error)])  # after the ^C
        except Stopped as error:
            leave(EXIT_SIGNAL + error.number, ['; '.join([str(error), *what_is_kept(error)])])


def show_help(function):
    """Print the flags of `function` and leave with status 0."""
    # Fire takes standard error for this, and runs the function first if there are other arguments.
    with contextlib.redirect_stderr(sys.stdout):
        fire.Fire(function, command=['--', '--help'], name=program_name())


def program_name():
    return os.path.basename(sys.argv[0])


def fail(error):
    """Print an error as one line on standard error and exit with status 2."""
    leave(EXIT_BAD_INPUT, ['error: ' + ' '.join(str(error).split())])


def leave(status, lines):
    """Print lines on standard error, as far as that is possible, and exit."""
    with contextlib.suppress(OSError):
        for line in lines:
            print(shown(line), file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(status)


@contextlib.contextmanager
def keeping(what):
    """Have `run` tell what is kept of the work in the block if that is stopped before its end.

    what: str, or a function that returns one; nothing is told if it is empty.
    """
    try:
        yield
    except (KeyboardInterrupt, Stopped, OutputLost) as error:
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


def use_utf8():
    """Read and write the standard streams as UTF-8 whatever the locale says."""
    for name in ('stdin', 'stdout', 'stderr'):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, 'r' if name == 'stdin' else 'w'))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):  # not so when a test has replaced the stream
            # A line may quote a file name that is not UTF-8, and must come through.
            errors = 'strict' if stream is sys.stdin else 'backslashreplace'
            stream.reconfigure(encoding='utf-8', errors=errors)


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


def default_signals():
    """Those of TERMINATING that nobody has told the process to ignore."""
    return [number for number in TERMINATING if signal.getsignal(number) is signal.SIG_DFL]


def our_signals():
    """The signals that now raise KeyboardInterrupt or Stopped."""
    handlers = signal.default_int_handler, stop_now
    return [n for n in (signal.SIGINT, *TERMINATING) if signal.getsignal(n) in handlers]


def check_flags(function, argv):
    """Refuse what `function` does not take, before it runs: fire itself says so only afterwards.

    Returns argv with the values of parameters annotated `str` quoted, so that fire, which reads
    values as Python literals, hands them over as they were typed. Raises ValueError naming the
    unknown flag and the nearest known one, the flag that lacks its text, or the surplus argument.
    """
    parameters = inspect.signature(function).parameters
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    any_number = [p for p in parameters.values() if p.kind is p.VAR_POSITIONAL]
    parameters = {n: p for n, p in parameters.items() if p not in any_number}  # those with flags
    checked = []
    for flag, value in split_arguments(argv, parameters):
        if flag is None:
            if not positional + any_number:
                raise ValueError(f'unexpected argument {value!r} (-- --help lists all flags)')
            parameter = positional.pop(0) if positional else any_number[0]
            # Fire would drop all that follows a bare -; quoted, as text is, it gets through.
            if value == '-' and parameter.annotation is not str:
                raise ValueError('unexpected argument - (-- --help lists all flags)')
            checked.append(quoted(value, parameter))
        elif full_name(flag, parameters) is None:
            near = difflib.get_close_matches(flag, parameters, n=1)
            hint = f'; did you mean --{near[0]}?' if near else ''
            raise ValueError(f'unknown flag --{flag}{hint} (-- --help lists all flags)')
        elif value is not None and full_name(flag, parameters) == flag[2:]:
            raise ValueError(f'--{flag} takes no value')
        elif value is not None:
            checked.append(f'--{flag}={quoted(value, parameters[full_name(flag, parameters)])}')
        elif parameters[full_name(flag, parameters)].annotation is str:
            raise ValueError(f'--{flag} needs a value (one that begins with -: --{flag}=-...)')
        else:  # spelled out, lest fire takes the next argument for its value
            name = full_name(flag, parameters)
            checked.append(f'--{name}={flag != "no" + name}')
    return checked


def split_arguments(argv, parameters):
    """Pair each flag with its value: [(flag, value or None)]; a value without a flag has None."""
    pairs, open_flag = [], False
    for argument in argv:
        if re.match(r'--|-[A-Za-z]', argument):
            flag, equals, value = argument.lstrip('-').partition('=')
            flag = flag.replace('-', '_')
            pairs.append((flag, value if equals else None))
            open_flag = not equals
        elif open_flag and (argument in ('True', 'False') or not is_switch(flag, parameters)):
            pairs[-1] = (flag, argument)
            open_flag = False
        else:
            pairs.append((None, argument))
            open_flag = False
    return pairs


def is_switch(flag, parameters):
    """Whether `flag` is on or off: then the argument after it is not its value, as fire thinks."""
    name = full_name(flag, parameters)
    return name is not None and isinstance(parameters[name].default, bool)


def full_name(flag, parameters):
    """The parameter that fire takes `flag` for, or None: --nofoo is foo=False, -f is foo."""
    if flag in parameters:
        return flag
    if flag.startswith('no') and flag[2:] in parameters:
        return flag[2:]
    starting = [name for name in parameters if len(flag) == 1 and name.startswith(flag)]
    return starting[0] if len(starting) == 1 else None


def quoted(value, parameter):
    return repr(value) if parameter.annotation is str else value
