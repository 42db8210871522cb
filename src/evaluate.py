#!/usr/bin/env python3
"""Evaluate a model on the zero-shot tasks of the paper, and print the table beside the paper's.

Writes RESULTS_DIR/NAME.json, and NAME.md with the same as a table:

    {"model": "124M", "model_fingerprint": of the weights, "parameters": 124439808,
     "dtype": "float32", "limit": null or the number of --limit, "any_size": false,
     "settings": {"context": 1024, "stride": null or a list, "bootstrap_resamples": 1000,
                  "bootstrap_seed": 0},
     "code_version": of git, "sources": digest of src/,
     "tasks": {"ptb": {"perplexity": {
         "value": 65.85, "measure": "perplexity" | "accuracy" (in %) | "bits per byte" | "bits per
         character", "interval": [low, high] or null, "units": 82430, "unit": "words and line ends",
         "normalisation", "resampled": what was drawn anew for the interval, "n_resampled", "split",
         "detokenizer", "context", "stride" (null for questions), "column" of
         published_results.json or null, "published" there or null, "difference" from it or null,
         "data": digest of the examples, "seconds": of the whole task}, …}, "ptb@1024": {…}, …}}

A task under a name with @ has another stride than its main one.
"""

import hashlib
import os
import sys
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import command_line
from bootstrap_interval import RESAMPLES, SEED
from evaluation_results import ResultsFile
from evaluation_table import table
from hparams import read_hparams
from model_files import expand, find_model, fingerprint, load_encoder_with_end
from settings import check_dtype, check_whole
from source_version import source_digest, source_version
from tasks import TASKS, Task, figures, find_tasks

PIECE_TOKENS = 2**15  # are read before what was scored is saved


def evaluate(
    model_name: str = '124M',
    tasks: str = 'all',
    models_dir: str = 'models',
    data_dir: str = 'data',
    results_dir: str = 'results',
    context: int = None,
    stride: str = None,
    dtype: str = 'float32',
    limit: int = None,
    any_size: bool = False,
    restart: bool = False,
):
    """Evaluate a model on the zero-shot tasks of the paper.

    Run the same command again after an interruption and it goes on where it stopped. Results of
    several runs with the same settings come together in one table, which is printed. The data comes
    with download_data.py.

    Args:
        model_name: which model to evaluate, a folder of models_dir
        tasks: names with commas between, or all
        models_dir: the folder of all models
        data_dir: the folder of all data sets
        results_dir: where NAME.json and NAME.md are written
        context: the most tokens read to predict one; None is all that the model can read
        stride: tokens that windows over long texts move by; several with commas between are all
            evaluated; None is half of the context, and the whole one too where that is cheap
        dtype: what weights are stored in and multiplied as: float32, bfloat16 or int8
        limit: a quick look at the first so many questions, sentences or windows of each task, kept
            apart from full results
        any_size: accept data files that are not as long as the published ones, such as your own
        restart: forget earlier results of this model in results_dir
    """
    chosen = find_tasks(tasks)
    check_dtype(dtype)
    if limit is not None:
        check_whole('limit', limit, least=1)
    models_dir = expand(models_dir)
    folder = find_model(model_name, models_dir)
    model_name = os.path.normpath(model_name)
    hparams = read_hparams(f'{folder}/hparams.json')
    context = hparams.n_ctx if context is None else context
    check_whole('context', context, least=1, below=hparams.n_ctx + 1)
    strides = None if stride is None else read_strides(stride, context)
    encoder = load_encoder_with_end(model_name, models_dir)
    examples = read_examples(chosen, data_dir, complete=not any_size)
    origin = {
        'model': model_name,
        'model_fingerprint': fingerprint(folder),
        'parameters': n_parameters(hparams),
        'dtype': dtype,
        'limit': limit,
        'any_size': any_size,
        'settings': settings_of(context, strides),
        'sources': source_digest(),
    }
    path = results_path(results_dir, model_name, limit)
    with ResultsFile(path, origin, source_version(), restart) as results:
        runs = runs_of(chosen, examples, context, strides, limit)
        runs = [run for run in runs if not results.has(run.name, run.data)]
        if runs:
            with command_line.start_scorer(model_name, models_dir, encoder, dtype) as scorer:
                run_all(runs, scorer, results)
        else:
            print(f'{path} holds all of this already', file=sys.stderr)
        print(table(results.content), end='')


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


class Run(NamedTuple):
    """A task with its settings: what is scored in one go."""

    name: str
    task: Task
    examples: list
    context: int
    stride: int | None
    limit: int | None

    def parts(self, scorer):
        """The units of work, as far as --limit goes."""
        examples = self.examples if self.task.stream else self.examples[: self.limit]
        return self.task.parts(examples, scorer, self.context, self.stride)[: self.limit]

    @property
    def data(self):
        """16 hexadecimal digits that stand for the examples."""
        return hashlib.sha256(repr(self.examples).encode('utf-8')).hexdigest()[:16]

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
        task = TASKS[name]
        of_task = strides or [max(context // divisor, 1) for divisor in task.strides]
        if not task.strides:
            of_task = [None]
        for stride in of_task if task.stream else of_task[:1]:
            title = f'{name}@{stride}' if stride != of_task[0] else name
            runs.append(Run(title, task, examples[name], context, stride, limit))
    return runs


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


if __name__ == '__main__':
    command_line.run(evaluate)
