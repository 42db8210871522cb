"""The documents in files of text. No TensorFlow."""

import glob
import json
import os
import sys

from encoder import check_surrogates

ENDINGS = ('.txt', '.jsonl')  # of the files that are looked for in a folder
STANDARD_INPUT = '-'


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
