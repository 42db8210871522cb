"""The documents in files of text."""

import codecs
import glob
import json
import os
import sys

from encoder import BOUNDARY, check_surrogates, chunks

ENDINGS = ('.txt', '.jsonl')  # the endings of files that are looked for in a folder
TOKENS = '.npy'
STANDARD_INPUT = '-'
BLOCK_BYTES = 2**18  # how much of a file is read at a time


def read_documents(sources):
    """Return an iterator over the documents of sources, none empty, for `pieces` to read.

    sources: list of paths, folders, glob patterns and '-' for standard input; see `find_files`.
      A .jsonl file holds a document a line, in the field "text"; any other file is one document.
    Files are UTF-8. A byte-order mark is dropped and line ends stay as they are, \\r\\n included.
    A document is a str, of which one is held at a time, or a TextFile, which holds no text.
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
        if source.lower().endswith(TOKENS):
            raise ValueError(
                f'{source} holds tokens, not text: name the folder that src/encode_corpus.py made'
            )
        return [source]
    if not glob.has_magic(source):
        raise ValueError(f'there is no file or folder {source}')
    matches = sorted(glob.glob(source, recursive=True), key=lambda path: path.split(os.sep))
    if not matches:
        raise ValueError(f'no file matches {source}')
    return find_files(matches)


def raise_error(error):
    raise error


def size_of(files):
    """Bytes of text in files, or None where that is not to be known before they are read."""
    return sum(map(os.path.getsize, files)) if all(map(is_text_file, files)) else None


def is_text_file(path):
    """Whether a file is one document, which can be read again, as a pipe cannot."""
    return os.path.isfile(path) and not path.lower().endswith('.jsonl')


def pieces(document):
    """Yield the text of a document in pieces, one or more: to encode each gives the ids of all."""
    return chunks(document) if isinstance(document, str) else iter(document)


class TextFile:
    """The document in a file, read each time that it is asked for and not held as a whole.

    Iterating gives pieces of about BLOCK_BYTES, cut where a word ends anyway (see encoder.chunks);
    a text without white space is one piece.
    """

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        held = []  # the piece that has no end yet
        for block in blocks_of(self.path):
            if boundary := BOUNDARY.search(block):
                yield ''.join([*held, block[: boundary.start()]])
                held = [block[boundary.start() :]]
            else:
                held.append(block)
        yield ''.join(held)


class Part:
    """The characters from `start` to `stop` of a document, which are a document of their own."""

    def __init__(self, document, start, stop):
        self.document, self.start, self.stop = document, start, stop

    def __iter__(self):
        place = 0
        for piece in pieces(self.document):
            if part := piece[max(self.start - place, 0) : self.stop - place]:
                yield part
            place += len(piece)
            if place >= self.stop:
                return


def blocks_of(path):
    """Yield the text of a file, a block at a time."""
    with open(path, 'rb') as file:
        data, offset, more = b'', 0, True
        while more:
            block = file.read(BLOCK_BYTES)
            data, more = data + block, bool(block)
            try:
                text, used = codecs.utf_8_decode(data, 'strict', not more)
            except UnicodeDecodeError as error:
                raise not_utf8(path, offset + error.start) from None
            yield text if offset else text.removeprefix('\ufeff')
            data, offset = data[used:], offset + used


def documents_in(files):
    some = False
    for path in files:
        for document in documents_of(path):
            if any(pieces(document)):
                some = True
                yield document
            del document  # or it would stay while the next one is read
    if not some:
        raise ValueError(f'there is no text in {", ".join(files) or "nothing"}')


def documents_of(path):
    """Yield the documents of a file."""
    if is_text_file(path):
        yield TextFile(path)
    else:
        yield from texts_of(path)


def texts_of(path):
    """Yield the documents of a file as str, each whole."""
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
        raise not_utf8(path, offset + error.start) from None
    return text if offset else text.removeprefix('\ufeff')


def not_utf8(path, place):
    return ValueError(f'{path}: byte {place} is not UTF-8')
