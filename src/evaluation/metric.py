"""What a figure is: a ratio of two sums over rows of numbers, or a function of sums or of rows.

All that decides a figure is in the rows, so that it gets its interval from drawing rows anew. No
TensorFlow.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluation.intervals import ratio_interval, statistic_interval


def perplexity(nats):
    """exp(nats), or None where no float is as large, as for texts of very long words."""
    try:
        return math.exp(nats)
    except OverflowError:
        return None


def percent(share):
    return 100 * share


def bits(nats):
    return nats / math.log(2)


VALUE = {  # what a ratio becomes
    'perplexity': perplexity,
    'accuracy': percent,
    'F1': percent,
    'ROUGE': percent,
    'score': percent,
    'bits per byte': bits,
    'bits per character': bits,
}


class Metric(NamedTuple):
    """A figure: VALUE[measure] of the sum of column `total` by that of column `per`.

    Where it is no such ratio, `total` is None, and one of two functions gives the figure itself (of
    100, where others are in per cent; None or nan if there is none):
    of_sums: ({column: its sum}) -> float, as of corpus BLEU.
    of_rows: ({column: float64 [rows]}) -> float, as of the accuracy of the most confident rows.
    In both, None is a column of ones: its sum is the number of rows.

    per: a column, or None for the number of rows.  unit: what `per` counts.
    normalisation: the same in words.
    column: of published_results.json, what the paper has for it, or None.
    """

    measure: str
    total: str | None
    per: str | None
    unit: str
    normalisation: str
    column: str | None = None
    of_sums: Callable | None = None
    of_rows: Callable | None = None


def accuracy(total, unit, normalisation, column):
    return Metric('accuracy', total, None, unit, normalisation, column)


def figures(metrics, rows, drawn=None):
    """The figures of rows: {metric: dict of value, interval, units and what they are}.

    metrics: {name: Metric}.
    rows: {column: float64 [n]}.  drawn: the same columns of what is drawn anew for intervals, where
      that is not the rows.
    """
    ones = {None: np.ones(len(next(iter(rows.values()))))}
    drawn = rows | ones if drawn is None else drawn
    return {name: figure(metric, rows | ones, drawn) for name, metric in metrics.items()}


def figure(metric, rows, drawn):
    is_ratio = not (metric.of_sums or metric.of_rows)
    value, log_value, interval = (ratio if is_ratio else statistic)(metric, rows, drawn)
    return {
        'value': value,
        'log_value': log_value if metric.measure == 'perplexity' else None,
        'measure': metric.measure,
        'interval': list(interval) if interval and None not in interval else None,
        'units': round(rows[metric.per].sum()),
        'unit': metric.unit,
        'normalisation': metric.normalisation,
        'column': metric.column,
    }


def ratio(metric, rows, drawn):
    """A figure that is a ratio of two sums: its value, the ratio, and its interval."""
    value_of = VALUE[metric.measure]
    total, per = (float(rows[column].sum()) for column in (metric.total, metric.per))
    if not per:  # as of a domain of which --limit leaves nothing
        return None, None, None
    interval = ratio_interval(drawn[metric.total], drawn[metric.per])
    return value_of(total / per), total / per, [value_of(end) for end in interval or ()]


def statistic(metric, rows, drawn):
    """A figure that is a function of sums or of rows: its value, None, and its interval."""

    def value_of(columns):
        if metric.of_rows:
            return metric.of_rows(columns)
        return metric.of_sums({name: float(column.sum()) for name, column in columns.items()})

    value = value_of(rows)
    defined = value is not None and math.isfinite(value)
    return float(value) if defined else None, None, statistic_interval(drawn, value_of)
