import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.figure import write
from ngrams import figure
from ngrams.counts import Counts
from ngrams.figure import LEAST, check_matplotlib, draw, steps


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_each_step_is_the_share_of_documents_with_at_most_so_much(found):
    percents = np.array(found) / 10
    x, y = steps(percents)
    assert (x[0], x[-1], y[-1]) == (LEAST, 100, 1)
    assert (np.diff(x) > 0).all()
    for share, height in zip(x, y, strict=True):
        assert height == pytest.approx(sum(p <= share for p in percents) / len(percents))


def test_it_draws_the_same_picture_again(tmp_path):
    pytest.importorskip('matplotlib')
    some = Counts('some $file_', np.array([100, 0, 50]), np.array([1, 0, 50]))
    counts = [some, Counts('short', np.array([0]), np.array([0]))] + [some] * 6
    for name in 'ab':
        draw(counts, lambda drawn, name=name: write(drawn, str(tmp_path / name)))
    for ending in ('png', 'svg'):
        a, b = (tmp_path / f'{name}.{ending}' for name in 'ab')
        assert a.read_bytes() == b.read_bytes() and a.stat().st_size > 5000


def test_without_matplotlib_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(figure.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='drawing needs matplotlib: pip install matplotlib'):
        check_matplotlib()
