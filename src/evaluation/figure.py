"""The paper's figure with results of ours: each metric against the model's size. No TensorFlow."""

import contextlib
import itertools
import json
import math
import os
from typing import NamedTuple

from evaluation.results import DAMAGE, PUBLISHED
from loading.model_files import RELEASED
from support.files import replacing, shown

PER_ROW = 3
PANEL_SIZE = 2.45, 2.05  # inches; three beside each other fill a page of print
DOTS_PER_INCH = 200
INK, FAINT, PAPER = '#222222', '#666666', 'white'
# Shapes tell protocols apart in print; the colours (of Okabe and Ito, and Tol) to the colour-blind.
STYLES = [('o', '#0072B2'), ('s', '#D55E00'), ('^', '#009E73'), ('D', '#AA4499'), ('v', '#332288')]
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


class Point(NamedTuple):
    """A figure of a model.

    column: of published_results.json.
    protocol: (task, metric, stride as a share of the context), how it was measured.
    interval: (low, high), nan where there is none.
    part: it is of a part of the set, or of other files, only.
    """

    model: str
    parameters: int
    column: str
    protocol: tuple
    value: float
    interval: tuple[float, float]
    part: bool


def read_points(path):
    """The points of a file that zero_shot.py has written, those that the paper has too.

    Raises ValueError if there is no such file, or it holds something else.
    """
    if os.path.isdir(path) or not os.path.exists(path):
        what = 'is a folder' if os.path.isdir(path) else 'is not there'
        raise ValueError(
            f'{path} {what}: give files that zero_shot.py wrote, RESULTS_DIR/NAME.json'
        )
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        return [
            point_of(content, task.split('@')[0], metric, figure)
            for task, figures in content['tasks'].items()
            for metric, figure in figures.items()
            if figure['column'] in PUBLISHED['columns']
            and figure['value'] is not None  # beyond all floats, and any axis
            # A second stride of a task, whose figures are nearly the same, is left to the table.
            and not ('@' in task and task.split('@')[0] in content['tasks'])
        ]
    except DAMAGE as error:
        raise ValueError(f'{path} holds no results that zero_shot.py has written') from error


def point_of(content, task, metric, figure):
    """The Point of one figure of a task, in the content of a file of results."""
    low, high = figure['interval'] or (math.nan, math.nan)
    stride = figure['stride']
    return Point(
        model=shown(content['model']),
        parameters=int(float(content['parameters'])),  # it is drawn as a float
        column=figure['column'],
        protocol=(task, metric, None if stride is None else stride / figure['context']),
        value=float(figure['value']),
        interval=(float(low), float(high)),
        part=content['limit'] is not None or content['any_size'],
    )


def panels_of(points):
    """{column: its points}, in the paper's order, without what cannot or need not be drawn."""
    finite = [point for point in points if math.isfinite(point.value) and point.parameters > 0]
    whole = {(point.model, point.protocol) for point in finite if not point.part}
    kept = [p for p in finite if not p.part or (p.model, p.protocol) not in whole]
    panels = {
        column: [point for point in kept if point.column == column]
        for column in PUBLISHED['columns']
    }
    return {column: points for column, points in panels.items() if points}


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


