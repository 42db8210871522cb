"""The documents of files with their tokens, to be scored. No TensorFlow."""

import itertools
import typing

from encoder import END_OF_TEXT
from support.documents import STANDARD_INPUT, note_ends, texts_of
from support.files import shown


class Document(typing.NamedTuple):
    """name: the file's, with a number where a file holds several.  file: its place in the list."""

    name: str
    file: int
    text: str
    tokens: list


def begun(documents):
    """An iterator whose first document is read now: what cannot be read is refused at once."""
    return itertools.chain([next(documents)], documents)


def read(files, encoder, bar, separator=None):
    """Yield the documents of files that are not empty, one Document after the other.

    bar: a tqdm bar, whose total grows by the tokens that are read.
    separator: Separator, which splits a text into several documents; None does not.
    Raises ValueError for what is not text, and at the end if there was none.
    """
    some, spelled_ends = False, 0
    for place, path in enumerate(files):
        for number, text in enumerate(texts_of(path, separator), start=1):
            if not text:
                continue
            some = True
            spelled_ends += text.count(END_OF_TEXT)
            name = name_of(path)
            if separator or path.lower().endswith('.jsonl'):
                name += f' {number}'
            document = Document(name, place, text, encoder.encode(text))
            bar.total += len(document.tokens)
            yield document
    if not some:
        raise ValueError(f'there is no text in {", ".join(files)}')
    note_ends(spelled_ends)


def name_of(path):
    return 'standard input' if path == STANDARD_INPUT else shown(path)
