"""What a zero-shot task is, and its figures.

A task's examples become units of work (`parts`), each unit is scored to a row of numbers (`score`),
and a figure is a function of the rows (metric.py): so work can stop between any two units, and
figures get their intervals from drawing rows anew. The tasks themselves are in tasks/; what a task
is that generates text is in generating.py. No TensorFlow.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluation import metric
from evaluation.intervals import blocks
from evaluation.metric import Metric


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
    warning: what is printed with the figures.
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
    warning: str = ''


def figures(task, rows, context):
    """The figures of a task: {metric: dict of value, interval, units and how they come about}.

    task: Task or GeneratingTask.
    rows: float64 [parts, columns], as `task.score` or `task.rows` gives them.
    """
    rows = np.asarray(rows, np.float64)
    drawn = np.concatenate([rows, np.ones([len(rows), 1])], axis=1)
    if task.stream:
        drawn = blocks(drawn, rows[:, task.columns.index('tokens')], context)
    found = metric.figures(
        task.metrics,
        dict(zip(task.columns, rows.T, strict=True)),
        dict(zip((*task.columns, None), drawn.T, strict=True)),
    )
    of_all = {
        'resampled': task.resampled.format(context=context),
        'n_resampled': len(drawn),
        'split': task.split,
        'detokenizer': task.detokenizer,
    }
    return {name: figure | of_all for name, figure in found.items()}
