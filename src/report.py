#!/usr/bin/env python3
"""Draw results of zero_shot.py as the paper's figure: each metric against the model's size."""

import os

from evaluation.figure import drawing, panels_of, read_points, write
from support import command_line
from support.files import expand, shown


def report(*results: str, output: str = 'zero_shot'):
    """Draw results of zero_shot.py beside the paper's: each metric against the model's size.

    Args:
        results: files that zero_shot.py has written, results/NAME.json, of one model or several
        output: the picture's name; a .png and a .svg are written
    """
    if not results:
        raise ValueError('name the results to draw: python src/report.py results/124M.json ...')
    name = expand(output).removesuffix('.png').removesuffix('.svg')
    if not os.path.basename(name):
        raise ValueError(f'--output {output!r} names no picture')
    points = [point for path in results for point in read_points(expand(path))]
    panels = panels_of(points)
    if not panels:
        raise ValueError(f'there is nothing in {", ".join(results)} that the paper reports too')
    with drawing(panels) as figure:
        write(figure, name)
    print(shown(f'{name}.png'), shown(f'{name}.svg'), sep='\n')


if __name__ == '__main__':
    command_line.run(report)
