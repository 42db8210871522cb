"""The files of a model's samples, which an interrupted run continues. No TensorFlow.

A record begins as OpenAI's do, {"id", "ended", "length", "text"}, and goes on with what made it:
"model", "weights", "dtype", "seed", "temperature", "top_k", "top_p" and the "limit" of tokens; it
has "shards" where the text depends on it (fast.shards_of_file), and "tokens" if that is asked for.
"""

import json
import os

from detection.records import SPLITS, path_of
from generation.sample_file import (
    EARLIER,
    check_part,
    complete_lines,
    hold,
    refuse_devices,
)
from support.files import open_named, sync, sync_folder

BEGINNING = b'{"id": %d, "ended": '  # of the record in a line, as json.dumps writes it


class SplitFile:
    """Appends records to the file of one split, which is new or was begun in the same way.

    ids: range, those that the file is to hold, in this order.
    made_by: (id) -> dict of what else a record says.  tokens: whether records hold tokens.
    next: the first id that it lacks.
    Raises ValueError, and leaves the file as it is, if it holds anything else, or another process
    writes to it. A last line that was cut off is dropped.
    """

    def __init__(self, path, ids, made_by, tokens=False):
        self.path, self.ids, self.made_by, self.tokens = path, ids, made_by, tokens
        self.next, complete = ids.start, 0
        refuse_devices(path)
        self.file = open_named(path, 'ab')
        try:
            hold(self.file)
            for record, end in complete_lines(path, self._beginning, check_record):
                self._check(record)
                self.next += 1
                complete = end
            self.file.truncate(complete)
        except BaseException:
            self.close()
            raise

    def _beginning(self, line):
        return BEGINNING % (self.ids.start + line - 1)

    def _check(self, record):
        if self.next >= self.ids.stop:
            raise ValueError(
                f'{self.path} holds more than {len(self.ids):,} records: name its size'
            )
        expected = {'id': self.next, **self.made_by(self.next)}
        theirs = EARLIER | record
        for name, value in expected.items():
            if theirs.get(name) != value:
                raise ValueError(
                    f'{self.path} has a record with {name} {theirs.get(name)!r}, not {value!r}: '
                    'repeat its settings and sizes to continue it, or choose another folder'
                )
        if ('tokens' in record) != self.tokens:
            has = 'tokens' if 'tokens' in record else 'no tokens'
            raise ValueError(f'{self.path} has records with {has}: repeat its --tokens')

    def write(self, text, tokens, ended):
        """Append the next record, and see to it that it outlives this process."""
        sample = self.next, text, tokens, ended
        self.file.write(line_of(*sample, self.made_by(self.next), self.tokens))
        self.file.flush()
        self.next += 1

    def append(self, line):
        """Append the line of the next record, which `sync` has on the disk."""
        self.file.write(line)
        self.next += 1

    def sync(self):
        sync(self.file)
        sync_folder(os.path.dirname(self.path) or '.')

    def close(self):
        self.file.close()


def line_of(number, text, tokens, ended, made_by, with_tokens):
    """The line of a record, bytes.  made_by: dict of what else it says."""
    record = {'id': number, 'ended': ended, 'length': len(tokens), 'text': text, **made_by}
    if with_tokens:
        record['tokens'] = tokens
    # A model's folder may have a name that is not UTF-8: then JSON has an escape for it.
    line = json.dumps(record, ensure_ascii=False) + '\n'
    return line.encode('utf-8', errors='backslashreplace')


def check_record(record):
    for name in ('id', 'ended', 'length', 'text'):
        record[name]


class Splits:
    """The three files of a source, whose ids run through them; use it in a `with` block.

    source: FOLDER/SOURCE.  sizes: how many records each of SPLITS is to hold; one of 0 has no file.
    """

    def __init__(self, source, sizes, made_by, tokens=False):
        self.files, start = [], 0
        os.makedirs(os.path.dirname(source) or '.', exist_ok=True)
        try:
            for split, size in zip(SPLITS, sizes, strict=True):
                ids = range(start, start + size)
                if size:
                    self.files.append(SplitFile(path_of(source, split), ids, made_by, tokens))
                start += size
        except BaseException:
            self.close()
            raise

    def missing(self):
        """The ids that the files lack, in their order."""
        return [number for file in self.files for number in range(file.next, file.ids.stop)]

    def write(self, number, *sample):
        """Append a record to the file that its id belongs to, whose next one it must be."""
        file = self._file_of(number)
        assert number == file.next
        file.write(*sample)

    def append(self, path, first, count):
        """Append what the files lack of a part, and have it on the disk.

        path: of a file of `count` records from id `first` on; ValueError for anything else, of
        which nothing is appended.
        """
        check_part(path, first, count, lambda number: BEGINNING % number, check_record)
        with open(path, 'rb') as part:
            for number, line in enumerate(part, start=first):
                file = self._file_of(number)
                if number == file.next:
                    file.append(line)
        for file in self.files:
            file.sync()

    def _file_of(self, number):
        return next(file for file in self.files if number in file.ids)

    def close(self):
        for file in self.files:
            file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
