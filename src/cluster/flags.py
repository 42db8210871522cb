"""The flags of scripts whose work many processes can share, declared once. No TensorFlow.

    @takes_workers
    def script(..., workers: int = None, scheduler: str = None, parts: str = None,
               part_size: int = None):
        '''...
        Args:
            <workers>
        '''
        spread = Spread(workers, scheduler, parts, part_size)

Dask is imported by those who give such a flag.
"""

import contextlib
import glob
import os
import sys
from typing import NamedTuple

from cluster.parts import JOB, Taking, read_description
from support.checks import check_whole
from support.files import expand
from support.settings import with_help

HELP = {
    'workers': 'share the work among so many processes on this machine, each with its share of '
    'the cores or a GPU; changes no result; 0 only writes the folder of parts, for '
    'src/make_parts.py; None works in this process alone',
    'scheduler': 'share the work among the workers of the Dask scheduler that runs at this '
    'address, tcp://HOST:PORT or tls://HOST:PORT',
    'parts': 'the folder where parts are kept until all are joined, which all workers see; None '
    'is a folder beside the output',
    'part_size': 'how many items a part has; changes no result; None is a minute of work, or less '
    'where each worker would have few parts',
}
PARTS_A_WORKER = 4  # or more, so that none waits long for the last one
WORKERS = 16  # of a cluster, whose number may change


def takes_workers(function):
    """Put the help of these flags where a function's docstring says `<workers>`."""
    return with_help(function, 'workers', HELP)


class Spread(NamedTuple):
    """How the work of a script is shared, as its flags say."""

    workers: int | None = None
    scheduler: str | None = None
    parts: str | None = None
    part_size: int | None = None

    @property
    def asked(self):
        """Whether others than this process are to do the work."""
        return self.workers is not None or self.scheduler is not None

    def check(self):
        """Raise ValueError for what cannot be meant."""
        if self.workers is not None:
            check_whole('workers', self.workers, least=0, remark='0 only writes the folder')
        if self.part_size is not None:
            check_whole('part_size', self.part_size, least=1)
        if self.workers is not None and self.scheduler is not None:
            raise ValueError('workers are either here, --workers, or of a cluster, --scheduler')
        if not self.asked and (self.parts is not None or self.part_size is not None):
            raise ValueError('--parts and --part_size need --workers or --scheduler')

    def folder(self, output):
        """The path of the folder of parts: `output`.parts, unless the flags name one."""
        return os.path.abspath(expand(self.parts or f'{output}.parts'))

    def begun_with(self, name, output):
        """What a setting of the job in the folder of parts is, or None if there is no folder."""
        with contextlib.suppress(ValueError):
            return read_description(self.folder(output))['settings'].get(name)

    def is_begun(self, output):
        """Whether there is a folder of parts, if only because a run was killed as it removed it."""
        return self.asked and os.path.isdir(self.folder(output))

    def check_alone(self, output):
        """Raise ValueError where this process alone is to make an output that has parts beside it.

        They may be hours of work, which it would do again, and leave where they are.
        output: None has none beside it.
        """
        if self.asked or output is None:
            return
        path = self.folder(output)
        if glob.glob(os.path.join(glob.escape(path), '**', JOB), recursive=True):
            raise ValueError(
                f'{path} holds parts that workers have made: go on with them by --workers or '
                '--scheduler, or remove the folder'
            )

    def size_of_parts(self, path, n_items, at_most, batch_size=1):
        """How many items a part is to have.

        path: of the folder, whose size is kept if it is there.
        at_most: items that take about a minute.  batch_size: of which a part has a multiple.
        """
        if self.part_size is not None:
            return self.part_size
        with contextlib.suppress(ValueError):
            return read_description(path)['part_size']
        fair = -(-n_items // (PARTS_A_WORKER * (self.workers or WORKERS)))
        size = max(1, min(at_most, fair))
        return size - size % batch_size if size > batch_size else size

    def carry_out(self, folder, desc=None, unit='items', taken=None):
        """Have the parts of a folder made.  Returns whether all are there: not so with 0 workers.

        folder, desc, unit, taken: as workers.run has them, and its errors.
        """
        if self.workers == 0:
            Taking(folder, taken)
            folder.write_items()
            if missing := folder.missing():
                print(
                    f'{folder.path}: {len(missing)} parts are to be made, by src/make_parts.py; '
                    'then run the same command again',
                    file=sys.stderr,
                )
            return not missing
        from cluster.workers import run

        run(folder, self.workers, self.scheduler, desc, unit, taken)
        return True
