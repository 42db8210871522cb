"""Runs of the evaluation: tasks scored in pieces, so that an interruption loses only the last one.

Tasks that generate are in generating_run.py. No TensorFlow.
"""

import hashlib
import os
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from evaluation.generating import GeneratingTask
from evaluation.generating_run import GeneratingRun, generate_all, opened_texts
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

    choices = None  # no field: only tasks that generate have some

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


def runs_of(names, examples, context, strides, limit, pairs=None, choices=None):
    """The Runs of tasks, one for each stride; the first has the task's own name.

    examples, pairs: {name: list}, of all tasks and of those that have pairs.
    choices: {name: dict}, of those that generate.
    """
    runs = []
    for name in names:
        if isinstance(TASKS[name], GeneratingTask):
            more = (pairs or {}).get(name)
            runs.append(generating_run(name, examples[name], more, context, limit, choices[name]))
        else:
            runs += scoring_runs(name, examples[name], context, strides, limit)
    return runs


def generating_run(name, examples, pairs, context, limit, choices):
    data = digest(examples if pairs is None else [examples, pairs])
    return GeneratingRun(name, TASKS[name], examples[:limit], pairs, data, context, choices)


def scoring_runs(name, examples, context, strides, limit):
    """The Runs of a task that scores, by stride."""
    task, data = TASKS[name], digest(examples)
    of_task = strides or [max(context // divisor, 1) for divisor in task.strides]
    if not task.strides:
        of_task = [None]
    runs = []
    for stride in of_task if task.stream else of_task[:1]:
        title = f'{name}@{stride}' if stride != of_task[0] else name
        runs.append(Run(title, task, examples, data, context, stride, limit))
    return runs


def digest(examples):
    """16 hexadecimal digits that identify the examples; of megabytes, so ask once."""
    return hashlib.sha256(repr(examples).encode('utf-8')).hexdigest()[:16]


def run_all(runs, encoder, start_scorer, start_engine, results, rows=None):
    """Score and generate what is not there yet, and write the figures of each task as it is done.

    start_scorer, start_engine: functions that load the model as one or the other, if it is needed;
      it is in memory once, since the scorer is closed first.
    rows: texts that are generated at a time, if not as many as usual.
    """
    scoring = [run for run in runs if isinstance(run, Run)]
    generating = [run for run in runs if isinstance(run, GeneratingRun)]
    with opened_texts(generating, encoder, results) as work:
        total = sum(one.cost for one in work)
        with tqdm(total=total, unit=' tokens', unit_scale=True, disable=None) as bar:
            if scoring:
                with start_scorer() as scorer:
                    score_all(scoring, scorer, results, bar)
            generate_all(work, start_engine, results, bar, rows)


def kept_of(runs, results):
    """What is kept of these runs when they are interrupted, in words."""
    kept = {
        Run: f'{results.unfinished} keeps what is scored',
        GeneratingRun: f'{results.texts_path("*")} keep what is generated',
    }
    kinds = {type(run) for run in runs}
    what = ', '.join(text for kind, text in kept.items() if kind in kinds)
    return f'{what}: run the same command again to go on'


def score_all(runs, scorer, results, bar):
    """Score what is not scored yet, and write the figures of each task when it is done."""
    parts = {}
    for run in tqdm(runs, desc='tokenizing', unit=' tasks', leave=False, disable=None):
        parts[run.name] = run.parts(scorer)
    bar.total += sum(part.cost for some in parts.values() for part in some)
    for run in runs:
        bar.set_description(run.name)
        width, most = len(run.task.columns), len(parts[run.name])
        with results.progress(run.name, run.data, width, most) as progress:
            score_rest(run.task, parts[run.name], scorer, progress, bar)
        finish(run, progress, results)


def finish(run, progress, results):
    """Write the figures of a run whose rows are all there."""
    found = run.figures(progress.rows, progress.seconds)
    results.add(run.name, found, warning=run.task.warning)


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

        rows = rows_of(task, scorer, piece, advance)
        bar.update(shown - bar.n)  # to the token, in spite of rounding
        progress.add(rows, time.perf_counter() - start)


def rows_of(task, scorer, piece, progress=None):
    """The rows of the parts in a piece, list of lists of float; ValueError if they are no numbers.

    They depend on the piece alone, but also on all of it: prompts that parts share are read once.
    """
    rows = task.score(scorer, piece, progress)
    if not np.isfinite(rows).all():
        raise ValueError(
            'the model gives log-probabilities that are no numbers: its weights may be damaged'
        )
    return rows.tolist()


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
    """The examples of tasks, {name: list}; see read_all."""
    return read_all({name: TASKS[name].read for name in names}, data_dir, complete)


def read_pairs(names, data_dir, complete):
    """What the example pairs of tasks that have some are drawn from, {name: list}."""
    readers = {name: getattr(TASKS[name], 'pairs', None) for name in names}
    return read_all({n: read for n, read in readers.items() if read}, data_dir, complete)


def read_all(readers, data_dir, complete):
    """What readers of tasks read, {name: list}; one that several tasks have reads once.

    Raises ValueError if any file cannot be used: with what the first reader says, and the names of
    the other tasks that lack theirs.
    """
    found, errors = {}, {}
    for name, read in readers.items():
        try:
            if read not in found:
                found[read] = read(data_dir, complete=complete)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        first, *others = errors
        also = f'; likewise for {", ".join(others)}' if others else ''
        raise ValueError(f'{first}: {errors[first]}{also}')
    return {name: found[read] for name, read in readers.items()}


def n_parameters(hparams):
    """How many numbers a model of these sizes has."""
    embeddings = (hparams.n_vocab + hparams.n_ctx) * hparams.n_embd
    layer = 12 * hparams.n_embd**2 + 13 * hparams.n_embd
    return embeddings + hparams.n_layer * layer + 2 * hparams.n_embd


def results_path(results_dir, model_name, limit):
    """Where results go: limited ones never into the file of full ones."""
    ending = '' if limit is None else f'.limit-{limit}'
    return os.path.join(expand(results_dir), model_name + ending + '.json')