@contextlib.contextmanager
def drawing(panels):
    """The matplotlib Figure of panels; to be saved within the `with` block, where its style holds.

    Raises ValueError if matplotlib is not there.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError('drawing needs matplotlib: pip install matplotlib') from error
    with matplotlib.rc_context(STYLE):
        columns = min(PER_ROW, len(panels))
        rows = math.ceil(len(panels) / columns)
        width, height = PANEL_SIZE
        size = max(columns * width, 2 * width), rows * height + 0.7
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout='constrained')
        all_axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
        points = [point for each in panels.values() for point in each]
        for axes, (column, own) in zip(all_axes, panels.items(), strict=False):
            draw_panel(axes, column, own)
        for axes in all_axes[len(panels) :]:
            axes.remove()
        mark_sizes(all_axes[: len(panels)], points)
        for axes in all_axes[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)  # also above a panel that is not there
        figure.supxlabel('parameters (logarithmic)', fontsize='medium')
        add_legend(figure, points, columns)
        yield figure


def draw_panel(axes, column, points):
    """One metric: the published values, and ours by protocol."""
    title, measure = (PUBLISHED['columns'][column][key] for key in ('title', 'measure'))
    better = 'higher' if measure == 'accuracy' else 'lower'
    arrow = '↑' if better == 'higher' else '↓'
    axes.set_title(title, loc='left', fontweight='bold', fontsize='medium', pad=13.5)
    axes.annotate(
        f'{measure}{" (%)" * (measure == "accuracy")}, {better} is better {arrow}',
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
    draw_published(axes, column)
    names = names_of(dict.fromkeys(point.protocol for point in points))
    for number, (protocol, name) in enumerate(names.items()):
        own = [point for point in points if point.protocol == protocol]
        shift = number - (len(names) - 1) / 2
        draw_protocol(axes, own, STYLES[number % len(STYLES)], name, 1.035**shift)
    name_models(axes, points)
    if len(names) > 1:
        shape = dict(fontsize='x-small', handletextpad=0.2, borderaxespad=0.1)
        legend = axes.legend(edgecolor='none', framealpha=0.8, **shape)
        legend.set_zorder(0.8)  # above the grid, but it must not hide a point
    axes.margins(y=0.15 if len(names) == 1 else 0.2)
    if measure == 'perplexity':
        axes.set_yscale('log')
        mark_powers(axes)
    if measure == 'accuracy':
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -2), min(high, 102))


def draw_published(axes, column):
    models = PUBLISHED['models'].values()
    known = [(m['parameters'], m['results'][column]) for m in models if column in m['results']]
    axes.plot(*zip(*known, strict=True), ':', color=FAINT, linewidth=0.9)
    # Above ours, which would hide them where we agree.
    axes.plot(*zip(*known, strict=True), 'x', color=INK, markersize=5.5, zorder=4)


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
    from matplotlib.patheffects import withStroke

    for point in {point.model: point for point in reversed(points)}.values():
        if point.model not in RELEASED:
            place = dict(xytext=(6, 4), textcoords='offset points', fontsize=7, zorder=2.5)
            where = (point.parameters, point.value)
            text = axes.annotate(point.model, where, parse_math=False, **place)
            text.set_path_effects([withStroke(linewidth=2, foreground=PAPER)])


def mark_sizes(all_axes, points):
    """Ticks where there are models; upright labels where they would touch each other."""
    sizes = [model['parameters'] for model in PUBLISHED['models'].values()]
    others = {point.parameters for point in points}
    low, high = min(*sizes, *others) / 1.35, max(*sizes, *others) * 1.35
    span = math.log(high / low)
    for size in sorted(others):
        if all(abs(math.log(size / known)) > 0.06 * span for known in sizes):
            sizes.append(size)
    closest = min(b / a for a, b in itertools.pairwise(sorted(sizes)))
    crowded = math.log(closest) < 0.18 * span
    for axes in all_axes:
        axes.set_xlim(low, high)
        axes.set_xticks(sizes, [short(size) for size in sizes], rotation=90 if crowded else 0)
        axes.minorticks_off()


def short(n):
    """A number of parameters: 1558M, 3.5M, 26K."""
    for unit, name in ((1e6, 'M'), (1e3, 'K')):
        if n >= unit:
            return f'{n / unit:.0f}{name}' if n >= 10 * unit else f'{n / unit:.1f}{name}'
    return str(n)


def mark_powers(axes):
    """A few round numbers on a logarithmic axis, also where it spans less than a power of ten."""
    low, high = axes.get_ylim()
    axes.set_yticks(round_numbers(low, high))
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:,.6g}')
    axes.minorticks_off()


def round_numbers(low, high):
    """At least three numbers between two, as round as can be."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= max(n for n in (1, 2, 5) if (high - low) / (n * step) >= 2)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def add_legend(figure, points, columns):
    from matplotlib.lines import Line2D

    marker, color = STYLES[0]
    ours = dict(color=color, markersize=4.5)
    entries = [
        Line2D(
            [],
            [],
            marker='x',
            markeredgecolor=INK,
            linestyle=':',
            color=FAINT,
            label='Radford et al. 2019',
        ),
    ]
    if any(not point.part for point in points):
        entries.append(Line2D([], [], marker=marker, label='measured, 95 % interval', **ours))
    if any(point.part for point in points):
        hollow = dict(marker=marker, markerfacecolor=PAPER, linestyle='')
        entries.append(
            Line2D([], [], label='not on the whole set (--limit, --any_size)', **hollow, **ours)
        )
    figure.legend(handles=entries, loc='outside upper left', ncols=columns, frameon=False)


def write(figure, name):
    """Write NAME.png and NAME.svg; either appears when it is complete."""
    folder = os.path.dirname(name)
    if folder:
        os.makedirs(folder, exist_ok=True)
    for ending, metadata in (('png', {'Software': None}), ('svg', {'Date': None})):
        with replacing(f'{name}.{ending}', binary=True) as file:
            figure.savefig(file, format=ending, metadata=metadata)
