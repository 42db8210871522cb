"""Trust on first use: files of which no digest was published are compared with what came first.

The folder's checksums.json has the size and the SHA-256 of each file when it was downloaded.
"""

import dataclasses
import json
import os

from downloads import fetch
from support.files import replacing

RECORD = 'checksums.json'


class FirstUse:
    """What is recorded of the files in a folder."""

    def __init__(self, folder):
        self.path = os.path.join(folder, RECORD)

    def _recorded(self):
        """{file: {size, sha256, ...}}; {} where nothing is. ValueError for what is no record."""
        try:
            with open(self.path, encoding='utf-8') as f:
                recorded = json.load(f)
            for entry in recorded.values():
                entry['size'], entry['sha256']
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f'{self.path} is damaged: remove it to record anew') from error
        return recorded

    def expected(self, file):
        """A RemoteFile with what is recorded of it, if no digest was published."""
        entry = self._recorded().get(os.path.basename(file.path))
        if file.sha256 or entry is None:
            return file
        return dataclasses.replace(file, size=entry['size'], sha256=entry['sha256'])

    def record(self, file, evidence):
        """Note what a file is now, unless it is noted or was published. Returns its SHA-256.

        evidence: what spoke for it when it came, as fetch.verify says it.
        """
        name, recorded = os.path.basename(file.path), self._recorded()
        if file.sha256 or name in recorded:
            return file.sha256 or recorded[name]['sha256']
        entry = {
            'size': os.path.getsize(file.path),
            'sha256': fetch.digest(file.path, 'sha256'),
            'evidence': evidence,
        }
        with replacing(self.path) as f:
            json.dump(recorded | {name: entry}, f, indent=2)
            f.write('\n')
        return entry['sha256']
