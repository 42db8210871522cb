"""Documents to files of tokens, for training and for validation. No TensorFlow."""

import contextlib
import hashlib
import itertools
import json
import os

import numpy as np

from encoder import END_OF_TEXT
from loading.model_files import vocabulary_sha256
from support.checks import check_whole, is_number
from support.documents import (
    STANDARD_INPUT,
    Part,
    documents_in,
    find_files,
    note_ends,
    pieces,
    size_of,
)
from support.files import building, open_named
from support.progress import show_progress

DESCRIPTION = 'corpus.json'
SPLITS = ('train', 'validation')
HELD_OUT = 0.05  # the fraction of the documents, or of a single one, that is held out
# So many characters are encoded at a time: enough for many cores, few enough for memory.
BATCH_CHARACTERS = 2**22
CUT_CHARACTERS = 2**20  # a cut may move so far to where a line ends


class Sources:
    """Text sources by their names, and their files, which are looked up once: now.

    names: list of paths, folders, glob patterns and '-' for standard input, as for `find_files`.
    separator: documents.Separator of documents, None for none.
    Raises ValueError for a source without a file.
    """

    def __init__(self, names, separator=None):
        self.names = list(map(os.fspath, names))
        self.files = find_files(self.names)
        self.separator = separator

    def documents(self):
        """Read them: an iterator of documents, as from `read_documents`."""
        return documents_in(self.files, self.separator)


def encode_with_progress(
    sources, encoder, folder, validation, seed, validation_sources=None, desc=None
):
    """`encode_corpus`, with a progress bar of this description and a note if one is due."""
    files = [*sources.files, *(validation_sources.files if validation_sources else [])]
    with show_progress(desc=desc, total=size_of(files), unit='B', unit_scale=True) as shown:
        written = encode_corpus(
            sources, encoder, folder, validation, seed, shown.update, validation_sources
        )
    note_ends(written['spelled_ends'])
    return written


def encode_corpus(
    sources,
    encoder,
    folder,
    validation=HELD_OUT,
    seed=0,
    progress=None,
    validation_sources=None,
):
    """Write the documents of sources as tokens: train.npy, validation.npy and corpus.json.

    Each document is followed by the id of <|endoftext|>; that name in a text is ordinary text, and
    corpus.json counts it as "spelled_ends".

    sources: Sources.
    encoder: Encoder; its vocabulary must have <|endoftext|>.
    folder: where to write; made if it is not there.
    validation: about this fraction of the documents is held out, at least one of two or more, and
      at least one is not. Of a single document it is the end, a fraction of the text, and each
      part then counts as a document. With 0 there is no validation.npy.
    seed: a document is held out or not by this and its number, whatever the others are.
    progress: called as the work goes on with the number of bytes of text that are newly done.
    validation_sources: Sources that are held out, and nothing of `sources`; `validation` then has
      no meaning.
    Returns what corpus.json holds, a dict: documents, tokens and bytes of text of train and of
    validation, "split" ("document", "tail" of a single one, "sources" or "none"), and what it was
    made from. Memory is bounded: a batch, and of .jsonl files, pipes and separated texts two
      documents; a file that is one document is read piece by piece, three times if it is the only
      one.
    Raises ValueError for input that cannot be used and OSError from the disk; then, and when
    interrupted, nothing stays in the folder.
    """
    check_whole('seed', seed, least=0, below=2**63)
    if not is_number(validation) or not 0 <= validation < 1:
        raise ValueError(f'validation must be at least 0 and below 1, not {validation!r}')
    if encoder.end_of_text is None:
        raise ValueError('the vocabulary has no <|endoftext|> to put after each document')
    if validation_sources is not None:
        check_disjoint(sources, validation_sources)
    elif validation:
        check_named_once(sources)
    documents = sources.documents()
    refuse_to_replace(folder)
    os.makedirs(folder, exist_ok=True)
    with building(folder, last=DESCRIPTION) as unfinished:
        if validation_sources is None:
            split, parts = split_documents(documents, validation, seed)
        else:
            split, parts = 'sources', label(documents, validation_sources.documents())
        description = {
            'split': split,
            **write_tokens(parts, encoder, unfinished, progress),
            'sources': sources.names,
            'validation_sources': validation_sources and validation_sources.names,
            'validation_fraction': None if split == 'sources' else validation,
            'separator': sources.separator and sources.separator.text,
            'seed': seed,
            'n_vocab': encoder.n_vocab,
            'vocabulary_sha256': vocabulary_sha256(encoder),
        }
        with open_named(os.path.join(unfinished, DESCRIPTION)) as file:
            json.dump(description, file, indent=2)  # ASCII, for file names that are not UTF-8
            file.write('\n')
        refuse_to_replace(folder)  # another process may have been faster
    return description


def check_disjoint(sources, validation_sources):
    """Raise ValueError for a file that is to be both learned and held out."""
    held_out = set(map(identity, validation_sources.files))
    for path in sources.files:
        if identity(path) in held_out:
            raise ValueError(f'{path} is in the sources and in the validation sources')


def check_named_once(sources):
    """Raise ValueError for a file that could be both learned and held out, being there twice."""
    seen = set()
    for path in sources.files:
        if identity(path) in seen:
            raise ValueError(
                f'{path} is named twice and could be both learned and held out: name it once, or '
                'hold out other text (--validation_data) or nothing (--validation 0)'
            )
        seen.add(identity(path))


