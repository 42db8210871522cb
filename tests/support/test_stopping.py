"""How programs stop: by signals, and where their output takes no more."""

import errno
import io
import signal
import sys

import pytest

from support import command_line, stopping
from support.stopping import OutputLost


def raising(number, *more):
    """A function that sends its process signals."""

    def function():
        for each in (number, *more):
            signal.raise_signal(each)

    return function


@pytest.fixture
def python_signals():
    """Signals as Python has them by default: a shell may have told this process to ignore some."""
    defaults = {number: signal.SIG_DFL for number in stopping.TERMINATING}
    defaults[signal.SIGINT] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    assert {number: signal.getsignal(number) for number in defaults} == defaults
    for number, handler in before.items():
        signal.signal(number, handler)


TERMINATING = [
    pytest.param(number, 128 + number, id=number.name) for number in stopping.TERMINATING
]


@pytest.mark.parametrize('number, status', TERMINATING)
def test_a_signal_that_terminates_cleans_up_and_has_a_status_of_its_own(
    call, python_signals, number, status
):
    cleaned = []

    def function():
        try:
            raising(number)()
        finally:
            raising(*stopping.TERMINATING)()  # more of them do not disturb
            cleaned.append(True)

    assert call(function) == (status, '', f'stopped by {number.name}\n')
    assert cleaned == [True]


@pytest.mark.parametrize('number', stopping.TERMINATING)
def test_a_signal_that_the_process_was_told_to_ignore_is_ignored(call, python_signals, number):
    """nohup does so."""
    signal.signal(number, signal.SIG_IGN)
    try:
        assert call(raising(number)) == (0, '', '')
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    'error, status, expected',
    [
        (KeyboardInterrupt(), 130, '\nstep 5 stays\n'),
        (stopping.Stopped(signal.SIGTERM), 143, 'stopped by SIGTERM; step 5 stays\n'),
        (OutputLost(errno.EPIPE, 'x', 'y'), 1, 'standard output was closed; step 5 stays\n'),
        (
            OutputLost(errno.ENOSPC, 'No space left', 'standard output'),
            2,
            'error: cannot write to standard output: No space left; step 5 stays\n',
        ),
        (ValueError('wrong'), 2, 'error: wrong\n'),
    ],
)
@pytest.mark.parametrize('what', ['step 5 stays', lambda: 'step 5 stays'])
def test_who_stops_a_program_is_told_what_is_kept(call, error, status, expected, what):
    def function():
        with stopping.keeping(what):
            raise error

    assert call(function) == (status, '', expected)


@pytest.mark.parametrize('inner, told', [('parts stay', 'parts stay'), ('', 'files stay')])
def test_of_what_is_kept_the_innermost_block_tells(call, inner, told):
    def function():
        with stopping.keeping('files stay'), stopping.keeping(lambda: inner):
            raise KeyboardInterrupt

    assert call(function)[2] == f'\n{told}\n'


@pytest.mark.parametrize('number, status', TERMINATING)
def test_work_goes_on_until_it_may_stop(call, python_signals, number, status):
    """A terminal that closes sends its signal twice, and takes nothing more."""
    seen = []

    def function():
        with stopping.deferred_interrupts() as stop:
            raising(number, number, *stopping.TERMINATING)()
            seen.append(stop.is_set())
            raise stop.error

    assert call(function) == (status, '', f'stopped by {number.name}\n')
    assert seen == [True]


def test_a_signal_in_the_last_moment_is_not_forgotten(call, python_signals):
    def function():
        with stopping.deferred_interrupts():
            raising(signal.SIGTERM)()

    assert call(function)[0] == 143


def test_control_c_after_another_signal_interrupts_at_once(call, python_signals):
    def function():
        with stopping.deferred_interrupts():
            raising(signal.SIGTERM, signal.SIGINT)()
            raise AssertionError('was not interrupted')

    assert call(function)[0] == 130


def test_signals_end_the_process_at_once_where_python_would_not_hear_them(call, python_signals):
    def function():
        with stopping.deadly_signals():
            seen.extend(map(signal.getsignal, (signal.SIGINT, *stopping.TERMINATING)))

    seen = []
    assert call(function) == (0, '', '')
    assert set(seen) == {signal.SIG_DFL}


class Broken(io.StringIO):
    """A stream that takes no more."""

    def write(self, text):
        raise OSError(errno.EPIPE, 'Broken pipe')


@pytest.mark.parametrize('name', ['stdout', 'stderr'])
def test_a_stream_that_takes_no_more_stops_work_where_it_may(monkeypatch, name):
    seen = []

    def function():
        with stopping.deferred_interrupts() as stop:
            for _ in range(2):
                print('line', file=getattr(sys, name), flush=True)
                seen.append(stop.is_set())
            raise stop.error

    monkeypatch.setattr(sys, name, Broken())
    with pytest.raises(SystemExit) as caught:
        command_line.run(function, [])
    assert (caught.value.code, seen) == (1, [True, True])
