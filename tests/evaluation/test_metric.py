"""Figures as ratios, as functions of sums and as functions of rows, and their intervals."""

import math

import numpy as np
import pytest

from evaluation.metric import Metric, figures
from evaluation.task import figures as figures_of_task
from evaluation.tasks import TASKS

RANDOM = np.random.RandomState(0)
ROWS = {'right': RANDOM.randint(0, 2, 40) * 1.0, 'size': RANDOM.gamma(2.0, 3.0, 40)}
RECORDED = {  # by the code that knew ratios alone: value and interval of random rows
    'ptb': [
        ('perplexity', 2.385805312295973, [1.9216234609494354, 3.090372312712322]),
        ('token_perplexity', 1.1741080931011614, [1.1289064445597112, 1.2195166621915654]),
    ],
    '1bw': [
        ('perplexity', 2.6026877110212747, [2.0242108516693986, 3.598178339612264]),
        ('token_perplexity', 1.2446490967031927, [1.1743767006582289, 1.3336421777733847]),
    ],
    'lambada': [
        ('accuracy', 564.4098056445129, [444.8615856081299, 699.0516108056804]),
        ('perplexity', 158.2393896929832, [46.93797944178016, 662.2377142994429]),
    ],
}


@pytest.mark.parametrize('name, n', [('ptb', 37), ('1bw', 40), ('lambada', 33)])
def test_figures_and_intervals_are_to_the_last_digit_what_they_always_were(name, n):
    task, random = TASKS[name], np.random.RandomState(len(name) + n)
    rows = random.gamma(2.0, 3.0, size=(n, len(task.columns)))
    if 'tokens' in task.columns:
        rows[:, task.columns.index('tokens')] = random.randint(1, 60, n)
    found = figures_of_task(task, rows, context=64)
    for metric, value, interval in RECORDED[name]:
        assert (found[metric]['value'], found[metric]['interval']) == (value, interval)


def test_a_function_of_sums_or_of_rows_that_is_a_ratio_has_the_figure_and_interval_of_one():
    by_ratio = Metric('accuracy', 'right', 'size', 'pages', 'right / pages')
    metrics = {
        'ratio': by_ratio,
        'sums': by_ratio._replace(total=None, of_sums=lambda s: 100 * s['right'] / s['size']),
        'rows': by_ratio._replace(
            total=None, of_rows=lambda c: 100 * c['right'].sum() / c['size'].sum()
        ),
    }
    ratio, *others = figures(metrics, ROWS).values()
    for other in others:
        assert other['value'] == pytest.approx(ratio['value'], rel=1e-12)
        assert other['interval'] == pytest.approx(ratio['interval'], rel=1e-12)
        assert other['units'] == ratio['units'] == round(ROWS['size'].sum())


def test_a_function_of_rows_sees_each_row_as_often_as_it_is_drawn():
    """The largest of n distinct numbers is in a draw with probability 1 - (1 - 1/n)^n."""
    rows = {'size': np.arange(40.0)}
    largest = Metric('score', None, None, 'pages', 'the most', of_rows=lambda c: c['size'].max())
    (figure,) = figures({'largest': largest}, rows).values()
    assert figure['value'] == 39 and figure['interval'][1] == 39 and figure['interval'][0] < 38
    draws = []
    figures({'x': largest._replace(of_rows=lambda c: draws.append(c['size']) or 0.0)}, rows)
    shares = np.mean([draw.max() == 39 for draw in draws[1:]])
    assert len(draws) == 1001 and shares == pytest.approx(1 - (1 - 1 / 40) ** 40, abs=0.05)
    assert all(len(draw) == 40 for draw in draws)


def test_the_number_of_rows_is_the_sum_of_a_column_of_ones():
    count = Metric('score', None, None, 'pages', 'pages', of_sums=lambda sums: sums[None])
    (figure,) = figures({'count': count}, ROWS).values()
    assert (figure['value'], figure['interval'], figure['units']) == (40.0, [40.0, 40.0], 40)


def test_a_figure_of_nothing_is_none():
    """As of a domain of which --limit leaves no example: in all of the rows, or in some draws."""
    none = {'right': np.zeros(5), 'some': np.zeros(5)}
    few = {'right': np.ones(5), 'some': np.array([1.0, 0, 0, 0, 0])}
    ratio = Metric('accuracy', 'right', 'some', 'pages', 'right / some')
    metrics = {
        'ratio': ratio,
        'sums': ratio._replace(
            total=None, of_sums=lambda s: s['right'] / s['some'] if s['some'] else None
        ),
        'rows': ratio._replace(
            total=None, of_rows=lambda c: c['right'].sum() / (c['some'].sum() or math.nan)
        ),
    }
    for figure in figures(metrics, none).values():
        assert (figure['value'], figure['interval']) == (None, None)
    for figure in figures(metrics, few).values():
        assert np.isfinite([figure['value'], *figure['interval']]).all()
    for figure in figures(metrics, {name: column[:1] for name, column in few.items()}).values():
        assert figure['value'] is not None and figure['interval'] is None


def test_only_perplexities_have_logarithms_and_those_of_nothing_have_none():
    ratio = Metric('perplexity', 'right', 'size', 'pages', '')
    (figure,) = figures({'x': ratio}, {'right': np.array([9.0]), 'size': np.array([0.0])}).values()
    assert (figure['value'], figure['log_value']) == (None, None)
