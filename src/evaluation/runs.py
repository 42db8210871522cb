"""Runs of the evaluation: tasks scored in pieces, so that an interruption loses only the last one.

No TensorFlow.
"""

import hashlib
import os
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from evaluation.intervals import RESAMPLES, SEED
from evaluation.task import Task, figures
from evaluation.tasks import TASKS
from support.checks import check_whole
from support.files import expand

PIECE_TOKENS = 2**15  # This many are read before what was scored is saved.


class Run(NamedTuple):
    """A task with its settings: what is scored in one go."""

    name: str
    task: Task
    examples: list
    data: str
    context: int
    stride: int | None
    limit: int | None

    def parts(self, scorer):
        """The units of work, as far as --limit goes; ValueError for what cannot be scored."""
        examples = self.examples if self.task.stream else self.examples[: self.limit]
        try:
            return self.task.parts(examples, scorer, self.context, self.stride)[: self.limit]
        except ValueError as error:
            raise ValueError(f'{self.name}: {error}') from error

    def figures(self, rows, seconds):
        """The figures of all rows, complete but for what was published."""
        common = {
            'context': self.context,
            'stride': self.stride,
            'data': self.data,
            'seconds': seconds,
        }
        found = figures(self.task, rows, self.context)
        return {name: figure | common for name, figure in found.items()}


def runs_of(names, examples, context, strides, limit):
    """The Runs of tasks, one for each stride; the first has the task's own name."""
    runs = []
    for name in names:
        task, data = TASKS[name], digest(examples[name])
        of_task = strides or [max(context // divisor, 1) for divisor in task.strides]
        if not task.strides:
            of_task = [None]
        for stride in of_task if task.stream else of_task[:1]:
            title = f'{name}@{stride}' if stride != of_task[0] else name
            runs.append(Run(title, task, examples[name], data, context, stride, limit))
    return runs


def digest(examples):
    """16 hexadecimal digits that identify the examples; of megabytes, so ask once."""
    return hashlib.sha256(repr(examples).encode('utf-8')).hexdigest()[:16]


def run_all(runs, scorer, results):
    """Score what is not scored yet, and write the figures of each task when it is done."""
    parts = {}
    for run in tqdm(runs, desc='tokenizing', unit=' tasks', leave=False, disable=None):
        parts[run.name] = run.parts(scorer)
    total = sum(part.cost for some in parts.values() for part in some)
    with tqdm(total=total, unit=' tokens', unit_scale=True, disable=None) as bar:
        for run in runs:
            bar.set_description(run.name)
            width, most = len(run.task.columns), len(parts[run.name])
            with results.progress(run.name, run.data, width, most) as progress:
                score_rest(run.task, parts[run.name], scorer, progress, bar)
            results.add(run.name, run.figures(progress.rows, progress.seconds))


def score_rest(task, parts, scorer, progress, bar):
    """Score the parts whose rows are not there yet, a piece at a time.

    Where a piece ends depends on the parts alone, so a run that was interrupted computes what it
    would have.
    """
    done = len(progress.rows)
    bar.total -= sum(part.cost for part in parts[:done])
    for piece in pieces(parts[done:]):
        start, cost = time.perf_counter(), sum(part.cost for part in piece)
        share = cost / sum(part.scored for part in piece)
        shown = bar.n + cost

        def advance(n, share=share):
            bar.update(n * share)

        rows = task.score(scorer, piece, advance)
        bar.update(shown - bar.n)  # to the token, in spite of rounding
        if not np.isfinite(rows).all():
            raise ValueError(
                'the model gives log-probabilities that are no numbers: its weights may be damaged'
            )
        progress.add(rows.tolist(), time.perf_counter() - start)


def pieces(parts):
    """Yield parts in lists that read about PIECE_TOKENS tokens each."""
    piece, cost = [], 0
    for part in parts:
        piece.append(part)
        cost += part.cost
        if cost >= PIECE_TOKENS:
            yield piece
            piece, cost = [], 0
    if piece:
        yield piece


def settings_of(context, strides):
    """What else decides the figures: results that differ in it do not mix."""
    return {
        'context': context,
        'stride': strides,
        'bootstrap_resamples': RESAMPLES,
        'bootstrap_seed': SEED,
    }


def read_strides(text, context):
    """The strides in a text such as '32,512', the main one first."""
    try:
        strides = [int(word) for word in text.split(',')]
    except ValueError:
        raise ValueError(
            f'stride must be whole numbers with commas between, not {text!r}'
        ) from None
    for stride in strides:
        check_whole('stride', stride, least=1, below=context + 1)
    return list(dict.fromkeys(strides))


def read_examples(names, data_dir, complete):
    """The examples of tasks, {name: list}.

    Raises ValueError if any file cannot be used: with what the first reader says, and the names of
    the other tasks that lack theirs.
    """
    examples, errors = {}, {}
    for name in names:
        try:
            examples[name] = TASKS[name].read(data_dir, complete=complete)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        first, *others = errors
        also = f'; likewise for {", ".join(others)}' if others else ''
        raise ValueError(f'{first}: {errors[first]}{also}')
    return examples


def n_parameters(hparams):
    """How many numbers a model of these sizes has."""
    embeddings = (hparams.n_vocab + hparams.n_ctx) * hparams.n_embd
    layer = 12 * hparams.n_embd**2 + 13 * hparams.n_embd
    return embeddings + hparams.n_layer * layer + 2 * hparams.n_embd


def results_path(results_dir, model_name, limit):
    """Where results go: limited ones never into the file of full ones."""
    ending = '' if limit is None else f'.limit-{limit}'
    return os.path.join(expand(results_dir), model_name + ending + '.json')
