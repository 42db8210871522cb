"""Text to files of tokens, and files of tokens to the windows that training reads. No TensorFlow.

A window of W tokens is read as a row of W + 1: its inputs are row[:-1], its targets row[1:].
B is the number of rows in a batch.
"""

import contextlib
import glob
import hashlib
import itertools
import json
import os
import sys
import tempfile

import numpy as np

from encoder import check_surrogates, chunks
from settings import check_whole, is_number

ENDINGS = ('.txt', '.jsonl')  # of the files that are looked for in a folder
STANDARD_INPUT = '-'
DESCRIPTION = 'corpus.json'
SPLITS = ('train', 'validation')
BATCH_CHARACTERS = 2**22  # encoded at a time: enough for many cores, little enough for memory
BLOCK = 2**22  # tokens that are checked at a time
WINDOWS, NOISE = range(2)  # what random numbers are for


# Documents


def read_documents(sources):
    """Return an iterator over the documents of sources, each a str that is not empty.

    sources: list of paths, folders, glob patterns and '-' for standard input; see `find_files`.
      A .jsonl file holds a document a line, in the field "text"; any other file is one document.
    Files are UTF-8. A byte-order mark is dropped and line ends stay as they are, \\r\\n included.
    At most one document is held at a time.
    Raises ValueError for a source that is not there, at once; while reading, for bytes that are not
    UTF-8, for a line of a .jsonl file that has no text, and if there was no document at all.
    """
    return documents_in(find_files(sources))


def find_files(sources):
    """List the files that sources stand for, '-' among them.

    A folder stands for the .txt and .jsonl files in it and in its folders, a pattern for all that
    it matches, both in the order of their paths. A file that is named twice is listed twice.
    Raises ValueError for a source without a file.
    """
    return [path for source in sources for path in files_of(os.fspath(source))]


def files_of(source):
    if os.path.isdir(source):
        found = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(source, onerror=raise_error)
            for name in names
            if name.lower().endswith(ENDINGS)
        ]
        if not found:
            raise ValueError(f'there is no {" or ".join(ENDINGS)} file in the folder {source}')
        return sorted(found, key=lambda path: path.split(os.sep))
    if source == STANDARD_INPUT or os.path.exists(source):
        return [source]
    if not glob.has_magic(source):
        raise ValueError(f'there is no file or folder {source}')
    matches = sorted(glob.glob(source, recursive=True), key=lambda path: path.split(os.sep))
    if not matches:
        raise ValueError(f'no file matches {source}')
    return find_files(matches)


def raise_error(error):
    raise error


def documents_in(files):
    some = False
    for path in files:
        for text in texts_of(path):
            if text:
                some = True
                yield text
            del text  # or it would stay while the next one is read
    if not some:
        raise ValueError(f'there is no text in {", ".join(files) or "nothing"}')


def texts_of(path):
    if path == STANDARD_INPUT:
        yield decode(sys.stdin.buffer.read(), 'standard input')
    elif path.lower().endswith('.jsonl'):
        yield from texts_of_lines(path)
    else:
        with open(path, 'rb') as file:
            yield decode(file.read(), path)


def texts_of_lines(path):
    """Yield the text of each line of a .jsonl file; blank lines are skipped."""
    offset = 0
    with open(path, 'rb') as file:
        for number, line in enumerate(file, start=1):
            if not line.isspace():
                yield text_of_record(decode(line, path, offset), f'{path} line {number}')
            offset += len(line)


def text_of_record(line, place):
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{place} is not JSON ({error})') from error
    text = record.get('text') if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'{place} holds no text in a field "text"')
    try:
        check_surrogates(text)  # JSON can spell what UTF-8 cannot
    except ValueError as error:
        raise ValueError(f'{place}: {error}') from None
    return text


def decode(data, path, offset=0):
    """Return bytes from a place in a file as str; ValueError with the place of the first bad byte.

    A byte-order mark at the start of the file is dropped.
    """
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: byte {offset + error.start} is not UTF-8') from None
    return text if offset else text.removeprefix('\ufeff')


# Encoding


