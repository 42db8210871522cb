import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import metrics
from detection.lengths import cut_alike, cut_to, pairs
from encoder import get_encoder
from helpers.paths import ROOT
from helpers.texts import byte_encoder

BYTES = byte_encoder()  # a token is a byte
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope='module')
def demo_encoder():
    return get_encoder('demo', str(ROOT / 'models'))


def test_texts_are_cut_to_so_many_tokens_without_the_space_around_them():
    assert cut_to([' abcd\n', 'abc', 'ab ', '', 'abcdef'], BYTES, 3) == [
        'abc',
        'abc',
        None,
        None,
        'abc',
    ]


def test_half_a_character_is_left_out():
    assert cut_to(['a日本'], BYTES, 3) == ['a']
    assert cut_to(['a日本'], BYTES, 4) == ['a日']


def test_tokens_are_those_of_the_vocabulary(demo_encoder):
    text = 'The people of the United States expect their government to act.'
    tokens = demo_encoder.encode(text)
    for n in range(1, len(tokens) + 1):
        assert cut_to([text], demo_encoder, n) == [demo_encoder.decode(tokens[:n])]
    assert len(tokens) < 20  # a token is more than a byte here


lengths = st.lists(st.integers(0, 9), max_size=12)


@given(lengths, lengths, st.integers(0, 3))
def test_each_text_is_in_one_pair_at_most_and_longer_than_what_is_left(human, machine, seed):
    found = pairs(human, machine, seed)
    for side in (0, 1):
        numbers = [pair[side] for pair in found]
        assert len(set(numbers)) == len(numbers)
    for h, m, n in found:
        assert n == min(human[h], machine[m]) - 1 > 0
    assert found == pairs(human, machine, seed)
    if len(human) == len(machine):  # nobody is left out but for its length
        assert len(human) - len(found) == sum(
            min(pair) < 2 for pair in zip(sorted(human), sorted(machine), strict=True)
        )


def test_the_larger_class_is_drawn_from_not_cut_off():
    seen = {h for seed in range(50) for h, _, _ in pairs([5] * 30, [5] * 3, seed)}
    assert len(seen) > 25


def test_length_says_nothing_of_texts_that_were_cut_alike():
    """Long human texts and short machine texts, as of WebText and of a model that soon ends."""
    human = ['x' * n for n in RANDOM.integers(50, 400, 300)]
    machine = ['y' * n for n in RANDOM.integers(1, 200, 200)]
    assert metrics.auroc([-len(t) for t in human], [-len(t) for t in machine]) > 0.8
    human, machine = cut_alike(human, machine, BYTES)
    assert [len(text) for text in human] == [len(text) for text in machine]
    assert len(human) > 195


def test_no_text_ends_as_a_text_ends():
    """A full stop at the end of the class that is the shorter one would tell it."""
    human, machine = cut_alike(['One. Two.'] * 4, ['Six.'] * 4, BYTES)
    assert human == ['One'] * 4 and machine == ['Six'] * 4
