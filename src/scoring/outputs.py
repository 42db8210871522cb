"""What is told of scored texts: lines to print, records of tokens, a page. No TensorFlow."""

import codecs
import contextlib
import itertools
import json
import math
import os
import typing

from tqdm import tqdm

from scoring import surprisal_page
from scoring.documents import name_of
from support.documents import STANDARD_INPUT, Separator, find_files
from support.files import replacing

COLUMNS = ('tokens', 'perplexity', 'bits per byte')  # of the table of files
GAP = '  '  # between two columns
SHORTEST = 8  # characters of a name are shown in the narrowest terminal


def files_to_score(sources, separator, outputs):
    """The files of sources, and the Separator of documents in them or None.

    sources, separator: as the flags of a script give them.  outputs: paths that it writes to.
    Raises ValueError for sources that are not there, and for an output that is one of them.
    """
    if not sources:
        raise ValueError('name at least one source: a file, a folder, a pattern, or - for stdin')
    files = find_files(sources)
    check_outputs(outputs, files)
    return files, None if separator is None else Separator(separator)


def check_outputs(outputs, files):
    """Refuse to write two things to one file, or over a text."""
    taken = {os.path.realpath(path) for path in files if path != STANDARD_INPUT}
    for path in outputs:
        if os.path.realpath(path) in taken:
            raise ValueError(f'{path} is a source, or another output: choose another name')
        if os.path.isfile(path) or not os.path.exists(path):  # unlike /dev/null, which takes all
            taken.add(os.path.realpath(path))


def print_all(lines, go_on):
    """Print lines beside the progress bar, as they come.

    go_on: where standard output takes no more (its reader, head, is gone), do the rest of the work
      and return the error; without it, raise it.
    """
    lost = None
    for line in lines:
        try:
            if not lost:
                tqdm.write(line)
        except OSError as error:
            if not go_on:
                raise
            lost = error
    return lost


class Sums(typing.NamedTuple):
    """What is counted of documents."""

    documents: int = 0
    tokens: int = 0
    words: int = 0
    characters: int = 0
    bytes: int = 0
    nats: float = 0.0

    @classmethod
    def of(cls, document, scores):
        text = document.text
        counts = len(document.tokens), len(text.split()), len(text), len(text.encode('utf-8'))
        return cls(1, *counts, -scores.total)

    def plus(self, other):
        return Sums(*map(sum, zip(self, other, strict=True)))

    def rows(self):
        """(label, value) of all that is printed, both str."""
        return [
            ('documents', f'{self.documents}'),
            ('tokens', f'{self.tokens}'),
            ('words', f'{self.words}'),
            ('characters', f'{self.characters}'),
            ('bytes', f'{self.bytes}'),
            ('total nats', f'{self.nats:.3f}'),
            ('perplexity per token', perplexity(self.nats, self.tokens)),
            ('perplexity per word', perplexity(self.nats, self.words)),
            ('bits per byte', f'{self.nats / math.log(2) / self.bytes:.4f}'),
            ('bits per character', f'{self.nats / math.log(2) / self.characters:.4f}'),
        ]

    def cells(self):
        """The numbers of the table of files, as COLUMNS names them."""
        rows = dict(self.rows())
        return rows['tokens'], rows['perplexity per token'], rows['bits per byte']

    def line(self):
        shown = ('tokens', 'total nats', 'perplexity per token', 'perplexity per word')
        shown += ('bits per byte', 'bits per character')
        return ', '.join(f'{label} {value}' for label, value in self.rows() if label in shown)


def perplexity(nats, units):
    if not units:
        return 'none'  # a text of nothing but whitespace has no words
    try:
        return f'{math.exp(nats / units):.4f}'
    except OverflowError:  # a text of one very long word
        return f'e^{nats / units:.1f}'


def report(scored, sinks, encoder, files, width=None):
    """Yield the lines to print: one a document or file, if there are several, and their sums.

    scored: pairs of a Document and its Scores.  sinks: get the tokens of each.
    files: list of paths; the documents of several are summed by file, in a table.
    width: characters that a line of the table may have; None for any number.
    """
    summed = written(scored, sinks, encoder)
    total = yield from (
        document_lines(summed) if len(files) == 1 else table_lines(summed, files, width)
    )
    for label, value in total.rows():
        yield f'{label:22}{value}'


