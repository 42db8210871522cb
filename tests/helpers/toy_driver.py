"""A program whose workers make the parts of a toy job: toy_driver.main PATH OUTPUT --workers 2.

Its log says when it has begun, and its end is that of any script.
"""

import pathlib

from cluster.flags import Spread, takes_workers
from cluster.parts import PartsFolder
from helpers.toy_parts import toy_job
from support import command_line


@takes_workers
def main(
    folder: str,
    *,
    n_items: int = 40,
    seconds: float = 0.01,
    log: str = None,
    workers: int = None,
    scheduler: str = None,
    part_size: int = 2,
):
    """Make n_items lines in FOLDER/whole.

    Args:
        <workers>
    """
    folder = pathlib.Path(folder)
    spread = Spread(workers, scheduler, None, part_size)
    job = toy_job(seconds=seconds, log=log)
    with PartsFolder(spread.folder(folder / 'whole'), job, n_items, part_size) as parts:
        if spread.carry_out(parts, unit='items'):
            whole = b''.join(pathlib.Path(path).read_bytes() for path in parts.joined())
            (folder / 'whole').write_bytes(whole)
            parts.remove()


if __name__ == '__main__':
    command_line.run(main)
