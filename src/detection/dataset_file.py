"""The files of a model's samples, which an interrupted run continues. No TensorFlow.

A record begins as OpenAI's do, {"id", "ended", "length", "text"}, and goes on with what made it:
"model", "weights", "dtype", "seed", "temperature", "top_k", "top_p" and the "limit" of tokens; it
has "tokens", too, if that is asked for.
"""

import json
import os

from detection.records import SPLITS, path_of
from generation.sample_file import complete_lines, hold, refuse_devices
from support.files import open_named

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
        for name, value in expected.items():
            if record.get(name) != value:
                raise ValueError(
                    f'{self.path} has a record with {name} {record.get(name)!r}, not {value!r}: '
                    'repeat its settings and sizes to continue it, or choose another folder'
                )
        if ('tokens' in record) != self.tokens:
            has = 'tokens' if 'tokens' in record else 'no tokens'
            raise ValueError(f'{self.path} has records with {has}: repeat its --tokens')

    def write(self, text, tokens, ended):
        """Append the next record, and see to it that it outlives this process."""
        record = {'id': self.next, 'ended': ended, 'length': len(tokens), 'text': text}
        record |= self.made_by(self.next)
        if self.tokens:
            record['tokens'] = tokens
        # A model's folder may have a name that is not UTF-8: then JSON has an escape for it.
        line = json.dumps(record, ensure_ascii=False) + '\n'
        self.file.write(line.encode('utf-8', errors='backslashreplace'))
        self.file.flush()
        self.next += 1

    def close(self):
        self.file.close()


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
        file = next(file for file in self.files if number in file.ids)
        assert number == file.next
        file.write(*sample)

    def close(self):
        for file in self.files:
            file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
