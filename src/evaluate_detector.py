#!/usr/bin/env python3
"""Measure how well detectors, and scores without training, tell human from machine texts."""

import contextlib
import json
import os

from detection import figure as figures
from detection import judges, tables, trials
from detection.detector import read_description
from detection.records import path_of, sources_named
from loading.model_files import find_model, fingerprint, load_encoder_with_end
from scoring.start import start_scorer
from support import command_line
from support.checks import check_whole
from support.files import expand, replacing
from support.progress import show_progress


def evaluate_detector(
    human: str,
    machine: str,
    *detectors: str,
    model_name: str = '124M',
    models_dir: str = 'models',
    scores: str = 'all',
    lengths: str = '25,50,100,200,all',
    texts: int = None,
    output: str = None,
    figure: str = None,
):
    """Print how well DETECTORS tell the texts of HUMAN from those of each source in MACHINE.

    HUMAN and MACHINE are FOLDER/SOURCE, the beginnings of the files' names; several MACHINE have
    commas between. Figures are of the test files; a threshold of accuracy is chosen on the
    validation files. Both classes are cut to equal lengths. Intervals hold 95 % of what comes out
    if documents are drawn anew.

    Args:
        human: the source of human texts
        machine: one or more sources of machine texts
        detectors: folders that train_detector.py has made; none or more
        model_name: the model that scores texts, and whose vocabulary counts tokens
        models_dir: the folder of all models
        scores: which scores without training are evaluated too: mean_logprob, mean_log_rank, lrr,
            z, outside_top_40, outside_nucleus_0.9, or all, or none
        lengths: tokens that texts are cut to; all: as long as a text of the other class
        texts: of each file at most so many, drawn at random; None takes all
        output: write all figures to this file, JSON
        figure: draw AUROC by length into this file, .png or .svg
    """
    human, models_dir = expand(human), expand(models_dir)
    output, figure = (path and expand(path) for path in (output, figure))
    machines = [expand(source) for source in sources_named(machine)]
    detectors = [expand(folder) for folder in detectors]
    names = judges.zero_shot_names(scores)
    lengths = trials.lengths_named(lengths)
    if texts is not None:
        check_whole('texts', texts, least=1)
    check_sources([human, *machines])
    check_figure(figure)
    check_folders(output, figure)
    if len(set(detectors)) < len(detectors):
        raise ValueError('name each detector once')
    if not names and not detectors:
        raise ValueError('name a detector, or --scores')
    infos = [read_description(folder) for folder in detectors]
    model_folder = find_model(model_name, models_dir)
    encoder = load_encoder_with_end(model_name, models_dir)
    weights = fingerprint(model_folder)
    with contextlib.ExitStack() as stack:
        share = [info['kind'] == 'scores' and info['fingerprint'] == weights for info in infos]
        scorer = None
        if names or any(share):
            scorer = stack.enter_context(start_scorer(model_name, models_dir, encoder=encoder))
        scorers = [scorer if shares else None for shares in share]
        panel = panel_of(names, detectors, models_dir, scorer, scorers, stack)
        total = trials.passes(panel, human, machines, lengths, texts)
        with show_progress(total=total, desc='judging', unit='texts') as bar:
            done = [
                trials.Trial(panel, human, source, encoder, lengths, texts, bar.update)
                for source in machines
            ]
    cells = measured(panel, done)
    if output is not None:
        content = {'human': human, 'machine': machines, 'model': model_name, 'weights': weights}
        write(output, content | {'cells': cells})
    print(tables.report(cells))
    if figure is not None:
        figures.draw(cells, figure)


def panel_of(names, detectors, models_dir, scorer, scorers, stack):
    """The Panel of scores without training and of detectors, which the stack closes.

    scorer: of the former.  scorers: for each detector the Scorer that it shares, or None.
    """
    those = [judges.zero_shot(name) for name in names]
    of_each = zip(judges.names_of(detectors), detectors, scorers, strict=True)
    those += [judges.trained(name, folder, models_dir, own, stack) for name, folder, own in of_each]
    return judges.Panel(those, scorer)


def write(path, content):
    with replacing(path) as file:
        json.dump(content, file, indent=2)
        file.write('\n')


def measured(panel, done):
    """The figures of trials, and those that were published; ValueError where there are none."""
    count = sum(len(trial.test) for trial in done) * len(panel.judges)
    if not count:
        raise ValueError('no length has texts of both classes: give smaller --lengths, or all')
    cells = []
    with show_progress(total=count, desc='intervals', unit='cells') as bar:
        for cell in trials.evaluate(panel, done):
            cells.append(cell | {'published': tables.published(cell)})
            bar.update()
    return cells


def check_sources(sources):
    """Raise ValueError unless the files for validation and test are there."""
    for source in sources:
        for split in ('valid', 'test'):
            if not os.path.isfile(path_of(source, split)):
                raise ValueError(f'there is no file {path_of(source, split)}')


def check_figure(path):
    """Raise ValueError for a figure that cannot be drawn."""
    if path is not None:
        if os.path.splitext(path)[1] not in ('.png', '.svg'):
            raise ValueError(f'figure must end in .png or .svg, not {path!r}')
        figures.check_matplotlib()


def check_folders(*paths):
    """Raise ValueError unless the folders that files are to be written to are there."""
    for path in paths:
        folder = path and os.path.dirname(path)
        if folder and not os.path.isdir(folder):
            raise ValueError(f'there is no folder {folder} to write {os.path.basename(path)} to')


if __name__ == '__main__':
    command_line.run(evaluate_detector)
