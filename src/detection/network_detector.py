"""The detector that is a fine-tuned model with a classifying head. It loads TensorFlow if opened.

A text is read after <|endoftext|>, as it was sampled.
"""

import json
import os
import shutil

import numpy as np

from detection.detector import Detector
from encoder import get_encoder
from hparams import read_hparams
from loading.startup import started
from support.files import open_named

WEIGHTS = 'network'
VOCABULARY = ('encoder.json', 'vocab.bpe')
HPARAMS = 'hparams.json'
SLOTS_AT_ONCE = 4096


class NetworkDetector(Detector):
    """Log-odds of what a fine-tuned model has read, as far as its context reaches.

    network: a network.Network, or a training.classifier.Classifier.
    hparams: HParams.  encoder: its tokenizer.  vocabulary: the folder that this is read from.
    """

    kind = 'network'

    def __init__(self, network, hparams, encoder, vocabulary):
        self.network, self.hparams = network, hparams
        self.encoder, self.vocabulary = encoder, vocabulary
        self.most_tokens = hparams.n_ctx - 1

    def rows(self, texts):
        """What can be read of texts: lists of tokens, the first of which is <|endoftext|>."""
        return [[self.encoder.end_of_text, *tokens] for tokens in self.encoder.encode_batch(texts)]

    def scores(self, texts, progress=None):
        rows = [row[: self.hparams.n_ctx] for row in self.rows(texts)]
        scores = np.full(len(rows), np.nan)
        for numbers in batches([len(row) for row in rows]):
            lengths = np.array([len(rows[number]) for number in numbers], np.int32)
            tokens = np.zeros([len(numbers), lengths[0]], np.int32)
            for place, number in zip(tokens, numbers, strict=True):
                place[: len(rows[number])] = rows[number]
            scores[numbers] = self.network.log_odds(tokens, lengths)
            if progress:
                progress(len(numbers))
        scores[[len(row) < 2 for row in rows]] = np.nan
        return scores

    def save(self, folder):
        with open_named(os.path.join(folder, HPARAMS)) as file:
            json.dump(self.hparams.values(), file)
        for name in VOCABULARY:
            shutil.copyfile(os.path.join(self.vocabulary, name), os.path.join(folder, name))
        self.network.save_weights(os.path.join(folder, WEIGHTS))

    @classmethod
    def load(cls, folder, info, models_dir, scorer):
        hparams = read_hparams(os.path.join(folder, HPARAMS))
        parent, name = os.path.split(os.path.abspath(folder))
        encoder = get_encoder(name, parent)

        def load():
            from detection.network import Network

            return Network(hparams, os.path.join(folder, WEIGHTS))

        return cls(started(load), hparams, encoder, folder)

    def close(self):
        self.network.close()


def batches(lengths):
    """Yield the numbers of rows that are read together, the longest first: int arrays."""
    order = np.argsort(lengths, kind='stable')[::-1]
    while len(order):
        size = max(SLOTS_AT_ONCE // lengths[order[0]], 1)
        yield order[:size]
        order = order[size:]
