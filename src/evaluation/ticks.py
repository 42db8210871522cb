"""Where the axes of a figure have ticks: at the sizes of models, and at round numbers.

No TensorFlow.
"""

import itertools
import math

from evaluation.results import PUBLISHED


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
