"""AUROC by the length of texts: a panel for each source, a line for each judge."""

import importlib.util
import os

from detection.tables import named
from detection.trials import ALL
from support.files import replacing

COLORS = ['#0072B2', '#D55E00', '#009E73', '#AA4499', '#332288', '#888833', '#DDAA33', '#555555']
MARKERS = 'osD^v<>P'
DOTS_PER_INCH = 200
STYLE = {
    'font.size': 8,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.titlesize': 'medium',
    'axes.linewidth': 0.6,
    'legend.frameon': False,
    'svg.hashsalt': 'detectors',
}


def check_matplotlib():
    """Raise ValueError if there is no matplotlib to draw with."""
    if importlib.util.find_spec('matplotlib') is None:
        raise ValueError('drawing needs matplotlib: pip install matplotlib')


def draw(cells, path):
    """Write the figure of an evaluation as .png or .svg.  cells: as trials.evaluate gives them."""
    import matplotlib
    from matplotlib.figure import Figure

    sources = list(dict.fromkeys(cell['source'] for cell in cells))
    judges = list(dict.fromkeys(named(cell) for cell in cells))
    lengths = sorted(
        {cell['length'] for cell in cells}, key=lambda n: (n == ALL, n if n != ALL else 0)
    )
    with matplotlib.rc_context(STYLE):
        size = 1.2 + 2.1 * len(sources), 2.3 + 0.16 * len(judges)
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout='constrained')
        panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
        for panel, source in zip(panels, sources, strict=True):
            draw_panel(panel, source, judges, lengths, cells)
        panels[0].set_ylabel('AUROC')
        handles, labels = panels[0].get_legend_handles_labels()
        for text in figure.legend(handles, labels, loc='outside lower left').get_texts():
            text.set_parse_math(False)
        ending = os.path.splitext(path)[1].lstrip('.')
        with replacing(path, binary=True) as file:
            figure.savefig(
                file, format=ending, metadata={'Date': None} if ending == 'svg' else None
            )


def draw_panel(axes, source, judges, lengths, cells):
    axes.set_title(source, parse_math=False)
    axes.axhline(0.5, color='#999999', linewidth=0.6, linestyle=':')
    axes.axhline(1, color='#E5E5E5', linewidth=0.6)
    for number, judge in enumerate(judges):
        points = {
            cell['length']: cell
            for cell in cells
            if named(cell) == judge and cell['source'] == source
        }
        places = [place for place, length in enumerate(lengths) if length in points]
        its = [points[lengths[place]] for place in places]
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        line = dict(color=color, marker=marker, markersize=3, linewidth=1, label=judge)
        axes.plot(places, [cell['auroc'] for cell in its], **line)
        ends = [cell['auroc_interval'] or [cell['auroc']] * 2 for cell in its]
        axes.vlines(places, *zip(*ends, strict=True), color=color, linewidth=0.6, alpha=0.5)
    axes.set_xticks(range(len(lengths)), list(map(str, lengths)))
    axes.set_xlabel('tokens')