def written(scored, sinks, encoder):
    """Yield pairs of a Document and its Sums, once its tokens are written."""
    for document, scores in scored:
        sums = Sums.of(document, scores)
        for sink in sinks:
            sink.write(document, list(token_records(encoder, document.tokens, scores)), sums)
        yield document, sums


def document_lines(summed):
    """Yield a line for each document, if there are several; return the Sums of all."""
    total, held_back = Sums(), None
    for document, sums in summed:
        line = f'{document.name}: {sums.line()}'
        if not total.documents:
            held_back = line  # until there is a second one
        else:
            yield from filter(None, (held_back, line))
            held_back = None
        total = total.plus(sums)
    return total


def table_lines(summed, files, width=None):
    """Yield the lines of a table of files and of their total, each once it is known.

    Returns the Sums of all. Files without text have no line; where the width does not suffice,
    names lose their beginnings.
    """
    names = ['file', *map(name_of, files), 'total']
    longest = max(map(len, names))
    if width is not None:
        longest = min(longest, max(width - len(row('', COLUMNS, 0)), SHORTEST))
    yield row('file', COLUMNS, longest)
    total = Sums()
    for place, group in itertools.groupby(summed, lambda pair: pair[0].file):
        own = Sums()
        for _, sums in group:
            own = own.plus(sums)
        yield row(name_of(files[place]), own.cells(), longest)
        total = total.plus(own)
    yield row('total', total.cells(), longest)
    yield ''
    return total


def row(name, cells, longest):
    """A line of the table: the name, shortened at its beginning if need be, and the numbers."""
    if len(name) > longest > 0:
        name = '…' + name[len(name) - longest + 1 :]
    tokens, perplexity, bits = cells
    return GAP.join([f'{name:{longest}}', f'{tokens:>11}', f'{perplexity:>12}', f'{bits:>13}'])


def token_records(encoder, tokens, scores):
    """Yield a dict for each token: id, text, logprob, rank, entropy, and bytes where it needs them.

    A token may end inside a character. Its text is what it completes: all texts together are the
    document, exactly. Where that is not what the token's bytes are alone, `bytes` has these
    as hexadecimal digits.
    """
    utf8 = codecs.getincrementaldecoder('utf-8')()
    columns = (scores.logprobs, scores.ranks, scores.entropies)
    values = zip(*(column.tolist() for column in columns), strict=True)
    for token, (logprob, rank, entropy) in zip(tokens, values, strict=True):
        data = encoder.decode_bytes([token])
        record = {'id': token, 'text': utf8.decode(data)}
        if record['text'].encode('utf-8') != data:
            record['bytes'] = data.hex()
        # Seven digits say all that a float32 holds.
        record |= {'logprob': rounded(logprob), 'rank': rank, 'entropy': rounded(entropy)}
        yield record


def rounded(number):
    return float(f'{number:.7g}')


def open_sinks(tokens, html, model_name):
    """Where the tokens of each document go: context managers with a `write`."""
    if tokens is not None:
        yield TokenFile(tokens)
    if html is not None:
        yield PageFile(html, model_name)


class Sink:
    """A file that takes its place when all documents are written."""

    def __init__(self, path):
        self.path = path
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.file = self.stack.enter_context(replacing(self.path))
        return self

    def __exit__(self, *exception):
        return self.stack.__exit__(*exception)


class TokenFile(Sink):
    """A JSON record a line for each token: `token_records`, the document's name and the index."""

    def write(self, document, records, sums):
        for index, record in enumerate(records):
            record = {'document': document.name, 'index': index} | record
            self.file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + '\n')


class PageFile(Sink):
    """The page of surprisal_page.py, or of another module with its `head` and `foot`."""

    page = surprisal_page

    def __init__(self, path, model_name):
        super().__init__(path)
        self.model_name = model_name

    def __enter__(self):
        super().__enter__()
        self.file.write(self.page.head(self.model_name))
        return self

    def write(self, document, records, sums):
        self.file.write(surprisal_page.section(document.name, sums.rows()[1:], records))

    def __exit__(self, *exception):
        if exception == (None, None, None):
            self.file.write(self.page.foot())
        return super().__exit__(*exception)
