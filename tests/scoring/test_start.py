import types

from scoring import scorer
from scoring.start import start_scorer


def test_arguments_are_those_of_the_scorer_and_it_comes_back(monkeypatch):
    def make(*model, **more):
        return types.SimpleNamespace(on_gpu=True, dtype='float32', arguments=(model, more))

    monkeypatch.setattr(scorer, 'Scorer', make)
    assert start_scorer('124M', 'models', dtype='int8').arguments == (
        ('124M', 'models'),
        {'dtype': 'int8'},
    )
