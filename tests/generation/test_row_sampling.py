"""What rows ask of sampling, as arrays."""

import numpy as np
import pytest

from generation.continuous import Request
from generation.row_sampling import RowSampling
from support.settings import SAMPLING, Settings

OWN = dict(
    temperature=0.7, top_k=9, top_p=0.8, min_p=0.1, typical_p=0.9, repetition_penalty=1.5, seed=7
)


def test_every_sampling_parameter_is_fed_for_each_row():
    assert set(SAMPLING) == set(OWN) - {'seed'}
    rows = RowSampling(4, 10)
    rows.begin(2, Request([1, 2], 5, Settings(length=3, **OWN), n_top=4))
    fed = rows.feed(3)
    for name, value in OWN.items():
        assert fed[name].shape == (3,)
        assert fed[name][2] == np.asarray(value, fed[name].dtype)
    assert fed['first_sample'].tolist() == [0, 0, 5] and fed['n_top'] == 4
    assert np.flatnonzero(fed['seen'][2]).tolist() == [1, 2]
    assert fed['bias'].shape == (3, 0)


def test_rows_without_a_text_ask_for_nothing():
    rows = RowSampling(2, 10)
    rows.begin(1, Request([1], 5, Settings(length=3, **OWN), bias={3: 1.0}, n_top=4))
    rows.add(1, 6)
    rows.end(1)
    fed = rows.feed(2)
    assert not fed['temperature'].any()
    for name in ('top_k', 'top_p', 'min_p', 'typical_p', 'repetition_penalty'):
        assert (fed[name] == SAMPLING[name].default).all()
    assert fed['n_top'] == 0 and fed['seen'].shape == fed['bias'].shape == (2, 0)
    assert not fed['steps'].any()


def test_a_top_k_beyond_all_numbers_is_the_largest():
    rows = RowSampling(1, 10)
    rows.begin(0, Request([1], 0, Settings(length=3, top_k=2**40)))
    assert rows.feed(1)['top_k'].tolist() == [2**31 - 1]


def test_bias_and_penalties_are_those_of_the_text_s_own_tokens():
    rows = RowSampling(3, 6)
    settings = Settings(length=9, seed=0)
    rows.begin(1, Request([0, 3], 0, settings, (), {3: -2.0, 4: 1.0}, 0.5, 0.25))
    text = [5, 3, 5, 5, 0]
    for token in text:
        rows.add(1, token)
        rows.add(0, token)  # of a row that asks for nothing
    own = np.array([0, 0, 0, -2, 1, 0], np.float32)
    counts = np.bincount(text, minlength=6)
    expected = own - 0.5 * (counts > 0) - 0.25 * counts
    np.testing.assert_allclose(rows.feed(3)['bias'], [0 * own, expected, 0 * own])
    assert rows.feed(1)['bias'].shape == (1, 0)
    rows.end(1)
    rows.begin(1, Request([0], 0, settings))
    rows.begin(2, Request([0], 0, settings, bias={1: 3.0}))
    assert rows.feed(3)['bias'].tolist() == [[0] * 6, [0] * 6, [0, 3, 0, 0, 0, 0]]


def test_a_text_that_follows_another_at_once_has_nothing_of_it():
    rows, settings = RowSampling(1, 6), Settings(length=9, seed=0, repetition_penalty=2)
    rows.begin(0, Request([0, 3], 0, settings, bias={4: 1.0}))
    rows.end(0)
    rows.begin(0, Request([1], 0, settings, bias={5: 2.0}))
    fed = rows.feed(1)
    assert fed['bias'].tolist() == [[0, 0, 0, 0, 0, 2]]
    assert np.flatnonzero(fed['seen'][0]).tolist() == [1]


@pytest.mark.parametrize('order', [[2, 0, 1], [1, 2, 0]])
def test_rows_may_be_put_in_another_order(order):
    rows = RowSampling(3, 6)
    for row in range(3):
        settings = Settings(length=9, seed=row, repetition_penalty=1 + row, top_k=row)
        rows.begin(row, Request([row], row, settings, bias={row: 1.0}, frequency_penalty=row))
    before = {name: value.copy() for name, value in rows.feed(3).items() if name != 'n_top'}
    rows.arrange(order)
    for name, value in before.items():
        np.testing.assert_array_equal(rows.feed(3)[name], value[order])
    rows.add(0, 5)
    assert rows.feed(3)['bias'][0, 5] == -order[0]
