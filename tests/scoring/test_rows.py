import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.rows import OWNER, PLACE, SLOT, TARGET, batches, filled, row_of, shared_rows, width_of
from scoring.windows import Window


def read_back(row):
    """What each scored token of a row is predicted from: {(owner, place): (tokens, target)}.

    By the rule of the model: a slot sees those up to its own in its branch and in the trunk.
    """
    found = {}
    for asked in row.asked:
        slot = asked[SLOT]
        seen = [n for n in range(slot + 1) if row.branches[n] in (0, row.branches[slot])]
        assert list(row.positions[seen]) == list(range(len(seen)))
        found[asked[OWNER], asked[PLACE]] = tuple(row.tokens[seen]), asked[TARGET]
    return found


def expected(windows):
    """The same from the windows themselves."""
    return {
        (owner, place): (tuple(window.tokens[:end]), window.tokens[end])
        for owner, window in enumerate(windows)
        for place, end in enumerate(range(window.first, len(window.tokens)))
    }


lists_of_windows = st.lists(
    # Few trunks and few tokens, so that windows often share them.
    st.tuples(st.integers(1, 12), st.lists(st.integers(0, 3), min_size=1, max_size=9)).map(
        lambda drawn: Window(np.array([*range(drawn[0]), *drawn[1]]), drawn[0])
    ),
    max_size=8,
)


def test_a_window_alone_is_a_trunk():
    row = row_of(7, Window(np.array([5, 6, 7, 8]), 2))
    assert list(row.tokens) == [5, 6, 7]
    assert list(row.positions) == [0, 1, 2]
    assert not row.branches.any()
    assert row.asked[:, [SLOT, TARGET, PLACE, OWNER]].tolist() == [[1, 7, 0, 7], [2, 8, 1, 7]]


def test_windows_with_the_same_trunk_branch_after_it():
    trunk = [1, 2, 3, 4]
    windows = [Window(np.array([*trunk, *more]), 4) for more in ([5, 6], [7], [8, 9, 0])]
    (row,) = shared_rows(windows, most=7)
    assert list(row.tokens) == [1, 2, 3, 4, 5, 8, 9]
    assert list(row.positions) == [0, 1, 2, 3, 4, 4, 5]
    assert list(row.branches) == [0, 0, 0, 0, 1, 3, 3]
    assert len(list(shared_rows(windows, most=6))) == 2


@given(lists_of_windows, st.integers(20, 40))
def test_rows_ask_for_each_token_once_after_what_its_window_has_before_it(windows, most):
    found = {}
    for row in shared_rows(windows, most):
        assert len(row.tokens) <= most
        of_row = read_back(row)
        assert len(of_row) == len(row.asked)
        assert found.keys().isdisjoint(of_row)
        found.update(of_row)
    assert found == expected(windows)


def test_a_trunk_shorter_than_what_is_scored_is_not_shared():
    tokens = np.arange(9)
    assert len(list(shared_rows([Window(tokens, 4)] * 2, most=100))) == 2
    assert len(list(shared_rows([Window(tokens, 5)] * 2, most=100))) == 1


def row_of_length(n):
    return row_of(0, Window(np.arange(n + 1), 1))


def test_a_row_runs_in_few_widths_that_waste_little():
    widths = [width_of(row_of_length(n)) for n in range(1, 1025)]
    for n, width in enumerate(widths, start=1):
        assert n <= width <= max(16 * -(-n // 16), n * 9 / 8)
    assert widths == sorted(widths)
    assert len(set(widths)) == 32
    assert widths[256 - 1] == 256 and widths[1024 - 1] == 1024


@given(st.lists(st.integers(1, 300), max_size=30), st.integers(1, 1000))
def test_batches_are_of_one_width_longest_first_and_no_larger_than_asked(lengths, tokens_at_once):
    rows = [row_of_length(n) for n in lengths]
    seen, widths = [], []
    for batch in batches(rows, tokens_at_once):
        (width,) = set(map(width_of, batch))
        assert len(batch) == 1 or len(batch) * width <= tokens_at_once
        widths.append(width)
        seen += batch
    assert widths == sorted(widths, reverse=True)
    assert sorted(map(id, seen)) == sorted(map(id, rows))


@pytest.mark.parametrize('n, filled_n', [(0, 0), (1, 16), (16, 16), (17, 32)])
def test_arrays_are_filled_to_whole_vectors(n, filled_n):
    for shape in (n,), (n, 3):
        array = filled(np.ones(shape, np.int32))
        assert array.shape == (filled_n, *shape[1:])
        assert (array[:n] == 1).all() and not array[n:].any()
