"""The samplers of an output dataset: how they are named, and how much of a nucleus each text has.

No TensorFlow.
"""

import random
import re
import typing

from support.settings import Settings

MENU = 't1 (no truncation), k40 (top-k 40), nucleus (p drawn for each text), p0.9 (p fixed)'
DIGITS = 4  # of a p that is drawn


class Sampler(typing.NamedTuple):
    """name: as in --samplers.  top_p: the range that each text draws its p from."""

    name: str
    temperature: float = 1
    top_k: int = 0
    top_p: tuple = (1, 1)

    @property
    def suffix(self):
        """What the published files add to the name of the model."""
        return '' if self.name == 't1' else f'-{self.name}'

    def p_of(self, seed, number):
        """The p of a text, which depends on these two alone."""
        low, high = self.top_p
        if low == high:
            return low
        drawn = random.Random(f'{seed} {number}').random()  # promised to stay the same
        return round(low + (high - low) * drawn, DIGITS)

    def settings(self, **more):
        """The Settings that all texts share; each has its own p."""
        return Settings(temperature=self.temperature, top_k=self.top_k, **more)


def samplers_named(names, top_p_range):
    """The Samplers of a list of names, separated by commas. ValueError for one that is none."""
    names = [name.strip() for name in names.split(',') if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f'name each sampler once: {MENU}')
    return [sampler_named(name, top_p_range) for name in names]


def sampler_named(name, top_p_range):
    if name == 'nucleus':
        return Sampler(name, top_p=checked(top_p_range))
    if not (match := re.fullmatch(r'([tkp])(\d+|\d*\.\d+)', name)):
        raise ValueError(f'unknown sampler {name!r} (there are: {MENU})')
    kind, number = match[1], float(match[2])
    if kind == 'k' and number != int(number):
        raise ValueError(f'unknown sampler {name!r}: k is a whole number')
    if kind == 'k':
        return Sampler(name, top_k=int(number))
    if kind == 'p':
        return Sampler(name, top_p=checked((number, number)))
    return Sampler(name, temperature=int(number) if number == int(number) else number)


def checked(top_p_range):
    """A range of p; ValueError unless it is one."""
    low, high = top_p_range
    for p in (low, high):
        Settings(length=1, top_p=p)
    if low > high:
        raise ValueError(f'top_p_from must be at most top_p_to, not {low} and {high}')
    return low, high