def encode_corpus(
    sources,
    encoder,
    folder,
    validation=0.05,
    seed=0,
    progress=None,
    validation_sources=None,
):
    """Write the documents of sources as tokens: train.npy, validation.npy and corpus.json.

    Each document is followed by the id of <|endoftext|>; that name in a text is ordinary text.

    sources: as for `read_documents`.
    encoder: Encoder; its vocabulary must have <|endoftext|>.
    folder: where to write; made if it is not there.
    validation: about this fraction of the documents is held out, at least one of two or more, and
      at least one is not. Of a single document it is the end, a fraction of the text, and each
      part then counts as a document. With 0 there is no validation.npy.
    seed: a document is held out or not by this and its number, whatever the others are.
    progress: called as the work goes on with the number of bytes of text that are newly done.
    validation_sources: hold out these and nothing of `sources`; `validation` then has no meaning.
    Returns what corpus.json holds, a dict: documents, tokens and bytes of text of train and of
    validation, "split" ("document", "tail" of a single one, "sources" or "none"), and what it was
    made from. Memory is bounded: it takes two documents and a batch, not the corpus.
    Raises ValueError for input that cannot be used and OSError from the disk; then, and when
    interrupted, nothing stays in the folder.
    """
    check_whole('seed', seed, least=0, below=2**63)
    if not is_number(validation) or not 0 <= validation < 1:
        raise ValueError(f'validation must be at least 0 and below 1, not {validation!r}')
    if encoder.end_of_text is None:
        raise ValueError('the vocabulary has no <|endoftext|> to put behind each document')
    if validation_sources is not None:
        check_disjoint(sources, validation_sources)
    documents = read_documents(sources)
    refuse_to_replace(folder)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='unfinished-', dir=folder) as unfinished:
        if validation_sources is None:
            split, parts = split_documents(documents, validation, seed)
        else:
            split, parts = 'sources', label(documents, read_documents(validation_sources))
        description = {
            'split': split,
            **write_tokens(parts, encoder, unfinished, progress),
            'sources': list(map(os.fspath, sources)),
            'validation_sources': validation_sources and list(map(os.fspath, validation_sources)),
            'validation_fraction': None if split == 'sources' else validation,
            'seed': seed,
            'n_vocab': encoder.n_vocab,
            'vocabulary_sha256': vocabulary_sha256(encoder),
        }
        with open(os.path.join(unfinished, DESCRIPTION), 'w', encoding='utf-8') as file:
            json.dump(description, file, indent=2)  # ASCII, for file names that are not UTF-8
            file.write('\n')
        move_all(unfinished, folder)
    return description


def check_disjoint(sources, validation_sources):
    """Raise ValueError for a file that is to be both learned and held out."""
    held_out = set(map(os.path.realpath, find_files(validation_sources)))
    for path in find_files(sources):
        if os.path.realpath(path) in held_out:
            raise ValueError(f'{path} is in the sources and in the validation sources')


def refuse_to_replace(folder):
    """Raise ValueError if a folder holds a corpus, or files with such names."""
    for name in corpus_files():
        if os.path.lexists(os.path.join(folder, name)):
            raise ValueError(f'{folder} holds {name} already: choose another folder, or remove it')


def corpus_files():
    return [*(f'{split}.npy' for split in SPLITS), DESCRIPTION]


def move_all(source, folder):
    """Move the files of a corpus into a folder, corpus.json last, or none of them."""
    refuse_to_replace(folder)  # another process may have been quicker
    moved = []
    try:
        for name in corpus_files():
            if os.path.exists(os.path.join(source, name)):
                moved.append(os.path.join(folder, name))
                os.replace(os.path.join(source, name), moved[-1])
    except BaseException:
        for path in moved:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        raise


def vocabulary_sha256(encoder):
    """Return a hexadecimal digest of an encoder's tokens, ids and merges."""
    vocabulary = [sorted(encoder.encoder.items()), list(encoder.bpe_ranks)]
    return hashlib.sha256(json.dumps(vocabulary).encode('utf-8')).hexdigest()


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


