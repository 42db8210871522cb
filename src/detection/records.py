"""The records of an output dataset, and the texts of other files. No TensorFlow.

A data set is a folder of files SOURCE.SPLIT.jsonl, as of OpenAI's gpt-2-output-dataset. A record is
a line {"id", "ended", "length", "text"}: `length` counts the tokens of the text without the end
token, `ended` tells whether the document ended by itself, and ids run through the three splits.
"""

import os
import typing

from support import documents
from support.checks import check_whole
from support.documents import find_files, lines_of, record_of

SPLITS = ('train', 'valid', 'test')


class Record(typing.NamedTuple):
    """A text of a data set; ended and length are None where a file does not tell them.

    more: dict of all else that its line holds, such as where the text comes from.
    """

    id: int
    ended: bool | None
    length: int | None
    text: str
    more: dict

    @property
    def document(self):
        """What it was cut from: texts of one document are too alike to be drawn one by one."""
        return self.more.get('document', self.id)


def path_of(source, split):
    """The file of a split.  source: FOLDER/SOURCE, the beginning of the three files' names."""
    return f'{source}.{split}.jsonl'


def read_records(path):
    """Return an iterator over the Records of a file; one is held at a time.

    A .jsonl file holds one a line, of which only "text" is required; any other file is one text.
    Where a line has no "id", it is its place in the file, from 0. Texts may be empty.
    Raises ValueError, with the line, for what is no record.
    """
    if not path.lower().endswith('.jsonl'):
        return (Record(n, None, None, text, {}) for n, text in enumerate(documents.texts_of(path)))
    return records_of_lines(path)


def records_of_lines(path):
    number = 0
    for line, content in enumerate(lines_of(path), start=1):
        if content and not content.isspace():
            fields = record_of(content, f'{path} line {line}')
            own = [fields.pop(name, None) for name in ('id', 'ended', 'length', 'text')]
            if own[0] is None:
                own[0] = number
            yield Record(*own, fields)
            number += 1


def texts_of(sources):
    """The texts of files, folders and patterns that are not empty: a list of str."""
    return [
        record.text for path in find_files(sources) for record in read_records(path) if record.text
    ]


def sources_named(text):
    """The FOLDER/SOURCE in a list with commas between, as they are written.

    ValueError for none, and for two of the same name: nobody could tell their figures apart.
    """
    sources = [name.strip() for name in text.split(',') if name.strip()]
    names = [os.path.basename(source) for source in sources]
    if not names or len(set(names)) < len(names):
        raise ValueError('name one or more sources of machine texts, each once')
    return sources


def check_source(name):
    """A name of files; ValueError for one that is a path or would be mistaken for a split."""
    if (
        not name
        or os.path.basename(name) != name
        or name.endswith(tuple(f'.{split}' for split in SPLITS))
    ):
        raise ValueError(f'source must be a name, without a folder and a split, not {name!r}')
    return name


def check_sizes(*sizes):
    """The sizes of the three splits; ValueError unless they are whole numbers, and not all 0."""
    for split, size in zip(SPLITS, sizes, strict=True):
        check_whole(split, size, least=0)
    if not sum(sizes):
        raise ValueError('train, valid and test are all 0: there is nothing to make')
    return sizes
