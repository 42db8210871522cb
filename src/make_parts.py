#!/usr/bin/env python3
"""Make parts of a folder that another script's --workers 0 has written, without an engine."""

import os
import sys

from cluster.parts import make_share
from support import command_line, stopping
from support.checks import check_whole
from support.files import expand


def make_parts(folder: str, *, part: int = 0, of: int = 1):
    """Make a share of the parts that FOLDER lacks, as a task of a Slurm array does.

    Others may make other shares at the same time. When all parts are there, the command that has
    written the folder joins them: run it again.

    Args:
        folder: the folder of parts, as every machine sees it
        part: which share, from 0
        of: how many shares there are
    """
    check_whole('of', of, least=1)
    check_whole('part', part, least=0, below=of)
    with stopping.keeping('the parts that were made are kept'):
        n = make_share(os.path.abspath(expand(folder)), part, of)
    print(f'{n} parts made', file=sys.stderr)


if __name__ == '__main__':
    command_line.run(make_parts)
