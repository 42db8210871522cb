"""How well judges tell human from machine texts: by source, by length, cut alike. No TensorFlow."""

import os
import random
import typing

import numpy as np

from detection import metrics
from detection.lengths import Measured, pairs
from detection.records import path_of, read_records

ALL = 'all'  # the length of texts that are cut to that of their partner in the other class
RATES = {'tpr_1': 0.01, 'tpr_0.1': 0.001}  # of false positives; 1 and 0.1 %
FIGURES = ('auroc', 'accuracy', *RATES)


class Text(typing.NamedTuple):
    """measured: Measured.  document: what it was cut from."""

    measured: Measured
    document: typing.Any


class Cut(typing.NamedTuple):
    """Texts of one class as they are judged: str, and of which document each is."""

    texts: list
    documents: list


def read_texts(source, split, encoder, most=None, seed=0):
    """The texts of a file that have tokens, a list of Text; at most so many, drawn at random."""
    records = [record for record in read_records(path_of(source, split)) if record.text.strip()]
    if most is not None and most < len(records):
        records = [
            records[n] for n in sorted(random.Random(seed).sample(range(len(records)), most))
        ]
    if not records:
        raise ValueError(f'there is no text in {path_of(source, split)}')
    return [Text(Measured(record.text, encoder), record.document) for record in records]


def cut(human, machine, length, seed=0):
    """Both classes cut to equal lengths, two Cuts.

    length: tokens, and shorter texts are left out; ALL: in pairs, see lengths.pairs.
    """
    if length == ALL:
        sizes = [[len(text.measured) for text in side] for side in (human, machine)]
        paired = pairs(*sizes, seed)
        sides = [[(human[h], n) for h, _, n in paired], [(machine[m], n) for _, m, n in paired]]
    else:
        sides = [
            [(text, length) for text in side if len(text.measured) >= length]
            for side in (human, machine)
        ]
    return [
        Cut([text.measured.first(n) for text, n in side], [text.document for text, _ in side])
        for side in sides
    ]


class Trial:
    """What a panel of judges makes of one source of machine texts beside human ones.

    valid, test: {length: (human scores [n, judges], machine scores [m, judges])}; a length that no
    text of a class has is left out.  documents: {length: (of the human texts, of the others)}.
    """

    def __init__(self, panel, human, machine, encoder, lengths, most=None, progress=lambda n: None):
        self.source = os.path.basename(machine)
        self.valid, self.test, self.documents = {}, {}, {}
        for split, found in (('valid', self.valid), ('test', self.test)):
            sides = [read_texts(source, split, encoder, most) for source in (human, machine)]
            for length in lengths:
                both = cut(*sides, length)
                out = sum(map(len, sides)) - sum(len(side.texts) for side in both)
                progress(out * panel.passes)
                if all(side.texts for side in both):
                    found[length] = [panel.scores(side.texts, progress) for side in both]
                    self.documents[split, length] = [side.documents for side in both]


def passes(panel, human, machines, lengths, most=None):
    """How many times texts are read in all, those included that turn out to be too short."""
    count = 0
    for source in [human, *machines]:
        for split in ('valid', 'test'):
            records = sum(1 for _ in read_records(path_of(source, split)))
            times = len(machines) if source == human else 1
            count += times * (records if most is None else min(records, most))
    return count * len(lengths) * panel.passes


def lengths_named(text):
    """The lengths in a list with commas between: whole numbers in tokens, or ALL, which is last."""
    names = [name.strip() for name in str(text).split(',') if name.strip()]
    if not names or not all(name == ALL or name.isdecimal() and int(name) for name in names):
        raise ValueError(f'lengths must be numbers of tokens, or {ALL}, not {text!r}')
    numbers = sorted({int(name) for name in names if name != ALL})
    return numbers + [ALL] * (ALL in names)


def evaluate(panel, trials):
    """Yield what is measured, a dict for each source, length and judge.

    The threshold of the accuracy is the best one of validation texts of the same length: of the
    sources that a judge was trained on, where they are among the trials, else of the tested one.
    """
    for trial in trials:
        for length, both in trial.test.items():
            for column, judge in enumerate(panel.judges):
                scores = [side[:, column] for side in both]
                threshold = threshold_of(judge, column, trial, trials, length)
                documents = trial.documents['test', length]
                cell = {
                    'judge': judge.name,
                    'kind': judge.kind,
                    'trained_on': list(judge.trained_on),
                    'source': trial.source,
                    'length': length,
                    'n_human': len(scores[0]),
                    'n_human_documents': len(set(documents[0])),
                    'n_machine': len(scores[1]),
                }
                yield cell | measured(scores, threshold, documents)


def threshold_of(judge, column, trial, trials, length):
    """A threshold that is chosen without the texts it is tested on; None where there are none."""
    own = [other for other in trials if other.source in judge.trained_on] or [trial]
    sides = [other.valid[length] for other in own if length in other.valid]
    if not sides:
        return None
    human, machine = (np.concatenate([side[kind][:, column] for side in sides]) for kind in (0, 1))
    return metrics.best_threshold(human, machine)


def measured(scores, threshold, documents):
    """The FIGURES of the scores of two classes, with their 95 % intervals.

    True positives are None where the human texts are too few for their rate: fewer than 100 for
    1 %. The accuracy is None without a threshold.
    """
    rates = {name: rate for name, rate in RATES.items() if len(scores[0]) * rate >= 1}

    def figures(human, machine):
        found = [metrics.auroc(human, machine)]
        if threshold is not None:
            found.append(metrics.accuracy(human, machine, threshold))
        for rate in rates.values():
            found.append(metrics.true_positives(machine, metrics.threshold_at(human, rate)))
        return found

    names = ['auroc', *['accuracy'] * (threshold is not None), *rates]
    ranges = metrics.intervals(figures, *scores, documents).tolist()
    finite = threshold is not None and np.isfinite(threshold)
    content = {'threshold': threshold if finite else None}
    for name in FIGURES:
        content[name] = content[f'{name}_interval'] = None
    for name, figure, interval in zip(names, figures(*scores), ranges, strict=True):
        content[name] = figure
        content[f'{name}_interval'] = None if np.isnan(interval).any() else interval
    return content
