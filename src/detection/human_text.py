"""Human documents as records of an output dataset: dealt to splits, cut to a length. No TensorFlow.

All of a document is in one split: two windows of it would let a detector recognise what it learnt.
"""

import contextlib
import hashlib
import itertools
import json
import os
import typing

from detection.records import SPLITS, path_of
from support.documents import STANDARD_INPUT, documents_of, find_files, pieces
from support.files import replacing
from support.progress import show_progress

GOLDEN = (5**0.5 - 1) / 2  # of its multiples, those after the point are spread most evenly


class Document(typing.NamedTuple):
    """number: its place among all, from 0.  file: the name of the file that has it."""

    number: int
    file: str
    text: str


class Documents:
    """The documents of sources, read again each time; of two with the same text only the first.

    sources: paths, folders and patterns, as support.documents takes them, but not standard input.
    repeated: how many were left out so far as there was one like it.
    """

    def __init__(self, sources):
        self.files = find_files(sources)
        if STANDARD_INPUT in self.files:
            raise ValueError('the text is read more than once: name a file, not standard input')

    def __iter__(self):
        seen, number, self.repeated = set(), -1, 0
        for path in self.files:
            for document in documents_of(path):
                text = ''.join(pieces(document))
                if not text:
                    continue
                number += 1  # as train.py counts documents
                digest = hashlib.sha256(text.encode('utf-8')).digest()
                if digest in seen:
                    self.repeated += 1
                    continue
                seen.add(digest)
                yield Document(number, os.path.basename(path), text)


def deal(documents, sizes, held_out=None):
    """Yield (split, document): each document goes to one of SPLITS, in proportion to the sizes.

    Each split gets documents from the whole list, spread evenly.
    held_out: (number of a document) -> whether the model has not seen it. Then only such documents
        are for validation and test, and all others for training. None: it has seen none.
    """
    train, valid, test = sizes
    count = 0
    for document in documents:
        unseen = held_out is None or held_out(document.number)
        if not unseen:
            yield 'train', document
            continue
        place = (count + 1) * GOLDEN % 1 * (valid + test + (train if held_out is None else 0))
        count += 1
        yield ('test' if place < test else 'valid' if place < test + valid else 'train'), document


def windows(text, encoder, length, only_first=False):
    """Yield (piece of a text, its tokens, whether the text ends there), of so many tokens at most.

    A piece ends before a word that a space begins, where there is one, lest its tokens become
    others; the pieces together are the text. What is left at the end is a shorter piece.
    length: in tokens; None takes the text as a whole.
    """
    tokens = encoder.encode(text)
    parts = [encoder.decode_bytes([token]) for token in tokens]
    data, start, place = text.encode('utf-8'), 0, 0
    while start < len(tokens):
        stop = len(tokens) if length is None else end_of_window(parts, start, length)
        size = sum(map(len, parts[start:stop]))
        piece = data[place : place + size].decode('utf-8')
        yield piece, tokens[start:stop], stop == len(tokens)
        if only_first:
            return
        start, place = stop, place + size


def end_of_window(parts, start, length):
    """Where a window of up to `length` tokens ends.  parts: the bytes of each token of a text."""
    if start + length >= len(parts):
        return len(parts)
    ends = range(start + length, start, -1)
    words = (n for n in ends if parts[n][:1] == b' ' != parts[n] and parts[n - 1][-1:].strip())
    # Where nothing is a word: between two characters, and be it after more tokens.
    places = itertools.chain(ends, range(start + length, len(parts)))
    characters = (n for n in places if is_first(parts[n][0]))
    return next(words, None) or next(characters, len(parts))


def is_first(byte):
    """Whether a byte of UTF-8 begins a character."""
    return byte & 0xC0 != 0x80


class Records:
    """What each split is to hold.

    documents: Documents.  sizes: in which proportions they are dealt, for each of SPLITS.
    length, only_first: as in `windows`. If a document is cut to several windows, those shorter than
        half of the length, at its end, are left out.
    held_out: see `deal`.
    """

    def __init__(self, documents, encoder, sizes, length, only_first, held_out=None):
        self.documents, self.encoder, self.sizes = documents, encoder, sizes
        self.length, self.only_first, self.held_out = length, only_first, held_out

    def of(self, split, first_id):
        """Yield the records of a split, a dict each."""
        number = first_id
        for its_split, document in deal(self.documents, self.sizes, self.held_out):
            if its_split != split:
                continue
            for place, (text, tokens, ended) in enumerate(
                windows(document.text, self.encoder, self.length, self.only_first)
            ):
                if place and len(tokens) < self.length / 2:
                    continue
                yield {
                    'id': number,
                    'ended': ended,
                    'length': len(tokens),
                    'text': text,
                    'document': document.number,
                    'file': document.file,
                    'window': place,
                }
                number += 1


def write(source, records):
    """Write the files of a source; all of them appear when they are complete.

    source: FOLDER/SOURCE.
    Returns {split: (documents, records)}. Raises ValueError if one is there already, or if a split
    that is to have documents gets none.
    """
    splits = [s for s, size in zip(SPLITS, records.sizes, strict=True) if size]
    paths = {split: path_of(source, split) for split in splits}
    for path in paths.values():
        if os.path.lexists(path):
            raise ValueError(f'{path} is there already: remove it, or choose another --source')
    os.makedirs(os.path.dirname(source) or '.', exist_ok=True)
    counts, first_id = {}, 0
    with contextlib.ExitStack() as stack:
        for split, path in paths.items():
            file = stack.enter_context(replacing(path))
            counts[split] = write_split(file, records.of(split, first_id), split)
            if not counts[split][1]:
                raise ValueError(
                    f'no document is for {split}: there are too few for the proportions that '
                    '--train, --valid and --test have'
                )
            first_id += counts[split][1]
    return counts


def write_split(file, records, split):
    documents, count = set(), 0
    with show_progress(desc=f'{split}: records', unit='records') as bar:
        for record in records:
            count += 1
            json.dump(record, file, ensure_ascii=False)
            file.write('\n')
            documents.add(record['document'])
            bar.update()
    return len(documents), count
