import numpy as np

from conversion.cut import hidden_states
from conversion.released import read_released
from conversion.vocabulary import Vocabulary


def test_the_forward_pass_is_that_of_2019(micro, monkeypatch):
    monkeypatch.setattr('conversion.released.read_vocabulary', lambda folder: Vocabulary({}, ''))
    model = read_released(str(micro.folder))
    tokens = micro.golden['tokens'][0]
    logits = hidden_states(model, tokens) @ model.tensors['model/wte'].whole().T
    np.testing.assert_allclose(logits, micro.golden['logits'][0], atol=1e-4)