def identity(path):
    """What a file has in common with its other names and links."""
    if path == STANDARD_INPUT:
        return path
    status = os.stat(path)
    return status.st_dev, status.st_ino


def refuse_to_replace(folder):
    """Raise ValueError if a folder holds a corpus, or files with such names."""
    for name in corpus_files():
        if os.path.lexists(os.path.join(folder, name)):
            raise ValueError(f'{folder} holds {name} already: choose another folder, or remove it')


def corpus_files():
    return [*(f'{split}.npy' for split in SPLITS), DESCRIPTION]


def label(train, validation):
    """Yield (split, document) for documents that are split already."""
    for split, documents in zip(SPLITS, (train, validation), strict=True):
        for document in documents:
            yield split, document


def split_documents(documents, fraction, seed):
    """Return the way in which documents are split, and an iterator of (split, document)."""
    if fraction == 0:
        return 'none', label(documents, [])
    start = list(itertools.islice(documents, 2))
    if len(start) == 1:
        head, tail = cut(*start, fraction)
        return 'tail', label([head], [tail])
    # Once it is through, the iterator lets go of these two; the list would not.
    documents = enumerate(itertools.chain(iter(start), documents))
    return 'document', ((SPLITS[is_held_out(n, fraction, seed)], text) for n, text in documents)


def is_held_out(number, fraction, seed):
    """Whether a document is for validation; number counts from 0.

    Of the first two documents one is held out, so that there are some on each side.
    """
    if number < 2:
        return (uniform(seed, 0) < 0.5) == (number == 0)
    return uniform(seed, number) < fraction


def uniform(seed, number):
    """A number in [0, 1) that looks random and is the same for ever."""
    digest = hashlib.sha256(f'{seed} {number}'.encode()).digest()
    return int.from_bytes(digest[:6], 'little') / 2**48


def cut(document, fraction):
    """Cut off about a fraction of a text, after a line, sentence or word if one ends near there.

    Returns both parts, neither empty. Raises ValueError for a text of one character.
    """
    length = sum(map(len, pieces(document)))
    if length < 2:
        raise ValueError(
            'the only document has 1 character: no part of it can be held out; --validation 0 '
            'holds out nothing'
        )
    size = min(max(round(length * fraction), 1), length - 1)
    place = length - size
    reach = min(min(size, place) // 2, CUT_CHARACTERS)
    start = place - reach
    near = ''.join(Part(document, start, place + reach))
    for end in ('\n', '. ', ' '):
        found = near.rfind(end, 0, reach), near.find(end, reach)
        places = [start + found_at + len(end) for found_at in found if found_at >= 0]
        if places:
            place = min(places, key=lambda p: abs(p - place))
            break
    return Part(document, 0, place), Part(document, place, length)


def write_tokens(parts, encoder, folder, progress):
    """Write each split's documents to a file of tokens; return what was written.

    parts: iterator of (split, document).
    """
    spelled_ends = 0
    dtype = np.dtype('<u2' if encoder.n_vocab <= 2**16 else '<u4')
    with contextlib.ExitStack() as stack:
        files = {}
        for batch in batches(parts):
            rows = encoder.encode_batch([piece for _, piece, _ in batch])
            for (split, piece, ends), ids in zip(batch, rows, strict=True):
                if split not in files:
                    path = os.path.join(folder, f'{split}.npy')
                    files[split] = TokenFile(path, dtype)
                    stack.callback(files[split].close)
                files[split].write(piece, ids + [encoder.end_of_text] if ends else ids, ends)
            spelled_ends += sum(piece.count(END_OF_TEXT) for _, piece, _ in batch)
            if progress:
                progress(sum(n_bytes(piece) for _, piece, _ in batch))
        for file in files.values():
            file.finish()
    counts = {split: files[split].counts for split in SPLITS if split in files}
    return counts | {'spelled_ends': spelled_ends}


def batches(parts):
    """Yield lists of (split, piece of a document, whether it ends there), to encode together."""
    batch, size = [], 0
    for split, document in parts:
        for piece, ends in with_ends(pieces(document)):
            batch.append((split, piece, ends))
            size += len(piece)
            if size >= BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def with_ends(items):
    """Yield (item, whether it is the last) for one item or more."""
    items = iter(items)
    held = next(items)
    for item in items:
        yield held, False
        held = item
    yield held, True


def n_bytes(text):
    return len(text) if text.isascii() else len(text.encode('utf-8'))


class TokenFile:
    """Writes a .npy file piece by piece; the header gets the number of tokens at the end."""

    def __init__(self, path, dtype):
        self.dtype = dtype
        self.counts = {'documents': 0, 'tokens': 0, 'bytes': 0}
        self.file = open_named(path, 'wb')
        self._write_header()
        self.start = self.file.tell()

    def _write_header(self):
        shape = (self.counts['tokens'],)
        header = {'descr': self.dtype.str, 'fortran_order': False, 'shape': shape}
        np.lib.format.write_array_header_1_0(self.file, header)

    def write(self, text, ids, ends):
        """Append the ids of a piece of text, which may be the end of a document."""
        self.file.write(np.array(ids, self.dtype).data)
        self.counts['documents'] += ends
        self.counts['tokens'] += len(ids)
        self.counts['bytes'] += n_bytes(text)

    def finish(self):
        self.file.seek(0)
        self._write_header()
        assert self.file.tell() == self.start  # NumPy leaves room for the shape to grow

    def close(self):
        self.file.close()
