import types

from generation import engine
from generation.start import start_engine


def test_arguments_are_those_of_the_engine_and_it_comes_back(monkeypatch):
    def make(*model, **more):
        return types.SimpleNamespace(on_gpu=True, dtype='float32', arguments=(model, more))

    monkeypatch.setattr(engine, 'Engine', make)
    assert start_engine('124M', 'models', dtype='int8').arguments == (
        ('124M', 'models'),
        {'dtype': 'int8'},
    )
