"""What a zero-shot task is, and its figures.

A task's examples become units of work (`parts`), each unit is scored to a row of numbers (`score`),
and a figure is a ratio of two sums over the rows: so work can stop between any two units, and
figures get their intervals from drawing rows anew. The tasks themselves are in tasks/. No
TensorFlow.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluation.intervals import blocks, ratio_interval


def perplexity(nats):
    """exp(nats), or None where no float is as large, as for texts of very long words."""
    try:
        return math.exp(nats)
    except OverflowError:
        return None


VALUE = {
    'perplexity': perplexity,
    'accuracy': lambda share: 100 * share,
    'bits per byte': lambda nats: nats / math.log(2),
    'bits per character': lambda nats: nats / math.log(2),
}


class Metric(NamedTuple):
    """A figure: VALUE[measure] of the sum of column `total` by that of column `per`.

    per: a column, or None for the number of rows.  unit: what `per` counts.
    normalisation: the same in words.
    column: of published_results.json, what the paper has for it, or None.
    """

    measure: str
    total: str
    per: str | None
    unit: str
    normalisation: str
    column: str | None = None


class Task(NamedTuple):
    """A task.

    read: (data_dir, complete=...) -> examples.  split, detokenizer: what they are of, how written.
    parts: (examples, scorer, context, stride) -> units of work, each with a `cost` in tokens read
      and the tokens `scored`.
    score: (scorer, parts, progress) -> float64 [parts, columns].
    resampled: what is drawn anew for the interval.
    metrics: {name: Metric}.
    strides: how far windows move, as divisors of the context, the main one first; none where each
      example is a window of its own.
    stream: the parts are windows of one text, and neighbours are drawn together.
    """

    read: Callable
    split: str
    detokenizer: str
    parts: Callable
    score: Callable
    columns: tuple[str, ...]
    resampled: str
    metrics: dict[str, Metric]
    strides: tuple[int, ...] = ()
    stream: bool = False


def accuracy(total, unit, normalisation, column):
    return Metric('accuracy', total, None, unit, normalisation, column)


def figures(task, rows, context):
    """The figures of a task: {metric: dict of value, interval, units and how they come about}.

    rows: float64 [parts, columns], as `task.score` gives them.
    """
    rows = dict(zip(task.columns, np.asarray(rows, np.float64).T, strict=True))
    rows[None] = np.ones(len(rows[task.columns[0]]))
    return {name: figure(task, metric, rows, context) for name, metric in task.metrics.items()}


def figure(task, metric, rows, context):
    total, per = rows[metric.total], rows[metric.per]
    drawn = np.stack([total, per], axis=1)
    if task.stream:
        drawn = blocks(drawn, rows['tokens'], context)
    value_of = VALUE[metric.measure]
    ratio = float(total.sum() / per.sum())
    interval = [value_of(end) for end in ratio_interval(drawn[:, 0], drawn[:, 1]) or ()]
    return {
        'value': value_of(ratio),
        'log_value': ratio if metric.measure == 'perplexity' else None,
        'measure': metric.measure,
        'interval': interval if interval and None not in interval else None,
        'units': round(per.sum()),
        'unit': metric.unit,
        'normalisation': metric.normalisation,
        'resampled': task.resampled.format(context=context),
        'n_resampled': len(drawn),
        'split': task.split,
        'detokenizer': task.detokenizer,
        'column': metric.column,
    }