def cut(text, fraction):
    """Cut off about a fraction of a text, behind a line, sentence or word if one ends near there.

    Returns both parts, neither empty. Raises ValueError for a text of one character.
    """
    if len(text) < 2:
        raise ValueError('the only document has 1 character: no part of it can be held out')
    size = min(max(round(len(text) * fraction), 1), len(text) - 1)
    place = len(text) - size
    reach = min(size, place) // 2
    for end in ('\n', '. ', ' '):
        found = text.rfind(end, place - reach, place), text.find(end, place, place + reach)
        places = [start + len(end) for start in found if start >= 0]
        if places:
            place = min(places, key=lambda p: abs(p - place))
            break
    return text[:place], text[place:]


def write_tokens(parts, encoder, folder, progress):
    """Write each split's documents to a file of tokens; return what was written.

    parts: iterator of (split, document).
    """
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
            if progress:
                progress(sum(n_bytes(piece) for _, piece, _ in batch))
        for file in files.values():
            file.finish()
    return {split: files[split].counts for split in SPLITS if split in files}


def batches(parts):
    """Yield lists of (split, piece of a document, whether it ends there), to encode together."""
    batch, size = [], 0
    for split, document in parts:
        rest = len(document)
        for piece in chunks(document):
            rest -= len(piece)
            batch.append((split, piece, rest == 0))
            size += len(piece)
            if size >= BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def n_bytes(text):
    return len(text) if text.isascii() else len(text.encode('utf-8'))


class TokenFile:
    """Writes a .npy file piece by piece; the header gets the number of tokens at the end."""

    def __init__(self, path, dtype):
        self.dtype = dtype
        self.counts = {'documents': 0, 'tokens': 0, 'bytes': 0}
        self.file = open(path, 'wb')
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
        self.file.flush()
        os.fsync(self.file.fileno())  # or a crash could leave the name without the tokens

    def close(self):
        self.file.close()


# Reading


