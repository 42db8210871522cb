#!/usr/bin/env python3
"""Evaluate a model on the zero-shot tasks of the paper, and print the table beside the paper's.

Writes RESULTS_DIR/NAME.json, and NAME.md with the same as a table:

    {"model": "124M", "model_fingerprint": of the weights, "parameters": 124439808,
     "dtype": "float32", "limit": null or the number of --limit, "any_size": false,
     "settings": {"context": 1024, "stride": null or a list, "bootstrap_resamples": 1000,
                  "bootstrap_seed": 0},
     "code_version": of git, "sources": digest of src/,
     "tasks": {"ptb": {"perplexity": {
         "value": 65.85, or null for a perplexity that no float is as large as, "log_value": 4.187,
         the logarithm of a perplexity, or null, "measure": "perplexity" | "accuracy" (in %) |
         "bits per byte" | "bits per character", "interval": [low, high] or null, "units": 82430,
         "unit": "words and line ends", "normalisation", "resampled": what was drawn anew for the
         interval, "n_resampled", "split", "detokenizer", "context", "stride" (null for questions),
         "column" of published_results.json or null, "published" there or null, "difference" from
         it or null, "data": digest of the examples, "seconds": of the whole task}, …},
         "ptb@1024": {…}, …}}

A task under a name with @ has another stride than its main one.
"""

import os
import shutil
import sys

from evaluation.results import ResultsFile
from evaluation.runs import (
    n_parameters,
    read_examples,
    read_strides,
    results_path,
    run_all,
    runs_of,
    settings_of,
)
from evaluation.table import short_table, table
from evaluation.tasks import find_tasks
from fast import check_dtype, takes_dtype
from hparams import read_hparams
from loading.model_files import find_model, fingerprint, load_encoder_with_end
from scoring.start import start_scorer
from support import command_line, stopping
from support.checks import check_whole
from support.files import expand, shown
from support.provenance import source_digest, source_version


@takes_dtype
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
    several runs with the same settings come together in one table, which is printed: in a terminal
    what fits it, else as NAME.md has it. The data comes with src/download_data.py.

    Args:
        model_name: which model to evaluate, a folder of models_dir
        tasks: names with commas between, or all
        models_dir: the folder of all models
        data_dir: the folder of all data sets
        results_dir: where NAME.json and NAME.md are written
        context: the most tokens read to predict one; None is all that the model can read
        stride: tokens that windows over long texts move by; several with commas between are all
            evaluated; None is half of the context, and the whole one too where that is cheap
        <dtype>
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
            scorer = start_scorer(model_name, models_dir, encoder=encoder, dtype=dtype)
            kept = f'{results.unfinished} keeps what is scored: run the same command again to go on'
            with scorer, stopping.keeping(kept):
                run_all(runs, scorer, results)
        else:
            print(f'{path} holds all of this already', file=sys.stderr)
        show(results)


def show(results):
    """Print the table: all of it to a pipe or a file, and what fits to a terminal."""
    if not sys.stdout.isatty():
        print(table(results.content), end='')
        return
    print(short_table(results.content, shutil.get_terminal_size().columns), end='')
    print(f'\nall columns: {shown(results.table_path)}')


if __name__ == '__main__':
    command_line.run(evaluate)
