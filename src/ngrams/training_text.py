"""The 8-grams of the training text, and which files they are from, so that reading can go on."""

import os
import time

from ngrams.bloom_filter import BloomFilter, megabytes
from ngrams.exact_set import ExactSet
from ngrams.filter_file import is_filter_file, load, save
from ngrams.text import LENGTH, read
from support.documents import STANDARD_INPUT, note_ends

BYTES_PER_NGRAM = 4  # PTB's normalised text has 5.1 bytes a token
SAVE_SECONDS = 60  # of work that a killed process may lose, and a file
SAVING_SHARE = 20  # saving takes at most one part of so many of the time


class TrainingText:
    """A set of 8-grams and where they are from.

    ngrams: BloomFilter or ExactSet.
    vocabulary: digest of the tokenizer's vocabulary.
    files: {path: `entry_of` it} of those that were read to their ends.
    `saved`: whether all of it is in a file; `n_saved`: how many of its files are.
    """

    def __init__(self, ngrams, vocabulary, files=None):
        self.ngrams, self.vocabulary, self.files = ngrams, vocabulary, files or {}
        self.saved, self.n_saved = False, 0

    @classmethod
    def load(cls, path, vocabulary, in_memory=True):
        """That of a saved filter. Raises ValueError if it is damaged or of another vocabulary."""
        ngrams, origin = load(path, in_memory)
        try:
            files = {entry['path']: entry for entry in origin['files']}
            made_of = origin['length'], origin['vocabulary']
        except (KeyError, TypeError) as error:
            raise ValueError(f'{path} does not say what it was made of') from error
        if made_of != (LENGTH, vocabulary):
            raise ValueError(f'{path} was made with another vocabulary than --model_name has')
        return cls(ngrams, vocabulary, files)

    def save(self, path):
        files = list(self.files.values())
        origin = {'length': LENGTH, 'vocabulary': self.vocabulary, 'files': files}
        save(path, self.ngrams, origin)
        self.saved, self.n_saved = True, len(files)

    def merge(self, other):
        """Add what another one has of the same vocabulary and capacity."""
        self.saved = False
        self.ngrams.merge(other.ngrams)
        self.files |= other.files

    def has(self, path, separator):
        """Whether a file was read before. Raises ValueError if it has changed since."""
        entry = entry_of(path, separator)
        known = self.files.get(entry['path'])
        if known not in (None, entry):
            raise ValueError(
                f'{path} was read into the filter before, and is another file or has another '
                '--separator now: begin a new filter'
            )
        return known is not None and os.path.isfile(path)

    def lacking(self, files, separator):
        """Those of a list of files that were not read before, each once."""
        return list(dict.fromkeys(file for file in files if not self.has(file, separator)))

    def read(self, path, separator, encoder, progress):
        """Add the 8-grams of a file; return how often <|endoftext|> is spelled in it."""
        self.saved = False
        entry, spelled_ends = entry_of(path, separator), 0
        for batch in read(path, separator, encoder, progress):
            self.ngrams.add(batch.windows)
            spelled_ends += batch.spelled_ends
        self.files[entry['path']] = entry
        return spelled_ends


def entry_of(path, separator):
    """What tells whether a file is the same: its path, size and time, and how it is split."""
    entry = {'path': path, 'separator': separator and separator.text}
    if os.path.isfile(path):
        status = os.stat(path)
        entry['path'] = os.path.abspath(path)
        entry |= {'bytes': status.st_size, 'modified': status.st_mtime_ns}
    return entry


def begin(files, vocabulary, path=None, capacity=None, exact=False):
    """The TrainingText to add to: a saved one, those among the files merged, or an empty one.

    files: list of paths, of texts and of filters.
    path: where it is saved, and may be from earlier; None for nowhere.
    capacity: different 8-grams that a filter has room for; None estimates them by the files' sizes.
    exact: whether an ExactSet is wanted.
    Returns it and the list of texts to read. Raises ValueError for what does not fit together.
    """
    filters = [file for file in files if is_filter_file(file)]
    texts = [file for file in files if not is_filter_file(file)]
    if exact:
        if filters or path is not None or capacity is not None:
            raise ValueError('--exact takes no filter and no --capacity, and cannot be saved')
        return TrainingText(ExactSet(), vocabulary), texts
    saved = [path] * (path is not None and os.path.exists(path)) + filters
    if not saved:
        capacity = estimate(texts) if capacity is None else capacity
        return TrainingText(BloomFilter(capacity), vocabulary), texts
    text = TrainingText.load(saved[0], vocabulary)
    if saved[0] == path:
        text.saved, text.n_saved = True, len(text.files)
    if capacity not in (None, text.ngrams.capacity):
        raise ValueError(
            f'{saved[0]} was made with --capacity {text.ngrams.capacity}, not {capacity}'
        )
    for other in saved[1:]:
        text.merge(TrainingText.load(other, vocabulary, in_memory=False))
    return text, texts


def estimate(files):
    """A capacity for texts, by their sizes. Raises ValueError where these are not known."""
    for file in files:
        if not os.path.isfile(file):
            name = 'standard input' if file == STANDARD_INPUT else file
            raise ValueError(
                f'how much text comes from {name} is not known: give --capacity, the most 8-grams '
                'that are expected, about a fifth of its bytes'
            )
    return max(total_size(files) // BYTES_PER_NGRAM, 1)


def total_size(files):
    """Bytes of those that are files."""
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file))


def memory_of(text):
    """A line that says how much memory the 8-grams take."""
    ngrams = text.ngrams
    if isinstance(ngrams, ExactSet):
        return 'exact set: about 100 bytes of memory for each different 8-gram'
    return (
        f'filter: room for {ngrams.capacity:,} different 8-grams in {megabytes(ngrams.bytes)} of '
        'memory; of others at most 1 in 100,000,000 is taken for one of them'
    )


def read_all(text, files, separator, encoder, path, progress):
    """Add files to a TrainingText, all but those that it has, and save it now and then.

    path: where it is saved; None for nowhere.
    progress: called with the number of bytes that are newly done.
    """
    spelled_ends, saved_at, cost = 0, time.monotonic(), 0
    new = text.lacking(files, separator)
    progress(total_size(files) - total_size(new))
    for file in new:
        spelled_ends += text.read(file, separator, encoder, progress)
        now = time.monotonic()
        if path is not None and now - saved_at > max(SAVE_SECONDS, SAVING_SHARE * cost):
            text.save(path)
            saved_at = time.monotonic()
            cost = saved_at - now
    finish(text, new, separator, spelled_ends, path)


def finish(text, new, separator, spelled_ends, path):
    """Check what new files have brought, and save it."""
    if new and separator and not separator.found:
        raise ValueError(f'the separator {separator.text!r} is nowhere in {", ".join(new)}')
    note_ends(spelled_ends)
    text.ngrams.check()
    if path is not None and not text.saved:
        text.save(path)
