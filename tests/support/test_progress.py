import io
import re
import sys

import pytest
from tqdm import tqdm

from support import progress
from support.progress import show_progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_a_log_gets_a_line_every_half_minute_and_one_at_the_end(capsys, clock):
    with show_progress(total=100, initial=10, unit='step') as shown:
        for step in range(11, 101):
            clock[0] += 4
            shown.set_postfix_str(f'loss {step}')
            shown.update()
    output, errors = capsys.readouterr()
    *lines, last = errors.splitlines()
    assert output == '' and '\r' not in errors
    assert lines[:2] == [
        'step 18/100 in 00:32, 05:28 left, loss 18',
        'step 26/100 in 01:04, 04:56 left, loss 26',
    ]
    assert len(lines) == 11 and last == 'step 100/100 in 06:00, 00:00 left, loss 100'


def test_work_that_is_soon_done_prints_nothing(capsys, clock):
    with show_progress(total=3, unit='step') as shown:
        for _ in range(3):
            clock[0] += 9
            shown.update()
    assert capsys.readouterr() == ('', '')


def test_a_step_that_takes_longer_than_that_gets_a_line_each(capsys, clock):
    with show_progress(total=3, unit='step') as shown:
        for _ in range(3):
            clock[0] += 3600
            shown.update()
    assert capsys.readouterr().err == (
        'step 1/3 in 1:00:00, 2:00:00 left\n'
        'step 2/3 in 2:00:00, 1:00:00 left\n'
        'step 3/3 in 3:00:00, 00:00 left\n'
    )


@pytest.mark.parametrize('total, rest', [(None, ''), (10**7, ', 00:10 left')])
def test_sizes_are_scaled_and_a_total_may_be_unknown(capsys, clock, total, rest):
    options = dict(total=total, unit='B', unit_scale=True, desc='encoding', leave=False)
    with show_progress(**options) as shown:
        for _ in range(40):
            clock[0] += 1
            shown.update(250_000)
    amount = '7.50M/10.0MB' if total else '7.50MB'
    assert capsys.readouterr().err == f'encoding: {amount} in 00:30{rest}\n'


def test_a_terminal_shows_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, 'stderr', Terminal())
    with show_progress(total=2, unit='step') as shown:
        assert isinstance(shown, tqdm)
        shown.update(2)
    assert re.search(r'\r100%.* 2/2 \[.*step/s\]', sys.stderr.getvalue())
