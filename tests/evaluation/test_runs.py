"""Runs are tested as a whole in test_zero_shot.py; here is what can be asked of them alone."""

import pytest

from evaluation import runs
from evaluation.tasks import TASKS
from helpers import numpy_gpt2
from hparams import read_hparams


def test_the_number_of_parameters(reference):
    weights = numpy_gpt2.load_weights(reference.folder / 'model.ckpt')
    hparams = read_hparams(reference.folder / 'hparams.json')
    assert runs.n_parameters(hparams) == sum(array.size for array in weights.values())


def test_long_texts_are_run_at_each_stride_and_others_once():
    examples = {'cbt_cn': ['a question'], 'ptb': ['a text'], '1bw': ['a sentence']}
    made = runs.runs_of(list(examples), examples, 1024, None, None)
    assert [(run.name, run.stride) for run in made] == [
        ('cbt_cn', None),
        ('ptb', 512),
        ('ptb@1024', 1024),
        ('1bw', 512),
    ]
    made = runs.runs_of(['ptb', '1bw'], examples, 1024, [32, 64], None)
    assert [(run.name, run.stride) for run in made] == [('ptb', 32), ('ptb@64', 64), ('1bw', 32)]
    assert [run.task for run in made] == [TASKS['ptb'], TASKS['ptb'], TASKS['1bw']]


def test_a_digest_identifies_examples():
    assert runs.digest(['a', 'b']) == runs.digest(['a', 'b'])
    assert len({runs.digest(examples) for examples in ([], ['ab'], ['a', 'b'], [b'ab'])}) == 4


@pytest.mark.parametrize('costs', [[1], [7, 1, 9, 10, 11, 1], [30, 30], []])
def test_pieces_hold_all_parts_in_order_and_end_where_they_are_full(monkeypatch, costs):
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 10)
    parts = [Part(cost) for cost in costs]
    pieces = list(runs.pieces(parts))
    assert [part for piece in pieces for part in piece] == parts
    for piece in pieces[:-1]:
        assert sum(part.cost for part in piece) >= 10 > sum(part.cost for part in piece[:-1])


class Part:
    def __init__(self, cost):
        self.cost = cost
