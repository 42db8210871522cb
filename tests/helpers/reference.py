"""Checkpoints of 2019, with what the 2019 code computed from them."""

import json

import numpy as np

from helpers.paths import REFERENCE


class Reference:
    """A checkpoint of 2019 and the values that the 2019 code computed from it."""

    def __init__(self, name):
        self.folder = REFERENCE / name
        self.golden = dict(np.load(self.folder / 'golden.npz'))
        self.sizes = json.loads((self.folder / 'hparams.json').read_text(encoding='utf-8'))
