import numpy as np
import pytest

from ngrams.exact_set import ExactSet


@pytest.mark.parametrize('dtype', [np.uint16, np.uint32])
def test_it_holds_what_was_added_and_nothing_else(dtype):
    tokens = np.arange(20, dtype=dtype)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, 8)  # in no contiguous memory
    known = ExactSet()
    known.add(windows[:5])
    known.add(windows[:3])
    assert known.contains(windows).tolist() == [True] * 5 + [False] * 8
    assert (known.added, known.distinct(), known.false_positives()) == (8, 5, 0)


def test_nothing_is_in_an_empty_one():
    known = ExactSet()
    known.add(np.zeros([0, 8], np.uint16))
    assert known.contains(np.zeros([2, 8], np.uint16)).tolist() == [False, False]
