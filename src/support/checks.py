"""What a number or a switch that a user gives must be, and the message that says so."""

import math
import numbers

MOST_ROWS = 10**6  # of a batch: so many take minutes, and all memory, before TensorFlow refuses


def is_number(value):
    """Whether it is a real number of any type, NumPy's among them; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_number(name, value, least=-math.inf, above=-math.inf, below=math.inf):
    """Raise ValueError unless `value` is a finite number with least <= value < below, above it."""
    if not is_number(value) or not (least <= value < below and value > above):
        limits = [
            f'at least {least:g}' if least > -math.inf else '',
            f'above {above:g}' if above > -math.inf else '',
            f'below {below:g}' if below < math.inf else '',
        ]
        limits = ' and '.join(filter(None, limits))
        raise ValueError(f'{name} must be a number {limits}, not {value!r}')


def check_whole(name, value, least, below=math.inf, remark=None):
    """Raise ValueError unless `value` is an integer with least <= value < below."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value < below:
        limit = '' if below == math.inf else f' and below {below}'
        remark = f' ({remark})' if remark else ''
        raise ValueError(
            f'{name} must be a whole number of at least {least}{limit}{remark}, not {value!r}'
        )


def check_batch_size(value):
    """Raise ValueError unless `value` is a number of rows that some machine has the memory for."""
    check_whole('batch_size', value, least=1)
    if value > MOST_ROWS:
        raise ValueError(f'batch_size must be at most {MOST_ROWS}, for lack of memory, not {value}')


def check_switch(name, value):
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, not {value!r}')
