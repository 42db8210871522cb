"""The texts that a detector is trained and tested on, human beside machine. No TensorFlow."""

import itertools
import os
from typing import NamedTuple

import numpy as np

from detection.lengths import cut_alike
from detection.records import path_of, read_records


class Pairs(NamedTuple):
    """Texts of a source of machine texts, and as many human ones beside them.

    source: its name, without the folder.  human, machine: lists of str.
    """

    source: str
    human: list
    machine: list


def read_pairs(human, machines, split, encoder=None, seed=0):
    """The Pairs of a split, a list: one for each source of machine texts.

    human, machines: FOLDER/SOURCE, the beginnings of the files' names; machines is a list.
    encoder: the tokens by which both texts of a pair are cut to the same length, or a detector
      could tell them by their lengths alone; None leaves texts as they are, as in 2019.
    seed: the human texts are dealt out to the sources in an order of its own. They are dealt out
      again where they are fewer (2019 mixed samplers likewise), and some stay out where they are
      more.
    Raises ValueError for a split without texts.
    """
    people = texts_in(path_of(human, split))
    order = np.random.RandomState(seed).permutation(len(people))
    dealt = itertools.cycle(people[place] for place in order)
    pairs = []
    for source in machines:
        texts = texts_in(path_of(source, split))
        beside = list(itertools.islice(dealt, len(texts)))
        if encoder is not None:
            beside, texts = cut_alike(beside, texts, encoder, seed)
            if not texts:
                raise ValueError(f'no texts of {human} and {source} have two tokens each ({split})')
        pairs.append(Pairs(os.path.basename(source), beside, texts))
    return pairs


def texts_in(path):
    """The texts of a file that are not empty; ValueError if there is none."""
    texts = [record.text for record in read_records(path) if record.text]
    if not texts:
        raise ValueError(f'there is no text in {path}')
    return texts


def labelled(pairs):
    """All texts of Pairs, and their labels: list of str, int array of 0 (human) and 1 (machine)."""
    texts, labels = [], []
    for _, human, machine in pairs:
        texts += [*human, *machine]
        labels += [0] * len(human) + [1] * len(machine)
    return texts, np.array(labels)


def people_in(pairs):
    """The human texts of Pairs, each once."""
    return list(dict.fromkeys(text for pair in pairs for text in pair.human))
