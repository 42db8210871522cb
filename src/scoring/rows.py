"""Windows packed into rows of a batch, so that they run together. No TensorFlow.

Shapes: S slots in a row.
"""

import itertools
import typing

import numpy as np

SLOT, TARGET, PLACE, OWNER = range(4)  # columns of Row.asked


class Row(typing.NamedTuple):
    """What runs together: a trunk, and branches that each continue it without seeing the others.

    tokens, positions: [S].  branches: [S], 0 in the trunk, else the number of the branch.
    asked: [n, 4], for each token that is scored the SLOT it is predicted in, its id (TARGET), and
    the PLACE it takes among the scores of its OWNER, the number of a window.
    """

    tokens: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    asked: np.ndarray


def row_of(owner, window):
    """A row for one window."""
    return shared_row([(owner, window)])


def shared_row(members):
    """A row for windows with the same trunk, what is before their first scored token.

    members: list of (number of the window, Window).
    """
    n_trunk = members[0][1].first
    tokens, branches = [members[0][1].tokens[:n_trunk]], [np.zeros(n_trunk, np.int32)]
    positions, asked, used = [np.arange(n_trunk)], [], n_trunk
    alone = len(members) == 1
    for number, (owner, window) in enumerate(members, start=1):
        targets = window.tokens[n_trunk:]
        n = len(targets) - 1  # the last one is not read
        slots = np.concatenate([[n_trunk - 1], np.arange(used, used + n)])
        columns = slots, targets, np.arange(n + 1), np.full(n + 1, owner)
        asked.append(np.stack(columns, axis=1))
        tokens.append(targets[:-1])
        positions.append(np.arange(n_trunk, n_trunk + n))
        branches.append(np.full(n, 0 if alone else number, np.int32))
        used += n
    return Row(*map(np.concatenate, (tokens, positions, branches, asked)))


def shared_rows(windows, most):
    """Yield rows for windows; those with the same long trunk share one, of at most `most` slots."""
    groups = {}
    for owner, window in enumerate(windows):
        n_scored = len(window.tokens) - window.first
        # A short trunk is not worth the wider attention.
        key = owner if n_scored > window.first else window.tokens[: window.first].tobytes()
        groups.setdefault(key, []).append((owner, window))
    for members in groups.values():
        trunk = members[0][1].first
        row, used = [], trunk
        for owner, window in members:
            n = len(window.tokens) - trunk - 1
            if row and used + n > most:
                yield shared_row(row)
                row, used = [], trunk
            row.append((owner, window))
            used += n
        yield shared_row(row)


def width_of(row):
    """The slots that a row runs in, by its length alone: a multiple of 16, or an eighth more.

    So a window's scores are the same whatever runs beside it, and there are few shapes to prepare.
    """
    n = len(row.tokens)
    step = max(16, 1 << max((n - 1).bit_length() - 4, 0))
    return -(-n // step) * step


def batches(rows, tokens_at_once):
    """Yield lists of rows of one width, longest first, of at most tokens_at_once slots or one."""
    rows = sorted(rows, key=width_of, reverse=True)
    for width, alike in itertools.groupby(rows, width_of):
        size = max(1, tokens_at_once // width)
        while batch := list(itertools.islice(alike, size)):
            yield batch


def filled(array):
    """An array padded with rows of zeros, up to a multiple of 16 rows.

    Fewer rows go through other matmul kernels, and where numbers do not fill the last vector the
    exponential of the rest is another function: the last bits of both differ.
    """
    return np.pad(array, [(0, -len(array) % 16)] + [(0, 0)] * (array.ndim - 1))
