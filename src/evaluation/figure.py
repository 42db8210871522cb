"""The paper's figures with results of ours: each metric against the model's size. No TensorFlow."""

import contextlib
import math
import os

from evaluation.results import PUBLISHED
from evaluation.ticks import mark_powers, mark_sizes
from loading.model_files import RELEASED
from support.files import replacing

DOTS_PER_INCH = 200
INK, FAINT, PAPER = '#222222', '#666666', 'white'
# Shapes tell protocols apart in print; the colours (of Okabe and Ito, and Tol) to the colour-blind.
STYLES = [('o', '#0072B2'), ('s', '#D55E00'), ('^', '#009E73'), ('D', '#AA4499'), ('v', '#332288')]
# Published values are crosses in black: printed ones thin, those traced from a figure hollow.
PRINTED = dict(marker='x', markersize=5.5, color=INK)
TRACED = dict(marker='X', markersize=6, color=INK, markerfacecolor='none', markeredgewidth=0.8)
STYLE = {
    'font.size': 8,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.edgecolor': FAINT,
    'axes.labelcolor': INK,
    'text.color': INK,
    'xtick.color': FAINT,
    'ytick.color': FAINT,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'svg.hashsalt': 'gpt-2',  # the same results give the same file
}


def names_of(protocols):
    """{protocol: what tells it from the others}, in a few words."""
    words = {
        (task, metric, share): [
            *task.split('_'),
            *metric.split('_'),
            *([f'stride {share:.2g} of the context'] if share else []),
        ]
        for task, metric, share in protocols
    }
    common = set.intersection(*map(set, words.values()))
    return {
        protocol: ' '.join(word for word in own if word not in common) or 'main protocol'
        for protocol, own in words.items()
    }


def series_of(panel, points):
    """{name: its points}: of each column of a panel, and of each protocol of a column."""
    series = {}
    for column, name in zip(panel.columns, panel.names, strict=True):
        own = [point for point in points if point.column == column]
        names = names_of(dict.fromkeys(point.protocol for point in own)) if own else {}
        for protocol, words in names.items():
            full = ', '.join(filter(None, [name, words])) if len(names) > 1 else name or words
            series[full] = [point for point in own if point.protocol == protocol]
    return series


