#!/usr/bin/env python3
"""Train a detector, which tells a model's texts from human ones."""

import contextlib
import functools
import os
import tempfile

import numpy as np

from detection import own_test, scores_detector, words_detector
from detection.detector import check_kind, check_new, save_detector
from detection.labelled import labelled, people_in, read_pairs
from detection.network_detector import NetworkDetector
from detection.records import SPLITS, path_of, sources_named
from loading.model_files import ModelFiles, find_model, fingerprint, load_encoder, weights
from loading.startup import started
from scoring.start import start_scorer
from support import command_line
from support.checks import check_whole
from support.files import check_is_file, expand
from support.progress import show_progress
from support.stopping import deferred_interrupts
from training.plan import TrainingPlan

USUAL = {'epochs': 3, 'learning_rate': 2e-5, 'batch_size': 24}  # of a network, as in 2019


def train_detector(
    human: str,
    machine: str,
    out: str,
    kind: str = 'scores',
    model_name: str = '124M',
    models_dir: str = 'models',
    cut: bool = True,
    epochs: int = None,
    learning_rate: float = None,
    batch_size: int = None,
    seed: int = 0,
):
    """Train a detector on HUMAN and MACHINE texts and write it to the folder OUT.

    The texts are those of an output dataset. HUMAN is FOLDER/SOURCE, the beginning of the names of
    the files SOURCE.train.jsonl, SOURCE.valid.jsonl and SOURCE.test.jsonl; MACHINE is the same, or
    several with commas between: FOLDER/SOURCE,FOLDER/SOURCE. The detector learns from train, takes
    its choices and its threshold (1 % of human texts are above it) from valid, and its table of
    test is printed and kept in OUT.

    Args:
        human: the human texts
        machine: the texts of a model, of one sampler or of several
        out: the new detector, a folder
        kind: scores (logistic regression on what the model says of a text), words (logistic
            regression on TF-IDF of words and pairs of words, as OpenAI's of 2019; needs
            scikit-learn) or network (the model itself with a classifying head, fine-tuned)
        model_name: the model, a folder of models_dir; of words only the tokens that --cut counts
        models_dir: the folder of all models
        cut: cut human and machine texts to equal numbers of tokens, lest a detector learns their
            lengths; --nocut takes them as they are, as OpenAI did in 2019
        epochs: of a network: how often it reads each text; the best epoch, by the accuracy on
            valid, is kept; None is 3
        learning_rate: of a network, constant; None is 2e-5, small models want a higher one
        batch_size: of a network: texts that make one step; None is 24
        seed: of the order of texts, and of what a network draws
    """
    check_kind(kind)
    choices = of_network(kind, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size)
    check_whole('seed', seed, least=0, below=2**31)
    human, out, models_dir = expand(human), expand(out), expand(models_dir)
    machines = [expand(source) for source in sources_named(machine)]
    check_new(out)
    check_data([human, *machines])
    if kind == 'words':
        words_detector.check_scikit_learn()
    if kind != 'words' or cut:
        find_model(model_name, models_dir)
    encoder = load_encoder(model_name, models_dir) if cut else None
    read = functools.partial(read_pairs, human, machines, encoder=encoder, seed=seed)
    pairs = {split: read(split) for split in SPLITS}

    with contextlib.ExitStack() as stack:
        if kind == 'words':
            detector, how = train_words(pairs)
        elif kind == 'scores':
            detector, how = train_scores(pairs, model_name, models_dir)
        else:
            detector, how = train_network(pairs, model_name, models_dir, choices, seed)
        stack.enter_context(detector)
        trained = {
            'human': os.path.basename(human),
            'machine': [os.path.basename(source) for source in machines],
            'pairs': sum(len(of_source.human) for of_source in pairs['train']),
            'cut': cut,
            'seed': seed,
            **how,
        }
        description = model_of(kind, model_name, models_dir) | {'trained': trained}
        people = people_in(pairs['valid'])
        total = len(people) + sum(2 * len(of_source.human) for of_source in pairs['test'])
        with show_progress(total=total, desc='testing', unit='text') as shown:
            info = save_detector(detector, out, people, pairs['test'], description, shown.update)
    print(*own_test.lines_of(info['test']), sep='\n')


def of_network(kind, **choices):
    """The choices of a network, with what is usual in place of None; other kinds have none."""
    given = {name: value for name, value in choices.items() if value is not None}
    if given and kind != 'network':
        raise ValueError(f'--{next(iter(given))} is of --kind network, not of {kind}')
    return USUAL | given


def check_data(sources):
    """Raise ValueError unless the files of all splits of sources are there."""
    for source in sources:
        for split in SPLITS:
            path = path_of(source, split)
            check_is_file(path)
            if not os.path.exists(path):
                raise ValueError(f'there is no file {path}')


def model_of(kind, model_name, models_dir):
    """Which model a detector of this kind reads texts with, or was made from."""
    if kind == 'words':
        return {'model': None, 'fingerprint': None}
    return {
        'model': model_name,
        'fingerprint': fingerprint(find_model(model_name, models_dir)),
    }


def train_words(pairs):
    with show_progress(total=len(words_detector.STRENGTHS), desc='words', unit='fit') as shown:
        return words_detector.fit(
            *labelled(pairs['train']), *labelled(pairs['valid']), progress=shown.update
        )


def train_scores(pairs, model_name, models_dir):
    train, valid = labelled(pairs['train']), labelled(pairs['valid'])
    scorer = start_scorer(model_name, models_dir)
    total = len(train[0]) + len(valid[0])
    with show_progress(total=total, desc='scoring', unit='text') as shown:
        return scores_detector.fit(scorer, *train, *valid, progress=shown.update)


def train_network(pairs, model_name, models_dir, choices, seed):
    files = ModelFiles(model_name, models_dir, with_end=True)
    texts, labels = labelled(pairs['train'])
    plan = TrainingPlan.classifying(len(texts), files.hparams.n_ctx, seed=seed, **choices)
    classifier = start_classifier(files, plan)
    detector = NetworkDetector(classifier, files.hparams, files.encoder, files.folder)
    rows = [np.array(row, np.int32) for row in detector.rows(texts)]
    valid_texts, valid_labels = labelled(pairs['valid'])

    def accuracy():
        return float(((detector.scores(valid_texts) > 0) == valid_labels).mean())

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stop = stack.enter_context(deferred_interrupts())
        shown = stack.enter_context(show_progress(total=plan.steps, desc='network', unit='step'))
        best = os.path.join(folder, 'best')
        course = classifier.train(rows, labels, choices['epochs'], accuracy, best, shown, stop)
    return detector, choices | {'course': course}


def start_classifier(files, plan):
    """Load TensorFlow and a model with a head, to be trained, quietly."""

    def load():
        from detection.network import log_odds
        from fast import tune_process
        from training.classifier import Classifier

        tune_process(large_products=True)
        start = weights(files.folder)
        return Classifier(files.hparams, plan, log_odds, start, files.remedy)

    return started(load)


if __name__ == '__main__':
    command_line.run(train_detector)
