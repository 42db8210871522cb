"""metrics.jsonl: what a run has noted, a record of a step a line. No TensorFlow.

A step is noted before its weights are saved. Weights of a step that is not noted are therefore not
the run's own, and it leaves them alone.
"""

import json
import math
import os

from support.files import check_is_file, replacing

NAME = 'metrics.jsonl'


def read(folder):
    """The records of a run, a list of dict, each with its "step"; damaged lines are left out."""
    path = os.path.join(folder, NAME)
    check_is_file(path)
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return [record for record in map(parsed, file) if record is not None]
    except FileNotFoundError:
        return []


def parsed(line):
    """The record in a line, or None for what a killed run or a damaged disk has left of one."""
    try:
        record = json.loads(line)
        numbers = [value for value in record.values() if isinstance(value, int | float)]
        whole = all(map(math.isfinite, [*numbers, record.get('validation', 0)]))
        return record if whole and type(record['step']) is int else None
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError):
        return None


def noted(records):
    """The steps of records, a set, with the one after the last: its line may have been torn."""
    steps = {record['step'] for record in records}
    return steps and steps | {max(steps) + 1}


def write(folder, records):
    """Put records in place of those that are there."""
    with replacing(os.path.join(folder, NAME)) as file:
        file.writelines(json.dumps(record) + '\n' for record in records)
