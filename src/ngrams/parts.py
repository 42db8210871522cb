"""8-grams in parts, which several processes read: files, and spans of large .jsonl files.

Bloom filters of parts are merged to the filter of all, bit by bit; counts follow each other.
No TensorFlow.
"""

import contextlib
import hashlib
import itertools
import json
import os

import numpy as np

from cluster.made import made_parts
from cluster.parts import Job, Worker
from loading.model_files import load_encoder, vocabulary_sha256
from ngrams.bloom_filter import BloomFilter
from ngrams.counts import Counts, check, count
from ngrams.filter_file import LONGEST_LINE, load, write
from ngrams.text import read
from ngrams.training_text import entry_of, finish
from support.documents import STANDARD_INPUT, Separator
from support.files import shown

SPAN_BYTES = 2**26  # of a .jsonl file that is an item


class NgramsWorker(Worker):
    """What both kinds have: the tokenizer.  Items are [path, span or None]: see `spans`."""

    def __init__(self, job):
        super().__init__(job)
        self.encoder = load_encoder(job.resources['model_name'], job.resources['models_dir'])
        if vocabulary_sha256(self.encoder) != job.settings['vocabulary']:
            raise ValueError('this machine has another vocabulary than the job is for')

    def separator(self):
        """A Separator, which counts how often it is found; None for none."""
        text = self.job.settings['separator']
        return None if text is None else Separator(text)


class FilterWorker(NgramsWorker):
    """Makes filters: a part is the saved filter of its items."""

    text = 'TRAIN'

    def make(self, part, items, file):
        separator, ends = self.separator(), 0
        bloom_filter = BloomFilter(self.job.settings['capacity'])
        for path, span in items:
            for batch in read(path, separator, self.encoder, nothing, span):
                bloom_filter.add(batch.windows)
                ends += batch.spelled_ends
        found = separator.found if separator else 0
        write(file, bloom_filter, {'spelled_ends': ends, 'separators': found})


class CountWorker(NgramsWorker):
    """Counts 8-grams that are in a filter: a part has a line of JSON for each item.

    resources: filter, the path of one.  settings: filter, its digest.
    """

    text = 'TEST'

    def __init__(self, job):
        super().__init__(job)
        path = job.resources['filter']
        if digest_of(path) != job.settings['filter']:
            raise ValueError(f'{path} is not the filter that the job is for')
        self.known, _ = load(path, in_memory=False)  # several workers of a machine share it
        self.known.words = np.asarray(self.known.words)

    def make(self, part, items, file):
        for path, span in items:
            separator = self.separator()
            counts, ends = count(path, self.known, separator, self.encoder, nothing, span)
            line = {
                'ngrams': counts.ngrams.tolist(),
                'found': counts.found.tolist(),
                'spelled_ends': ends,
                'separators': separator.found if separator else 0,
            }
            file.write(json.dumps(line).encode('ascii') + b'\n')


def nothing(n_bytes):
    """The progress of a part is not told."""


def spans(files):
    """Items of files: [path, span or None]; a .jsonl file of more than SPAN_BYTES has several.

    Raises ValueError for what can be read only once, by one process.
    """
    items = []
    for path in files:
        if not os.path.isfile(path):
            name = 'standard input' if path == STANDARD_INPUT else shown(path)
            raise ValueError(f'{name} is no file that several workers can read')
        size, path = os.path.getsize(path), os.path.abspath(path)  # workers may be elsewhere
        if path.lower().endswith('.jsonl') and size > SPAN_BYTES:
            starts = range(0, size, SPAN_BYTES)
            items += [[path, [start, min(start + SPAN_BYTES, size)]] for start in starts]
        else:
            items.append([path, None])
    return items


def digest_of_files(files, separator):
    """What stands for files, as they are now, in the settings of a job."""
    entries = json.dumps([entry_of(path, separator) for path in files])
    return hashlib.sha256(entries.encode('ascii')).hexdigest()[:16]


def digest_of(path):
    """What stands for a saved filter: the digest of its first line, which has a checksum of it."""
    with open(path, 'rb') as file:
        return hashlib.sha256(file.readline(LONGEST_LINE)).hexdigest()[:16]


class Sharing:
    """How workers share the 8-grams of files.

    vocabulary: digest of the tokenizer's.  resources: model_name and models_dir, to load it from.
    filter: the path where the training text's filter is saved.  spread: flags.Spread.
    Raises ValueError where there is no such path.
    """

    def __init__(self, vocabulary, resources, filter, spread):
        if filter is None:
            raise ValueError('workers need --filter, where the 8-grams of TRAIN are kept for all')
        self.vocabulary, self.spread = vocabulary, spread
        self.filter, self.resources = filter, resources | {'filter': os.path.abspath(filter)}

    @contextlib.contextmanager
    def made(self, worker, files, separator, items, **settings):
        """The paths of all parts of files, in their order.

        worker: its class.  separator: documents.Separator, or None.  items: `spans` of the files.
        """
        settings |= {
            'vocabulary': self.vocabulary,
            'separator': separator and separator.text,
            'files': digest_of_files(files, separator),
        }
        job = Job(f'{__name__}:{worker.__name__}', settings, self.resources)
        path = os.path.join(self.spread.folder(self.filter), worker.text)
        with made_parts(self.spread, path, job, items, len(items), worker.text) as folder:
            yield folder.joined()
        with contextlib.suppress(OSError):  # parts of another command are there, too
            os.rmdir(os.path.dirname(path))

    def read_all(self, text, files, separator):
        """Do what training_text.read_all does, with filters that workers make."""
        new = text.lacking(files, separator)
        entries = [entry_of(file, separator) for file in new]
        ends = 0
        if new:
            capacity = text.ngrams.capacity
            made = self.made(FilterWorker, new, separator, spans(new), capacity=capacity)
            with made as paths:
                text.saved = False
                for path in paths:
                    other, origin = load(path, in_memory=False)
                    text.ngrams.merge(other)
                    ends += origin['spelled_ends']
                    if separator:
                        separator.found += origin['separators']
                    del other  # or its file would stay in memory while the next one is read
                text.files |= {entry['path']: entry for entry in entries}
                finish(text, new, separator, ends, self.filter)
        else:
            finish(text, new, separator, ends, self.filter)

    def count_all(self, files, separator):
        """Do what counts.count_all does, with counts of workers; the filter is saved."""
        of_files = [spans([path]) for path in files]
        items = list(itertools.chain(*of_files))
        known = digest_of(self.filter)
        counts, ends = [], 0
        with self.made(CountWorker, files, separator, items, filter=known) as paths:
            lines = lines_of(paths)
            for path, of_file in zip(files, of_files, strict=True):
                found = [next(lines) for _ in of_file]
                columns = [joined(found, name) for name in ('ngrams', 'found')]
                counts.append(Counts(shown(path), *columns))
                ends += sum(each['spelled_ends'] for each in found)
                if separator:
                    separator.found += sum(each['separators'] for each in found)
            check(files, counts, separator, ends)
        return counts


def lines_of(paths):
    """Yield what the lines of parts hold."""
    for path in paths:
        with open(path, encoding='ascii') as file:
            yield from map(json.loads, file)


def joined(found, name):
    return np.concatenate([np.array(each[name], np.int64) for each in found])
