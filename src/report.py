#!/usr/bin/env python3
"""Draw results of zero_shot.py as the paper's figures: each metric against the model's size."""

import os

from evaluation.figure import drawing, write
from evaluation.pictures import pictures_of
from evaluation.points import read_points
from support import command_line
from support.files import expand, shown


def report(*results: str, output: str = 'zero_shot'):
    """Draw results of zero_shot.py beside the paper's: each metric against the model's size.

    Written are those of these pictures, a .png and a .svg each, of which there are results: NAME of
    Table 3, NAME.figure1 of reading comprehension, translation, summarization and question
    answering, NAME.figure3 of Winograd, NAME.bias of StereoSet and CrowS-Pairs.

    Args:
        results: files that zero_shot.py has written, results/NAME.json, of one model or several
        output: the pictures' NAME
    """
    if not results:
        raise ValueError('name the results to draw: python src/report.py results/124M.json ...')
    name = expand(output).removesuffix('.png').removesuffix('.svg')
    if not os.path.basename(name):
        raise ValueError(f'--output {output!r} names no picture')
    points = [point for path in results for point in read_points(expand(path))]
    pictures = pictures_of(points)
    if not pictures:
        raise ValueError(f'there is nothing in {", ".join(results)} that the paper reports too')
    for ending, (picture, panels) in pictures.items():
        with drawing(picture, panels) as figure:
            write(figure, name + ending)
        print(shown(f'{name}{ending}.png'), shown(f'{name}{ending}.svg'), sep='\n')


if __name__ == '__main__':
    command_line.run(report)
