"""The documents in files of text."""

import codecs
import contextlib
import glob
import json
import os
import sys

from encoder import BOUNDARY, END_OF_TEXT, check_surrogates, chunks

ENDINGS = ('.txt', '.jsonl')  # the endings of files that are looked for in a folder
STANDARD_INPUT = '-'
BLOCK_BYTES = 2**18  # how much of a file is read at a time

DECODE = 'name the text that they were made from, or decode them (see src/training/README.md)'
CONVERT = 'make it a .jsonl file, {"text": ...} a line, or a .txt file to be read as it stands'
# Files that are taken for text and are none, by their endings, and what to do.
OTHER_ENDINGS = {
    '.npy': 'holds tokens, not text: name the folder that src/encode_corpus.py made',
    '.npz': f'holds tokens, as of nshepperd/gpt-2, not text: {DECODE}',
    '.bin': f'holds tokens, as of nanoGPT, not text: {DECODE}',
    '.csv': f'is a table: {CONVERT}',
    '.tsv': f'is a table: {CONVERT}',
    '.json': f'is JSON: {CONVERT}',
    '.ndjson': f'is JSON: {CONVERT}',
}
# And by their first bytes.
OTHER_STARTS = {
    b'\x1f\x8b': 'is compressed: gunzip unpacks it',
    b'BZh91AY&SY': 'is compressed: bunzip2 unpacks it',
    b'\xfd7zXZ\0': 'is compressed: unxz unpacks it',
    b'\x28\xb5\x2f\xfd': 'is compressed: unzstd unpacks it',
    b'PK\3\4': 'is a ZIP archive or an office document: unpack it, or save it as text',
    b'%PDF-': 'is a PDF document: pdftotext makes text of it',
    b'PAR1\x15': f'is a table: {CONVERT}',
    codecs.BOM_UTF16_LE: 'is UTF-16: convert it with iconv -f UTF-16 -t UTF-8',
    codecs.BOM_UTF16_BE: 'is UTF-16: convert it with iconv -f UTF-16 -t UTF-8',
}


def read_documents(sources, separator=None):
    """Return an iterator over the documents of sources, none empty, for `pieces` to read.

    sources: list of paths, folders, glob patterns and '-' for standard input; see `find_files`.
      A .jsonl file holds a document a line, in the field "text"; any other file is one document.
    separator: Separator, which splits all these into several; None does not.
    Files are UTF-8. A byte-order mark is dropped and line ends stay as they are, \\r\\n included.
    A document is a str, of which one is held at a time, or a TextFile, which holds no text.
    Raises ValueError for a source that is not there, at once; while reading, for bytes that are no
    text in UTF-8, for a line of a .jsonl file that has no text, and at the end if there was no
    document at all, or if the separator was not found.
    """
    return documents_in(find_files(sources), separator)


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
        if what := OTHER_ENDINGS.get(os.path.splitext(source)[1].lower()):
            raise ValueError(f'{source} {what}')
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


class Separator:
    """A text that stands between documents, such as <|endoftext|>.

    An end of line after it belongs to it, so that it may have a line of its own.
    found: how often it was found so far.
    """

    def __init__(self, text):
        if not text:
            raise ValueError('an empty separator splits nothing')
        self.text, self.found = text, 0

    def split(self, blocks):
        """Yield the documents of a text that comes in blocks; one of them is held at a time."""
        for number, document in enumerate(self._between(blocks)):
            self.found += number > 0
            yield self._without_line_end(document) if number else document

    def _between(self, blocks):
        held = ''
        for block in blocks:
            new = max(len(held) - len(self.text) + 1, 0)  # from here on it was not looked for
            held += block
            if held.find(self.text, new) >= 0:
                *ended, held = held.split(self.text)
                yield from ended
        yield held

    def _without_line_end(self, text):
        if self.text.endswith('\n'):
            return text
        return text.removeprefix('\r\n' if text.startswith('\r') else '\n')


def note_ends(count, flag='--separator'):
    """Say on standard error that a text spells <|endoftext|>, if it does so, and what to do."""
    if count:
        print(
            f'note: {END_OF_TEXT} is in the text {count:,} time{"s" * (count > 1)}. It is read as '
            'these letters and ends no document; '
            f"{flag} '{END_OF_TEXT}' splits documents there",
            file=sys.stderr,
        )