@contextlib.contextmanager
def drawing(picture, panels):
    """The matplotlib Figure of panels; to be saved within the `with` block, where its style holds.

    picture: Picture.  panels: {Panel: its points}, those with points.
    Raises ValueError if matplotlib is not there.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError('drawing needs matplotlib: pip install matplotlib') from error
    with matplotlib.rc_context(STYLE):
        columns = min(picture.per_row, len(panels))
        rows = math.ceil(len(panels) / columns)
        width, height = picture.size
        size = max(columns * width, 4.9), rows * height + 0.7
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout='constrained')
        all_axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
        points = [point for each in panels.values() for point in each]
        for axes, (panel, own) in zip(all_axes, panels.items(), strict=False):
            draw_panel(axes, panel, own)
        for axes in all_axes[len(panels) :]:
            axes.remove()
        mark_sizes(all_axes[: len(panels)], points)
        for axes in all_axes[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)  # also above a panel that is not there
        figure.supxlabel('parameters (logarithmic)', fontsize='medium')
        add_legend(figure, panels, points, columns)
        yield figure


def draw_panel(axes, panel, points):
    """One metric: the published values, and ours by column and protocol."""
    axes.set_title(panel.title, loc='left', fontweight='bold', fontsize='medium', pad=13.5)
    unit = ' (%)' if panel.measure == 'accuracy' else ''
    source = f'; {panel.source}' if panel.source else ''
    axes.annotate(
        f'{panel.measure}{unit}, {panel.better}{source}',
        (0, 1),
        xytext=(0, 4),
        xycoords='axes fraction',
        textcoords='offset points',
        color=FAINT,
        fontsize=7,
    )
    axes.set_xscale('log')
    axes.grid(axis='y', color='#E5E5E5', linewidth=0.6)
    axes.set_axisbelow(True)
    for column, name in zip(panel.columns, panel.names, strict=True):
        draw_published(axes, column, name, above=column == panel.columns[0])
        draw_baselines(axes, column)
    series = series_of(panel, points)
    for number, (name, own) in enumerate(series.items()):
        shift = number - (len(series) - 1) / 2
        draw_protocol(axes, own, STYLES[number % len(STYLES)], name, 1.035**shift)
    name_models(axes, points)
    if len(series) > 1:
        shape = dict(fontsize='x-small', handletextpad=0.2, borderaxespad=0.1)
        legend = axes.legend(edgecolor='none', framealpha=0.8, **shape)
        legend.set_zorder(0.8)  # above the grid, but it must not hide a point
    axes.margins(y=0.15 if len(series) == 1 else 0.2)
    if panel.measure == 'perplexity':
        axes.set_yscale('log')
        mark_powers(axes)
    elif not panel.measure.startswith('bits'):
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))


def published(column):
    """The published values of a column: list of (parameters, value, whether it is traced)."""
    return [
        (model['parameters'], model['results'][column], column in model['from_figure'])
        for model in PUBLISHED['models'].values()
        if column in model['results']
    ]


def draw_published(axes, column, name, above):
    """The published values, with a name at the last one where the panel has several columns."""
    known = published(column)
    if not known:
        return
    axes.plot(*list(zip(*known, strict=True))[:2], ':', color=FAINT, linewidth=0.9)
    for style, traced in ((PRINTED, False), (TRACED, True)):
        some = [(x, y) for x, y, of_figure in known if of_figure == traced]
        if some:  # Above ours, which would hide them where we agree.
            axes.plot(*zip(*some, strict=True), linestyle='', zorder=4, **style)
    if name and len(known) == 1:
        write_name(axes, name, known[0][:2], color=FAINT, xytext=(-6, 0), ha='right', va='center')
    elif name:
        side = dict(xytext=(3, 5), va='bottom') if above else dict(xytext=(3, -5), va='top')
        write_name(axes, name, known[-1][:2], color=FAINT, ha='right', **side)


def draw_baselines(axes, column):
    """Lines across the panel, named at its right: dashed where they are traced."""
    traced = PUBLISHED['baselines_from_figure'].get(column, ())
    for name, value in PUBLISHED['baselines'].get(column, {}).items():
        dashes = (0, (4, 2)) if name in traced else '-'
        axes.axhline(value, color=FAINT, linewidth=0.6, linestyle=dashes, zorder=0.9)
        place = dict(xytext=(3, 0), textcoords='offset points', va='center', fontsize=6)
        where = dict(xycoords=('axes fraction', 'data'), annotation_clip=False)
        axes.annotate(name, (1, value), color=FAINT, **place, **where)


def draw_protocol(axes, points, style, name, shift):
    """Our points of one protocol; a line joins the released models."""
    marker, color = style
    series = {p.parameters: p.value for p in points if p.model in RELEASED}
    if series:
        sizes, values = zip(*sorted(series.items()), strict=True)
        axes.plot([size * shift for size in sizes], values, color=color, linewidth=0.9)
    for point in points:
        x = point.parameters * shift
        if all(map(math.isfinite, point.interval)):
            axes.vlines(x, *point.interval, color=color, linewidth=1)
        face = PAPER if point.part else color
        axes.plot(
            x, point.value, marker, color=color, markerfacecolor=face, markersize=4.5, zorder=3
        )
    axes.plot([], [], marker, color=color, markersize=4.5, label=name)


def name_models(axes, points):
    """Write the names of models that were not released beside their first points."""
    for point in {point.model: point for point in reversed(points)}.values():
        if point.model not in RELEASED:
            write_name(axes, point.model, (point.parameters, point.value), xytext=(6, 4))


def write_name(axes, name, where, **place):
    """Write a name beside a point, on whatever is there.  xytext: points from it."""
    from matplotlib.patheffects import withStroke

    place |= dict(textcoords='offset points', fontsize=7, zorder=2.5)
    text = axes.annotate(name, where, parse_math=False, **place)
    text.set_path_effects([withStroke(linewidth=2, foreground=PAPER)])


def add_legend(figure, panels, points, columns):
    from matplotlib.lines import Line2D

    marker, color = STYLES[0]
    ours = dict(color=color, marker=marker, markersize=4.5)
    theirs = [value for panel in panels for column in panel.columns for value in published(column)]
    whose = 'published' if any(panel.source for panel in panels) else 'Radford et al. 2019'
    entries = []
    if any(not traced for _, _, traced in theirs):
        entries.append(dict(PRINTED, label=whose))
    if any(traced for _, _, traced in theirs):
        entries.append(dict(TRACED, label=f'{whose}, traced from figures'))
    if any(not point.part for point in points):
        entries.append(dict(ours, linestyle='-', label='measured, 95 % interval'))
    if any(point.part for point in points):
        entries.append(
            dict(ours, markerfacecolor=PAPER, label='not on the whole set (--limit, --any_size)')
        )
    handles = [Line2D([], [], **dict(linestyle='') | entry) for entry in entries]
    figure.legend(handles=handles, loc='outside upper left', ncols=columns, frameon=False)


def write(figure, name):
    """Write NAME.png and NAME.svg; either appears when it is complete."""
    folder = os.path.dirname(name)
    if folder:
        os.makedirs(folder, exist_ok=True)
    for ending, metadata in (('png', {'Software': None}), ('svg', {'Date': None})):
        with replacing(f'{name}.{ending}', binary=True) as file:
            figure.savefig(file, format=ending, metadata=metadata)
