"""The files of the data sets: where they are, and errors that name the command which fetches them.

evaluation_files.json says what src/download_data.py brings, and how much each file holds. A set
that it does not know is one that users put into the data folder themselves. No TensorFlow.
"""

import contextlib
import json
import os

from loading.model_files import shell_word
from support.documents import decode
from support.files import expand

with open(os.path.join(os.path.dirname(__file__), 'evaluation_files.json'), encoding='utf-8') as f:
    MANIFEST = json.load(f)


class DataFile:
    """A file of a set, and what evaluation_files.json says of it, if anything.

    data_dir: the folder with a folder for each set; `~` and environment variables are expanded.
    complete: whether a file that holds less or more than was published is an error; False is for
        extracts of these files.
    """

    def __init__(self, data_dir, set_name, name, complete):
        self.data_dir, self.set_name, self.complete = data_dir, set_name, complete
        self.path = os.path.join(expand(data_dir), set_name, name)
        self.known = known_files(MANIFEST['sets'].get(set_name, {})).get(name, {})

    @contextlib.contextmanager
    def complaints(self):
        """Say in an error which file it is about, and how to get the right one."""
        remedy = self.remedy()
        try:
            yield
        except FileNotFoundError:
            raise ValueError(f'there is no {self.path}; {remedy}') from None
        except OSError as error:
            raise ValueError(f'{self.path} cannot be read ({error.strerror}); {remedy}') from error
        except ValueError as error:
            reason = str(error).removeprefix(self.path).lstrip(': ')
            raise ValueError(f'{self.path} is not right: {reason}; {remedy}') from error

    def remedy(self):
        if self.set_name not in MANIFEST['sets']:
            return 'put the right one there'
        where = '' if self.data_dir == 'data' else f' --data_dir {shell_word(str(self.data_dir))}'
        return f'get it with: python3 src/download_data.py {self.set_name}{where}'

    def text(self):
        with open(self.path, 'rb') as f:
            text = decode(f.read(), self.path)
        if not text.strip():
            raise ValueError('it is empty')
        return text

    def lines(self):
        r"""The lines, without their ends, which are \n or \r\n."""
        return [line.removesuffix('\r') for line in self.text().removesuffix('\n').split('\n')]

    def records(self, *fields):
        """The JSON objects of a file with one a line, a list of dict that have these fields."""
        records = []
        for number, line in enumerate(self.lines(), start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f'line {number} is not JSON ({error})') from error
            if not isinstance(record, dict) or not record.keys() >= set(fields):
                raise ValueError(f'line {number} is not an object with {", ".join(fields)}')
            records.append(record)
        return records

    def require(self, found, unit):
        """Raise ValueError if the file holds nothing, or not as much as was published."""
        published = self.known.get(unit)
        unit = 'bytes' if unit == 'size' else unit
        if not found:
            raise ValueError(f'it has no {unit}')
        if self.complete and published not in (None, found):
            raise ValueError(f'it has {found:,} {unit} instead of {published:,}')


def known_files(downloads):
    """What is known of the files of a set, by name, those unpacked from archives included."""
    known = {}
    for name, download in downloads.items():
        members = download.get('members')
        known |= {m['file']: m for m in members.values()} if members else {name: download}
    return known


def known_choice(name, value, choices):
    """choices[value]; raises ValueError, with what there is to choose from, if it is not there."""
    if value not in choices:
        raise ValueError(f'{name} is {value!r}, not one of {", ".join(map(str, choices))}')
    return choices[value]
