"""What parts are made from, where that is more than the memory holds: JSON values on the disk.

No TensorFlow, no engine.
"""

import array
import contextlib
import hashlib
import json
import os
import tempfile

from support.files import naming


class StoredItems:
    """A sequence of JSON values in a file without a name, which is gone when the process ends.

    values: iterable of what JSON has, read once.  folder: where there is room for them.
    A slice of it is a list, read when it is asked for.  Use it in a `with` block, or close() it.
    `digest`: 16 hexadecimal digits that stand for all of them.
    """

    def __init__(self, values, folder='.'):
        os.makedirs(folder, exist_ok=True)
        digest, self.starts = hashlib.sha256(), array.array('q', [0])
        self.file = tempfile.TemporaryFile(dir=folder)
        try:
            with naming(folder):
                for value in values:
                    line = json.dumps(value, separators=(',', ':')).encode('ascii') + b'\n'
                    digest.update(line)
                    self.file.write(line)
                    self.starts.append(self.starts[-1] + len(line))
                self.file.flush()
        except BaseException:
            self.close()
            raise
        self.digest = digest.hexdigest()[:16]

    def of_size(self, n_bytes):
        """How many of them have so many bytes together, as a mean; at least one."""
        return max(n_bytes * len(self) // max(self.starts[-1], 1), 1)

    def __len__(self):
        return len(self.starts) - 1

    def __getitem__(self, some):
        first, stop, step = some.indices(len(self))
        assert step == 1, 'items are taken one after the other'
        if first >= stop:
            return []
        self.file.seek(self.starts[first])
        lines = self.file.read(self.starts[stop] - self.starts[first])
        return [json.loads(line) for line in lines.splitlines()]

    def __iter__(self):
        for number in range(len(self)):
            yield from self[number : number + 1]

    def close(self):
        with contextlib.suppress(OSError):  # a full disk takes what was still to be written no more
            self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
