import numpy as np
import pytest

from evaluation.pairs import drawn

PAIRS = [(str(n), str(-n)) for n in range(50)]


def test_the_same_seed_draws_the_same_pairs_none_twice():
    first, again, other = (drawn(PAIRS, 10, seed) for seed in (3, 3, 4))
    assert first == again != other
    assert len(set(first)) == 10 and set(first) <= set(PAIRS)
    assert drawn(PAIRS, 4, 3) == first[:4]
    assert drawn(PAIRS, 0, 3) == []
    assert sorted(drawn(PAIRS, 50, 3)) == sorted(PAIRS)


def test_pairs_stay_the_same_from_version_to_version():
    """By NumPy's legacy generator, whose numbers are promised not to change."""
    assert drawn(range(3000), 5, 0) == list(np.random.RandomState(0).permutation(3000)[:5])
    assert drawn(range(3000), 5, 0) == [311, 1025, 1587, 2941, 2980]


@pytest.mark.parametrize('n, seed', [(51, 0), (-1, 0), (1.5, 0), (True, 0), (1, -1), (1, 2**32)])
def test_what_cannot_be_drawn(n, seed):
    with pytest.raises(ValueError, match='pairs'):
        drawn(PAIRS, n, seed)
