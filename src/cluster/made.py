"""The parts of a script's work: made by whoever its flags say, then read, then gone. No TensorFlow.

with contextlib.suppress(Prepared):
    with made_parts(spread, path, job, items, at_most=64) as folder:
        for path in folder.joined():
            ...
"""

import contextlib

from cluster.parts import PartsFolder
from support import stopping


class Prepared(Exception):
    """The folder of parts is written, for others to make them; there is nothing else to do yet."""


@contextlib.contextmanager
def made_parts(spread, path, job, items, at_most, desc=None, unit='it', done=0):
    """Have all parts of a job made; yields their PartsFolder, which is removed after the block.

    spread: flags.Spread.  path: of the folder.  items: sequence of what each item is made from.
    at_most: items that take about a minute.
    desc, unit: of the progress bar.  done: as PartsFolder has it.
    Raises Prepared where the flags ask for no more than the folder. If the block raises anything
    the parts stay, and the same command goes on with them.
    """
    size = spread.size_of_parts(path, len(items), at_most)
    with (
        PartsFolder(path, job, len(items), size, items, done) as folder,
        stopping.keeping(f'{path} keeps what is made: run the same command again to go on'),
    ):
        if not spread.carry_out(folder, desc, unit):
            raise Prepared
        yield folder
        folder.remove()