def blocks_of(path):
    """Yield the text of a file or of standard input, a block at a time."""
    standard_input = path == STANDARD_INPUT
    name = 'standard input' if standard_input else path
    with contextlib.nullcontext(sys.stdin.buffer) if standard_input else open(path, 'rb') as file:
        data, offset, more = b'', 0, True
        while more:
            block = file.read(BLOCK_BYTES)
            data, more = data + block, bool(block)
            refuse_other(data, name, offset)
            text, used = decode_part(data, name, offset, final=not more)
            yield text
            data, offset = data[used:], offset + used


def documents_in(files, separator=None):
    some = False
    for path in files:
        for document in documents_of(path, separator):
            if any(pieces(document)):
                some = True
                yield document
            del document  # or it would stay while the next one is read
    if not some:
        raise ValueError(f'there is no text in {", ".join(files) or "nothing"}')
    if separator and not separator.found:
        raise ValueError(f'the separator {separator.text!r} is nowhere in {", ".join(files)}')


def documents_of(path, separator=None):
    """Yield the documents of a file."""
    if separator is None and is_text_file(path):
        yield TextFile(path)
    else:
        yield from texts_of(path, separator)


def texts_of(path, separator=None):
    """Yield the documents of a file as str, each whole."""
    lines = path.lower().endswith('.jsonl')
    for blocks in ([text] for text in texts_of_lines(path)) if lines else [blocks_of(path)]:
        yield from separator.split(blocks) if separator else [''.join(blocks)]


def texts_of_lines(path):
    """Yield the text of each line of a .jsonl file; blank lines are skipped."""
    for number, line in enumerate(lines_of(path), start=1):
        if line and not line.isspace():
            yield record_of(line, f'{path} line {number}')['text']


def texts_of_span(path, start, stop, separator=None):
    """Yield the documents of the lines of a .jsonl file that begin in [start, stop), bytes of it.

    The spans of a file, one after the other, are what `texts_of` yields.
    """
    with open(path, 'rb') as file:
        file.seek(max(start - 1, 0))
        if start:
            file.readline()  # what began before
        while (place := file.tell()) < stop and (data := file.readline()):
            refuse_other(data, path, place)
            line, _ = decode_part(data, path, place, final=True)
            if line and not line.isspace():
                text = record_of(line, f'{path}, the line at byte {place},')['text']
                yield from separator.split([text]) if separator else [text]


def lines_of(path):
    r"""Yield the lines of a file, which end in \n and nothing else."""
    held = []
    for block in blocks_of(path):
        *ends, rest = block.split('\n')
        for end in ends:
            line, held = ''.join([*held, end]), []
            yield line
        held.append(rest)
    yield ''.join(held)


def record_of(line, place):
    """The dict that a line of a .jsonl file spells; its "text" is one that UTF-8 can hold."""
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
    return record


def refuse_other(data, path, offset):
    """Raise ValueError for bytes from a place in a file that are no text, whatever they spell."""
    for start, what in OTHER_STARTS.items():
        if not offset and data.startswith(start):
            raise ValueError(f'{path} {what}')
    if (place := data.find(0)) >= 0:
        raise ValueError(
            f'{path}: byte {offset + place} is NUL, which is in no text in UTF-8; if this is '
            'UTF-16, convert it with iconv -f UTF-16LE -t UTF-8'
        )


def decode(data, path):
    """Return the bytes of a whole file as str; see `decode_part`."""
    return decode_part(data, path, offset=0, final=True)[0]


def decode_part(data, path, offset, final):
    """Return bytes from a place in a file as str, and how many of them that took.

    final: no more bytes will come: the last ones are no part of a character.
    A byte-order mark at the start of the file is dropped.
    Raises ValueError for what is not UTF-8, with the place of the first bad byte.
    """
    try:
        text, used = codecs.utf_8_decode(data, 'strict', final)
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: byte {offset + error.start} is not UTF-8') from None
    return text if offset else text.removeprefix('\ufeff'), used
