"""The paper's figure 5: which share of documents has at most so much overlap."""

import importlib.util

import numpy as np

from evaluation.figure import DOTS_PER_INCH, FAINT, STYLE, STYLES

LEAST = 0.1  # percent, where the axis begins: what is below is counted there
LINES = '-', '--', ':'  # where there are more files than colours


def check_matplotlib():
    """Raise ValueError if there is no matplotlib to draw with."""
    if importlib.util.find_spec('matplotlib') is None:
        raise ValueError('drawing needs matplotlib: pip install matplotlib')


def draw(counts, write):
    """Draw the cumulative distribution of overlap over documents, a line for each file.

    counts: list of Counts.
    write: called with the matplotlib Figure.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.9), dpi=DOTS_PER_INCH, layout='constrained')
        axes = figure.subplots()
        for number, each in enumerate(counts):
            percents = each.percents()
            if len(percents):
                color = STYLES[number % len(STYLES)][1]
                line = dict(color=color, linestyle=LINES[number // len(STYLES) % len(LINES)])
                axes.step(*steps(percents), where='post', label=each.name, **line)
        axes.set_xscale('log')
        axes.set_xlim(LEAST, 100)
        axes.set_ylim(0, 1.02)
        axes.xaxis.set_major_formatter(lambda value, _: f'{value:g} %')
        axes.set_xlabel('8-grams that are in the training text, at most (logarithmic)')
        axes.set_ylabel('share of documents')
        axes.grid(color='#E5E5E5', linewidth=0.6)
        small = dict(edgecolor='none', labelcolor=FAINT, fontsize='x-small')
        for name in axes.legend(loc='lower right', **small).get_texts():
            name.set_parse_math(False)
        write(figure)


def steps(percents):
    """(x, y) of the empirical distribution: the share y of percents [D] that are at most x."""
    x = np.unique([LEAST, *percents[percents > LEAST], 100])
    return x, np.searchsorted(np.sort(percents), x, side='right') / len(percents)
