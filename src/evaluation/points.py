"""What of an evaluation's results is drawn: the points of its figures. No TensorFlow."""

import json
import math
import os
from typing import NamedTuple

from evaluation.results import DAMAGE, PUBLISHED
from support.files import shown


class Point(NamedTuple):
    """A figure of a model.

    column: of published_results.json.
    protocol: (task, metric, stride as a share of the context), how it was measured.
    interval: (low, high), nan where there is none.
    part: it is of a part of the set, or of other files, only.
    """

    model: str
    parameters: int
    column: str
    protocol: tuple
    value: float
    interval: tuple[float, float]
    part: bool


def read_points(path):
    """The points of a file that zero_shot.py has written, those that the paper has too.

    Raises ValueError if there is no such file, or it holds something else.
    """
    if os.path.isdir(path) or not os.path.exists(path):
        what = 'is a folder' if os.path.isdir(path) else 'is not there'
        raise ValueError(
            f'{path} {what}: give files that zero_shot.py wrote, RESULTS_DIR/NAME.json'
        )
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        return [
            point_of(content, task.split('@')[0], metric, figure)
            for task, figures in content['tasks'].items()
            for metric, figure in figures.items()
            if figure['column'] in PUBLISHED['columns']
            and not figure.get('baseline')  # of no model
            and figure['value'] is not None  # beyond all floats, and any axis
            # A second stride of a task, whose figures are nearly the same, is left to the table.
            and not ('@' in task and task.split('@')[0] in content['tasks'])
        ]
    except DAMAGE as error:
        raise ValueError(f'{path} holds no results that zero_shot.py has written') from error


def point_of(content, task, metric, figure):
    """The Point of one figure of a task, in the content of a file of results."""
    low, high = figure['interval'] or (math.nan, math.nan)
    stride = figure['stride']
    return Point(
        model=shown(content['model']),
        parameters=int(float(content['parameters'])),  # it is drawn as a float
        column=figure['column'],
        protocol=(task, metric, None if stride is None else stride / figure['context']),
        value=float(figure['value']),
        interval=(float(low), float(high)),
        part=content['limit'] is not None or content['any_size'],
    )
