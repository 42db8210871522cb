import pytest

from detection import figure
from detection.trials import ALL


def cells():
    return [
        {
            'judge': judge,
            'kind': 'words',
            'trained_on': ['some $source_'],
            'source': source,
            'length': length,
            'auroc': 0.5 + place / 10,
            'auroc_interval': None if length == ALL else [0.5, 0.5 + place / 8],
        }
        for judge in 'abcdefghij'
        for source in ('demo', 'demo_k40')
        for place, length in enumerate([ALL, 25, 100])
        if (source, length) != ('demo', 25)
    ]


@pytest.mark.parametrize('ending', ['png', 'svg'])
def test_it_draws_the_same_picture_again(tmp_path, ending):
    pytest.importorskip('matplotlib')
    paths = [tmp_path / f'{name}.{ending}' for name in 'ab']
    for path in paths:
        figure.draw(cells(), str(path))
    a, b = (path.read_bytes() for path in paths)
    assert a == b and len(a) > 5000


def test_without_matplotlib_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(figure.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='drawing needs matplotlib: pip install matplotlib'):
        figure.check_matplotlib()
