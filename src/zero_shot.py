#!/usr/bin/env python3
"""Evaluate a model on the zero-shot tasks of the paper, and print the table beside the paper's.

Writes RESULTS_DIR/NAME.json, and NAME.md with the same as a table:

    {"model": "124M", "model_fingerprint": of the weights, "parameters": 124439808,
     "dtype": "float32", "limit": null or the number of --limit, "any_size": false,
     "settings": {"context": 1024, "stride": null or a list, "bootstrap_resamples": 1000,
                  "bootstrap_seed": 0},
     "code_version": of git, "sources": digest of src/,
     "tasks": {"ptb": {"perplexity": {
         "value": 65.85, or null for a perplexity that no float is as large as and for a figure of
         nothing, "log_value": 4.187, the logarithm of a perplexity, or null, "measure":
         "perplexity" | "accuracy" (in %) | "bits per byte" | "bits per character" | "F1" | "ROUGE"
         | "BLEU" | "score" (all four of 100), "interval": [low, high] or null, "units": 82430,
         "unit": "words and line ends", "normalisation", "resampled": what was drawn anew for the
         interval, "n_resampled", "split", "detokenizer", "context", "stride" (null for questions),
         "column" of published_results.json or null, "published" there or null,
         "published_from_figure": whether that is traced from a figure of the paper, "difference"
         from it or null, "data": digest of the examples, "seconds": of the whole task}, …},
         "ptb@1024": {…}, …},
     "tables": {"nq": Markdown that the task shows below the results, …},
     "warnings": {"crows_pairs": what is to be said with its figures, …}}, if there are any

A task under a name with @ has another stride than its main one. Figures of tasks that generate have
also "choices": what the protocol leaves open, and how it was chosen, "baseline": null or the name
of what is in the model's place, "prompts": how many, "prompts_cut": how many of them lost tokens to
fit the context, "tokens_cut": so many together, and "texts_code_version": of what generated them.
Their texts are in RESULTS_DIR/NAME.TASK.jsonl, a line each after a first line that says how they
were made:

    {"id": of the prompt, "prompt_sha": digest of its tokens, "text", "tokens": ids, "logprob": of
     the tokens in nats, "lost": tokens cut off the prompt, "seed", "seconds": since the one before}
"""

import contextlib
import os
import shutil
import sys

from cluster.flags import Spread, takes_workers
from cluster.made import Prepared
from evaluation.generating_run import check_exports, export_texts
from evaluation.open_choices import choices_of
from evaluation.parts import forget_parts, run_all_in_parts, stem_of
from evaluation.results import ResultsFile
from evaluation.runs import (
    kept_of,
    n_parameters,
    read_examples,
    read_pairs,
    read_strides,
    results_path,
    run_all,
    runs_of,
    settings_of,
)
from evaluation.table import fitted, short_table, table
from evaluation.tasks import check_packages, find_tasks
from fast import check_dtype, shards_of_file, takes_dtype
from generation.start import start_engine
from hparams import read_hparams
from loading.model_files import find_model, fingerprint, load_encoder_with_end
from scoring.start import start_scorer
from support import command_line, stopping
from support.checks import check_batch_size, check_whole
from support.files import expand, shown
from support.provenance import source_digest, source_version


@takes_workers
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
    choices: str = None,
    batch_size: int = 32,
    export: str = None,
    restart: bool = False,
    keep_texts: bool = False,
    workers: int = None,
    scheduler: str = None,
    parts: str = None,
    part_size: int = None,
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
        choices: what protocols of tasks that generate leave open, TASK.CHOICE=VALUE with commas
            between, such as nq.pairs=5,coqa.length=30
        batch_size: texts that are generated at a time; more take more memory
        export: a folder for what the official scripts of the data sets read, of the tasks named
        restart: forget earlier results of this model in results_dir
        keep_texts: but not the texts it has generated: compute figures anew from them, even if
            another version of this code generated them
        <workers>
    """
    chosen = find_tasks(tasks)
    check_dtype(dtype)
    if limit is not None:
        check_whole('limit', limit, least=1)
    check_batch_size(batch_size)
    spread = Spread(workers, scheduler, parts, part_size)
    spread.check()
    choices = choices_of(chosen, choices)
    check_packages(chosen)
    if export is not None:
        check_exports(chosen)
    models_dir = expand(models_dir)
    folder = find_model(model_name, models_dir)
    model_name = os.path.normpath(model_name)
    hparams = read_hparams(f'{folder}/hparams.json')
    context = hparams.n_ctx if context is None else context
    check_whole('context', context, least=1, below=hparams.n_ctx + 1)
    strides = None if stride is None else read_strides(stride, context)
    encoder = load_encoder_with_end(model_name, models_dir)
    examples = read_examples(chosen, data_dir, complete=not any_size)
    pairs = read_pairs(chosen, data_dir, complete=not any_size)
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
    opened = ResultsFile(path, origin, source_version(), restart, keep_texts)
    with contextlib.suppress(Prepared), opened as results:
        runs = runs_of(chosen, examples, context, strides, limit, pairs, choices)
        todo = [run for run in runs if not results.has(run.name, run.data, run.choices)]
        if restart:
            forget_parts(results, spread)
        if todo and spread.asked:
            folders = {'models_dir': models_dir, 'data_dir': expand(data_dir)}
            resources = {name: os.path.abspath(folder) for name, folder in folders.items()}
            resources['batch_size'] = batch_size
            run_all_in_parts(runs, encoder, hparams, results, origin, resources, spread)
        elif todo:
            spread.check_alone(stem_of(results))
            loaded = dict(encoder=encoder, dtype=dtype)
            shards, _ = shards_of_file(None, dtype)
            with stopping.keeping(kept_of(todo, results)):
                run_all(
                    todo,
                    encoder,
                    lambda: start_scorer(model_name, models_dir, **loaded),
                    lambda: start_engine(model_name, models_dir, n_shards=shards, **loaded),
                    results,
                    batch_size,
                )
        else:
            print(f'{path} holds all of this already', file=sys.stderr)
        show(results)
        if export is not None:
            export_texts(runs, encoder, results, expand(export))


def show(results):
    """Print the table: all of it to a pipe or a file, and what fits to a terminal."""
    if not sys.stdout.isatty():
        print(table(results.content), end='')
        return
    width = shutil.get_terminal_size().columns
    print(short_table(results.content, width), end='')
    for task, markdown in results.tables.items():
        print(f'\n{task}\n\n{fitted(markdown.strip(), width)}')
    print(f'\nall columns: {shown(results.table_path)}')


if __name__ == '__main__':
    command_line.run(evaluate)
