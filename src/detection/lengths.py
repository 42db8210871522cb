"""Human and machine texts cut to equal lengths, so that length tells nothing. No TensorFlow.

Lengths are in tokens of a model's vocabulary. White space around a text is no part of it: where a
document was cut to windows, most of them begin with a space, and the samples of a model do not.
"""

import random

import numpy as np


class Measured:
    """A text, and where each of its tokens ends."""

    def __init__(self, text, encoder):
        self.text = text.strip()
        sizes = [len(encoder.decode_bytes([token])) for token in encoder.encode(self.text)]
        self.ends = np.cumsum(np.array(sizes, np.uint32), dtype=np.uint32)  # in bytes, ascending

    def __len__(self):
        return len(self.ends)

    def first(self, n):
        """The text of the first n tokens; the rest of a character that the cut divides is left."""
        if n >= len(self):
            return self.text
        return self.text.encode('utf-8')[: self.ends[n - 1]].decode('utf-8', errors='ignore')


def measured(texts, encoder):
    return [Measured(text, encoder) for text in texts]


def cut_to(texts, encoder, n):
    """The first n tokens of each text, a list of str; None in the place of a shorter one."""
    return [text.first(n) if len(text) >= n else None for text in measured(texts, encoder)]


def pairs(human, machine, seed=0):
    """Pair texts of the two classes, each once: [(number of the human one, of the machine, n)].

    human, machine: the lengths of texts, in tokens.
    n: tokens to cut both to: one fewer than the shorter has, so that neither ends as a text ends.
    Of the larger class as many are drawn as the smaller has. The longest of each are paired, which
    keeps the most text. Pairs with less than one token are left out.
    """
    size = min(len(human), len(machine))
    chosen = [drawn(lengths, size, seed) for lengths in (human, machine)]
    both = [(h, m, min(human[h], machine[m]) - 1) for h, m in zip(*chosen, strict=True)]
    return [pair for pair in both if pair[2] > 0]


def drawn(lengths, size, seed):
    """The numbers of so many texts, drawn at random, shortest first."""
    numbers = random.Random(seed).sample(range(len(lengths)), size)
    return sorted(numbers, key=lambda number: (lengths[number], number))


def cut_alike(human, machine, encoder, seed=0):
    """Texts of two classes in pairs that have the same number of tokens, two lists of str.

    See `pairs`: as many of each class, the larger of which loses some at random.
    """
    human, machine = measured(human, encoder), measured(machine, encoder)
    paired = pairs([len(text) for text in human], [len(text) for text in machine], seed)
    cut = [(human[h].first(n), machine[m].first(n)) for h, m, n in paired]
    return [text for text, _ in cut], [text for _, text in cut]
