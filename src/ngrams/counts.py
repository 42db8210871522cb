"""How many 8-grams of texts are in the training text: by document, by file, and in all."""

import itertools
import json
import statistics
import typing

import numpy as np

from ngrams.text import LENGTH, read
from support.documents import STANDARD_INPUT, note_ends
from support.files import replacing, shown
from support.provenance import source_version

# Shares in percent at which the classes of the histogram end, each but the last without its end.
CLASSES = (0, 1, 2, 5, 10, 15, 25, 50, 100)
BAR = 40  # characters of the longest


class Counts(typing.NamedTuple):
    """What is found of one file or several.

    name: str.  ngrams, found: [D], of each document, all 8-grams and those in the training text.
    """

    name: str
    ngrams: np.ndarray
    found: np.ndarray

    @property
    def percent(self):
        """Of all its 8-grams; None if there are none."""
        return percent(int(self.found.sum()), int(self.ngrams.sum()))

    def percents(self):
        """Of each document that has 8-grams, an array."""
        some = self.ngrams > 0
        return 100 * self.found[some] / self.ngrams[some]

    def documents(self):
        """Yield the name of each document, its 8-grams and how many are found."""
        pairs = zip(self.ngrams.tolist(), self.found.tolist(), strict=True)
        for number, (ngrams, found) in enumerate(pairs, start=1):
            yield self.name + (f' {number}' if len(self.ngrams) > 1 else ''), ngrams, found

    def record(self):
        """What the results file says of it."""
        return {
            'file': self.name,
            'ngrams': int(self.ngrams.sum()),
            'found': int(self.found.sum()),
            'percent': self.percent,
            'documents': [
                {'ngrams': ngrams, 'found': found, 'percent': percent(found, ngrams)}
                for _, ngrams, found in self.documents()
            ],
        }


def percent(found, ngrams):
    return 100 * found / ngrams if ngrams else None


def count_all(files, known, separator, encoder, progress):
    """The Counts of files, a list.

    known: BloomFilter or ExactSet of the training text.
    separator: documents.Separator of their documents, None for none.
    progress: called with the number of bytes that are newly done.
    Raises ValueError if there is no 8-gram in any of them, or the separator is nowhere.
    """
    pairs = [count(path, known, separator, encoder, progress) for path in files]
    counts, spelled_ends = zip(*pairs, strict=True)
    check(files, counts, separator, sum(spelled_ends))
    return list(counts)


def check(files, counts, separator, spelled_ends):
    """Raise ValueError, or print a note, for files in which something is missing or odd."""
    if separator and not separator.found:
        raise ValueError(f'the separator {separator.text!r} is nowhere in {", ".join(files)}')
    note_ends(spelled_ends, flag='--test_separator')
    if not any(each.ngrams.any() for each in counts):
        raise ValueError(f'there is no text of {LENGTH} tokens in {", ".join(files)}')


def count(path, known, separator, encoder, progress, span=None):
    """The Counts of a file, or of a span of it, and how often <|endoftext|> is spelled there."""
    ngrams, found, spelled_ends = np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    for batch in read(path, separator, encoder, progress, span):
        more = np.zeros(batch.documents - len(ngrams), np.int64)
        ngrams, found = np.append(ngrams, more), np.append(found, more)
        ngrams += np.bincount(batch.owners, minlength=len(ngrams))
        hits = batch.owners[known.contains(batch.windows)]
        found += np.bincount(hits, minlength=len(found))
        spelled_ends += batch.spelled_ends
    name = 'standard input' if path == STANDARD_INPUT else shown(path)
    return Counts(name, ngrams, found), spelled_ends


def total_of(counts):
    return Counts('total', *(np.concatenate(each) for each in list(zip(*counts, strict=True))[1:]))


def table_lines(counts):
    """Yield the lines of the table of files, with their total if there are several."""
    yield row('overlap', 'found', '8-grams', 'documents', 'file')
    for each in counts + [total_of(counts)] * (len(counts) > 1):
        found, ngrams = (f'{int(column.sum()):,}' for column in (each.found, each.ngrams))
        yield row(as_text(each.percent), found, ngrams, f'{len(each.ngrams):,}', each.name)


def row(share, found, ngrams, documents, name):
    return f'{share:>9}{found:>14}{ngrams:>15}{documents:>11}  {name}'


def as_text(share):
    return 'none' if share is None else f'{share:.2f} %'


def document_lines(counts):
    """Yield a line for each document."""
    for each in counts:
        for name, ngrams, found in each.documents():
            yield f'{as_text(percent(found, ngrams)):>9}{found:>14,}{ngrams:>15,}  {name}'


def histogram_lines(total):
    """Yield the lines of the histogram of documents by their overlap."""
    percents = total.percents()
    short = len(total.ngrams) - len(percents)
    yield (
        f'{len(percents):,} documents by their overlap, median {statistics.median(percents):.2f} %'
        + (f'; {short:,} more with fewer than 8 tokens' if short else '')
    )
    sizes = histogram(percents)
    for (low, high), size in zip([(0, 0), *itertools.pairwise(CLASSES)], sizes, strict=True):
        name = 'none' if not high else f'{low}–{high} %' if low else f'under {high} %'
        bar = '█' * round(BAR * size / max(sizes))
        yield f'{name:>10}{size:>11,}{100 * size / len(percents):>8.1f} %  {bar}'.rstrip()


def histogram(percents):
    """How many of percents [D] are 0, and how many in each class of CLASSES above that."""
    none = int((percents == 0).sum())
    return [none, *np.histogram(percents[percents > 0], CLASSES)[0].tolist()]


def write_results(path, ngrams, counts, settings):
    """Write all figures and how they were made."""
    content = {
        **settings,
        'length': LENGTH,
        'code': source_version(),
        'exact': ngrams.capacity is None,
        'capacity': ngrams.capacity,
        'train_ngrams': ngrams.added,
        'train_distinct': ngrams.distinct(),
        'false_positives': ngrams.false_positives(),
        'files': [each.record() for each in counts],
    }
    with replacing(path) as file:
        json.dump(content, file, indent=2, allow_nan=False)  # ASCII, for names that are not UTF-8
        file.write('\n')