def open_tokens(path, n_vocab=None):
    """Return the tokens of a .npy file, a memory map of uint16 or uint32 [tokens].

    n_vocab: if given, all tokens are read once to see that they are below it.
    Raises ValueError for a file that is not there or holds something else.
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode='r')
    except Exception as error:  # a damaged header, which NumPy parses as Python, can raise anything
        raise ValueError(f'cannot read tokens from {path}: {error}') from error
    if tokens.dtype not in (np.uint16, np.uint32) or tokens.ndim != 1:
        raise ValueError(
            f'{path} holds {tokens.dtype} of shape {list(tokens.shape)}, '
            'not one dimension of uint16 or uint32'
        )
    if not tokens.size:
        raise ValueError(f'{path} holds no tokens')
    if n_vocab is not None:
        check_tokens(tokens, n_vocab, path)
    return tokens


def check_tokens(tokens, n_vocab, path):
    """Raise ValueError for a token that a vocabulary of n_vocab does not have."""
    for start in range(0, tokens.size, BLOCK):
        largest = tokens[start : start + BLOCK].max()
        if largest >= n_vocab:
            raise ValueError(f'{path} holds token {largest}; the vocabulary has {n_vocab}')


class Windows:
    """An endless sequence of training windows, shuffled, and the same for the same seed.

    tokens: integers [N], as from `open_tokens`; they are not read until they are asked for.
    window: W, inputs in a window.
    per_epoch: windows in an epoch: N / W, rounded up.

    The tokens are taken as a ring: the last, an <|endoftext|>, is followed by the first. An epoch
    cuts the ring into windows one behind the other, from an offset of its own:

        tokens      0 1 2 3 4 5 6 7 8 9     N = 10, W = 4, offset 3
        inputs            a a a a b b b
                    b c c c c

    and visits each window once, in an order of its own. The last window of the cut (c) overlaps the
    first one unless W divides N, so each token is a target at least once in every epoch, and fewer
    than W are so twice. Offset and order depend on the seed and the epoch's number only.
    Raises ValueError if there are fewer than W + 1 tokens.
    """

    def __init__(self, tokens, window, seed=0):
        check_whole('window', window, least=1)
        check_whole('seed', seed, least=0, below=2**63)
        if len(tokens) < window + 1:
            raise ValueError(
                f'{len(tokens)} tokens are too few: a window of {window} takes {window + 1}'
            )
        self.tokens = np.asarray(tokens)  # a memory map is slow to slice
        self.window = window
        self.seed = seed
        self.per_epoch = -(-len(tokens) // window)
        self._epoch = self._starts_of_epoch = None

    def rows(self, first, n):
        """Return windows number first to first + n - 1 of the sequence, int32 [n, W + 1]."""
        width = self.window + 1
        rows = np.empty([n, width], np.int32)
        for row, start in zip(rows, self._starts(first, n), strict=True):
            before_end = self.tokens[start : start + width]
            row[: len(before_end)] = before_end
            row[len(before_end) :] = self.tokens[: width - len(before_end)]
        return rows

    def _starts(self, first, n):
        """Yield the places where windows start."""
        while n:
            epoch, number = divmod(first, self.per_epoch)
            starts = self._starts_in(epoch)[number : number + n]
            yield from starts.tolist()
            first += len(starts)
            n -= len(starts)

    def _starts_in(self, epoch):
        if epoch != self._epoch:
            random = random_state(self.seed, WINDOWS, epoch)
            offset = random.randint(len(self.tokens), dtype=np.int64)
            order = random.permutation(self.per_epoch).astype(np.int64)
            self._starts_of_epoch = (offset + order * self.window) % len(self.tokens)
            self._epoch = epoch
        return self._starts_of_epoch


def sequential(tokens, window, batch_size):
    """Return an iterator of batches in which each token but the first is a target exactly once.

    tokens: integers [N].
    window: W, inputs in a window.
    Yields (rows, weights), int32 [B, W + 1] and float32 [B, W]; a weight is 1 for a target and 0
    for padding, which fills the last window and batch. With W = 3, B = 2, N = 9 and padding _:

        tokens      0 1 2 3 4 5 6 7 8
        batch 1     0 1 2 3             weights  1 1 1
                          3 4 5 6                1 1 1
        batch 2                 6 7 8 _          1 1 0
                                      _ _ _ _    0 0 0

    Raises ValueError if there are fewer than two tokens.
    """
    check_whole('window', window, least=1)
    check_whole('batch_size', batch_size, least=1)
    if len(tokens) < 2:
        raise ValueError(f'{len(tokens)} tokens are too few to score: the first is only read')
    return sequential_batches(tokens, window, batch_size)


def sequential_batches(tokens, window, batch_size):
    n_targets = batch_size * window
    for start in range(0, len(tokens) - 1, n_targets):
        real = tokens[start : start + n_targets + 1]
        padded = np.zeros(n_targets + 1, np.int32)
        padded[: len(real)] = real
        rows = np.lib.stride_tricks.sliding_window_view(padded, window + 1)[::window]
        weights = np.arange(n_targets) < len(real) - 1
        yield rows.copy(), weights.reshape(batch_size, window).astype(np.float32)


def noisy(rows, probability, n_vocab, seed, first):
    """Return a copy of rows in which each token is replaced, with a probability, by a random one.

    This is noise for inputs: leave the targets as they are.

    rows: int32 [n, width], of which the first has the number `first`; what a row becomes depends on
      it, the seed and its number.
    n_vocab: the replacement is drawn uniformly from [0, n_vocab), so it may be the same token.
    """
    if not is_number(probability) or not 0 <= probability <= 1:
        raise ValueError(f'the probability of noise must be from 0 to 1, not {probability!r}')
    rows = rows.copy()
    for number, row in enumerate(rows, start=first):
        random = random_state(seed, NOISE, number)
        replaced = random.random_sample(len(row)) < probability
        row[replaced] = random.randint(n_vocab, size=np.count_nonzero(replaced))
    return rows


def random_state(seed, purpose, number):
    """Return random numbers of their own for each number, the same in every version of NumPy.

    That is promised of bit generators like Philox and of RandomState, not of their successors.
    """
    philox = np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, number])
    return np.random.RandomState(philox)
