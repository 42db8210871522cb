"""Texts as 8-grams: eight tokens in a row of the normalised text (Radford et al. 2019, section 4).

Shapes: N 8-grams, T tokens.
"""

import itertools
import os
import re
import typing

import numpy as np

from encoder import END_OF_TEXT
from support.documents import documents_of, pieces, texts_of_span

LENGTH = 8  # tokens of an n-gram
WORD = re.compile(r'[^\W_]+')  # letters and digits of any script
TO_SPACES = {code: ' ' for code in range(128) if not chr(code).isalnum()}
BATCH_CHARACTERS = 2**21  # so many are encoded at a time: enough for some cores, few for memory


class Batch(typing.NamedTuple):
    """8-grams of a file, in the order of the text.

    windows: [N, 8], their tokens, uint16 or uint32.
    owners: [N], the number of the document that each is from; the first of the file is 0.
    documents: how many documents of the file have begun so far.
    bytes, spelled_ends: of the text: its length in UTF-8, and how often it has <|endoftext|>.
    """

    windows: np.ndarray
    owners: np.ndarray
    documents: int
    bytes: int
    spelled_ends: int


def read(path, separator, encoder, progress, span=None):
    """Yield the 8-grams of a file as Batches. None of them crosses the end of a document.

    span: (start, stop) of a .jsonl file, in bytes: only lines that begin there; None is all of it.
    separator: documents.Separator, which splits a text into documents; None does not.
    progress: called with the number of bytes that are newly done; in all it is the file's size.
    Raises ValueError for what is no text.
    """
    done = 0
    documents = texts_of_span(path, *span, separator) if span else documents_of(path, separator)
    for batch in ngrams(documents, encoder):
        yield batch
        progress(batch.bytes)
        done += batch.bytes
    if os.path.isfile(path) and not span:  # in a .jsonl file not all is text
        progress(max(os.path.getsize(path) - done, 0))


def ngrams(documents, encoder):
    """Yield the 8-grams of documents, as `documents_of` gives them, as Batches."""
    dtype = np.uint16 if encoder.n_vocab <= 2**16 else np.uint32
    tokens, owners = np.zeros(0, dtype), np.zeros(0, np.int64)
    for numbers, texts, *counts in batches(documents):
        rows = encoder.encode_batch(texts)
        tokens, owners = tokens[1 - LENGTH :], owners[1 - LENGTH :]  # the next 8-grams begin here
        tokens = np.concatenate([tokens, np.fromiter(itertools.chain(*rows), dtype)])
        lengths = np.fromiter(map(len, rows), np.int64)
        owners = np.concatenate([owners, np.repeat(np.array(numbers, np.int64), lengths)])
        yield Batch(*windows_of(tokens, owners), *counts)


def windows_of(tokens, owners):
    """The windows [N, 8] over tokens [T] that are of one document each, and their owners [N]."""
    if len(tokens) < LENGTH:
        return np.zeros([0, LENGTH], tokens.dtype), owners[:0]
    windows = np.lib.stride_tricks.sliding_window_view(tokens, LENGTH)
    first, last = owners[: 1 - LENGTH], owners[LENGTH - 1 :]
    return windows[first == last], last[first == last]


def batches(documents):
    """Yield pieces of documents to encode together, and Batch's counts of them.

    As (the pieces' documents [P], the normalised pieces [P], documents, bytes, spelled_ends).
    """
    numbers, texts, documents_begun, size, ends = [], [], 0, 0, 0
    for number, document in enumerate(documents):
        documents_begun += 1
        space = ''
        for piece in pieces(document):
            if words := normalised(piece):
                numbers.append(number)
                texts.append(space + words)
                space = ' '
            size += len(piece) if piece.isascii() else len(piece.encode('utf-8'))
            ends += piece.count(END_OF_TEXT)
            if size >= BATCH_CHARACTERS:
                yield numbers, texts, documents_begun, size, ends
                numbers, texts, size, ends = [], [], 0, 0
    if documents_begun:
        yield numbers, texts, documents_begun, size, ends


def normalised(text):
    """The lower-case words of letters and digits in a text, with a space between."""
    text = text.lower()
    return ' '.join(text.translate(TO_SPACES).split() if text.isascii() else WORD.findall(text))
