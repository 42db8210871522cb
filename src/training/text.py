"""The text of a training run, as it is named and as tokens. No TensorFlow."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import typing

import numpy as np

from loading.model_files import vocabulary_sha256
from support.checks import check_number, check_whole
from support.documents import Separator
from support.files import UNFINISHED
from training import corpus
from training.windows import open_tokens

CORPUS = 'corpus'  # in the folder of a run: its text as tokens


class Tokens(typing.NamedTuple):
    """Those to train on, those held out, and how many bytes of text one of these has.

    The last two are None where nothing is held out.
    """

    train: np.ndarray
    held_out: np.ndarray | None
    bytes_per_token: float | None


class Text:
    """What a run reads.

    data: list of text sources, or of one folder that encode_corpus.py has made.
    validation, seed: how much of text sources is held out, and which, as for `encode_corpus`.
    validation_data: a source that is held out instead; None for none.
    separator: what stands between documents of text sources, a str; None for nothing.
    `encoded`: the folder from encode_corpus.py, or None for text sources.
    Sources are looked up when they are first needed: a run that goes on does not need them.
    Raises ValueError if there is no data, or for a validation that is no fraction.
    """

    def __init__(
        self, data, validation=corpus.HELD_OUT, validation_data=None, seed=0, separator=None
    ):
        check_number('validation', validation, least=0, below=1)
        if not data:
            raise ValueError('there is no text to train on: name files or folders after the model')
        self.data, self.validation_data = list(data), validation_data
        self.validation, self.seed = validation, seed
        self.separator = None if separator is None else Separator(separator)
        self.encoded = data[0] if len(data) == 1 and is_corpus(data[0]) else None
        self._sources = None

    def look_up(self):
        """The Sources to train on, and those held out or None; only the first call looks.

        Raises ValueError for a source that is not there.
        """
        if self._sources is None:
            names = [self.data, None if self.validation_data is None else [self.validation_data]]
            self._sources = [n and corpus.Sources(n, self.separator) for n in names]
        return self._sources

    def check(self):
        """Raise ValueError if the text is not there, or cannot be split as it is asked for."""
        if self.encoded is None:
            self.look_up()
            return
        for flag in ('validation_data', 'separator'):
            if getattr(self, flag) is not None:
                raise ValueError(f'{self.encoded} was split as it was encoded: leave --{flag} out')

    def settings(self):
        """What a run remembers of its text, a dict; `text` is the fingerprint of encoded text."""
        return {
            'data': self.data,
            'text': self.encoded and fingerprint(self.encoded),
            'validation': self.validation,
            'validation_data': self.validation_data,
            'separator': self.separator and self.separator.text,
        }

    def tokens(self, origin):
        """The Tokens of a run; text sources are encoded into its folder when it begins.

        Raises ValueError for text that cannot be used and tokens of another vocabulary.
        """
        folder = self.encoded
        if folder is None:
            folder = os.path.join(origin.folder, CORPUS)
            if not origin.step:
                remove_corpus(folder)  # of a start that failed: the text may be another one now
            if not is_corpus(folder):
                self._encode(folder, origin.encoder)
        return open_corpus(folder, origin.encoder)

    def _encode(self, folder, encoder):
        sources, held_out = self.look_up()
        corpus.encode_with_progress(
            sources, encoder, folder, self.validation, self.seed, held_out, desc='encoding'
        )


def is_corpus(folder):
    """Whether a folder is one that encode_corpus has made."""
    return os.path.isfile(os.path.join(folder, corpus.DESCRIPTION))


def fingerprint(folder):
    """A digest of a folder's corpus.json, which counts its tokens."""
    with open(os.path.join(folder, corpus.DESCRIPTION), 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def open_corpus(folder, encoder):
    """The Tokens in a folder. Raises ValueError if they are damaged or of another vocabulary."""
    held_out_bytes = held_out_bytes_of(folder, encoder)

    def opened(split):
        return open_tokens(os.path.join(folder, f'{split}.npy'), encoder.n_vocab)

    if held_out_bytes is None:
        return Tokens(opened('train'), None, None)
    train, held_out = map(opened, corpus.SPLITS)
    return Tokens(train, held_out, held_out_bytes / len(held_out))


def remove_corpus(folder):
    """Remove a corpus, or what is left of one that was being written."""
    for name in corpus.corpus_files():
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, name))
    for path in glob.glob(os.path.join(glob.escape(folder), f'{UNFINISHED}*')):
        shutil.rmtree(path)


def held_out_bytes_of(folder, encoder):
    """How many bytes of text are held out, as corpus.json says; None where nothing is.

    Raises ValueError if it is damaged, or its tokens are of another vocabulary.
    """
    path = os.path.join(folder, corpus.DESCRIPTION)
    try:
        with open(path, encoding='utf-8') as file:
            description = json.load(file)
        same = description['vocabulary_sha256'] == vocabulary_sha256(encoder)
        held_out = description['validation']['bytes'] if 'validation' in description else None
        if held_out is not None:
            check_whole('bytes', held_out, least=1)
    except KeyError as error:
        raise ValueError(f'cannot read {path}: it has no {error}') from error
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise ValueError(f'cannot read {path}: {error}') from error
    if not same:
        raise ValueError(f"the tokens in {folder} are not of this model's vocabulary")
    return held_out
