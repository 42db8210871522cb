"""A JSONL file of samples, one record a line, that an interrupted run can continue. No TensorFlow.

A record: {"sample": number from 1, "text", "tokens", "ended": whether the model ended the text,
"seed", "model", "weights": which state of the model, "dtype", "settings": {...}}, and
"shards" where the text depends on it (fast.shards_of_file).
"""

import contextlib
import itertools
import json
import os

from support.files import FAR, HELD, lock, open_named, sync, sync_folder
from support.settings import DEFAULTS

EARLIER = {'shards': 1}  # of records that were written before there was this field
BEGINNING = b'{"sample": %d, "text": "'  # of the record in each line, as json.dumps writes it


def seed_of(path):
    """The seed of the samples that a file holds, or None if it holds none."""
    for record, _ in complete_records(path):
        return record['seed']
    return None


class SampleFile:
    """Appends records to a file, which is new or was begun with the same model and settings.

    origin: dict that says what makes the samples: "model", "weights", "dtype" and, if need be,
      "shards".
    settings: dict with the seed.
    written, tokens: how many samples the file holds, and how many tokens they have together.
    A last line that was cut off by a crash is dropped, and so are NUL bytes behind the last line,
    which a power failure leaves. Raises ValueError, and leaves the file as it is, if it holds
    something else or samples made otherwise, or another process writes to it.
    """

    def __init__(self, path, origin, settings):
        self.origin, self.settings = as_recorded(origin, settings)
        self.written = self.tokens = complete = 0
        refuse_devices(path)
        self.file = open_named(path, 'ab')
        try:
            hold(self.file)
            for record, end in complete_records(path):
                self._check(path, record)
                self.written += 1
                self.tokens += len(record['tokens'])
                complete = end
            self.file.truncate(complete)
        except BaseException:
            self.close()
            raise

    def _check(self, path, record):
        number = self.written + 1
        if record['sample'] != number:
            raise ValueError(f'{path} line {number} holds sample {record["sample"]}, not {number}')
        theirs = DEFAULTS | EARLIER | record | record['settings']  # it may be older
        for name, value in (self.origin | self.settings).items():
            if theirs.get(name) != value:
                raise ValueError(
                    f'{path} was made with {name}={theirs.get(name)!r}, not {value!r}: repeat its '
                    'settings to continue it, or choose another file'
                )

    def write(self, text, tokens, ended):
        """Append the next sample, and see to it that it outlives this process."""
        sample = self.written + 1, text, tokens, ended
        self.file.write(line_of(*sample, self.origin, self.settings))
        self.file.flush()
        self.written += 1
        self.tokens += len(tokens)

    def append(self, path, first, count):
        """Append what it lacks of a file of records, and have it on the disk.

        first, count: how many samples come before those in that file, and how many it has.
        Raises ValueError, and appends nothing, if the file holds anything else.
        """
        check_part(path, first + 1, count, lambda number: BEGINNING % number, check_record)
        assert first <= self.written, 'parts come in the order of their samples'
        with open(path, 'rb') as part:
            for line in itertools.islice(part, max(self.written - first, 0), None):
                self.file.write(line)
                self.written += 1
        sync(self.file)
        sync_folder(os.path.dirname(self.file.name) or '.')

    def close(self):
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def as_recorded(origin, settings):
    """Where a record tells what: origin, with the seed, and settings without it."""
    others = {name: value for name, value in settings.items() if name != 'seed'}
    return origin | {'seed': settings['seed']}, others


def line_of(number, text, tokens, ended, origin, settings):
    """The line of a sample, bytes; origin and settings as SampleFile has them."""
    record = {'sample': number, 'text': text, 'tokens': tokens, 'ended': ended}
    line = json.dumps(record | origin | {'settings': settings}, ensure_ascii=False) + '\n'
    # A model's folder may have a name that is not UTF-8: then JSON has an escape for it.
    return line.encode('utf-8', errors='backslashreplace')


def complete_records(path):
    """Yield each record of a file of samples, with the offset after it; see `complete_lines`."""
    return complete_lines(path, lambda number: BEGINNING % number, check_record)


def check_record(record):
    """Raise KeyError or TypeError for what is no record of a sample."""
    record['sample'], record['seed'], record['model'], DEFAULTS | record['settings']
    len(record['tokens'])


def complete_lines(path, beginning_of, check):
    """Yield the record in each line of a file, with the offset after it; none if it is not there.

    beginning_of: (number of a line, from 1) -> bytes that its record begins with.
    check: (record), raises KeyError or TypeError for one of another kind.
    Raises ValueError if the file holds anything but records, save a last one that was cut off and
    NUL bytes in the place of what a power failure kept from the disk.
    """
    if not os.path.exists(path):
        return
    refuse_devices(path)
    end = 0
    with open(path, 'rb') as f:
        for number, line in enumerate(f, start=1):
            beginning = beginning_of(number)
            on_disk = line.rstrip(b'\0')
            if not line.endswith(b'\n') and beginning.startswith(on_disk[: len(beginning)]):
                return
            try:
                record = json.loads(line)
                check(record)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(
                    f'{path} line {number} is no record of a sample; not touched'
                ) from error
            end += len(line)
            yield record, end


def check_part(path, first, count, beginning_of, check):
    """Raise ValueError unless a file holds `count` whole records that are numbered from `first` on.

    beginning_of, check: as `complete_lines` has them.
    """
    ends = [0]
    with contextlib.suppress(ValueError):
        ends += (e for _, e in complete_lines(path, lambda n: beginning_of(first + n - 1), check))
    if len(ends) != count + 1 or ends[-1] != os.path.getsize(path):
        raise ValueError(f'{path} is damaged: remove it, and run the same command again')


def refuse_devices(path):
    """Raise ValueError for a device or a pipe, which might be read for ever."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f'{path} is not a regular file')


def hold(file):
    """Keep a file for this process until it is closed; ValueError if another has it."""
    try:
        lock(file, byte=FAR)
    except HELD as error:
        raise ValueError(f'another process is writing to {file.name}') from error
