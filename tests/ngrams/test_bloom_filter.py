import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrams import bloom_filter
from ngrams.bloom_filter import (
    BITS_PER_ITEM,
    BOUND,
    FEWEST_WORDS,
    N_BITS,
    N_WORDS,
    BloomFilter,
    mixed,
    words_for,
)
from ngrams.exact_set import ExactSet

MASK = 2**64 - 1


def random_ngrams(n, seed=0, n_vocab=50257):
    return np.random.default_rng(seed).integers(0, n_vocab, [n, 8]).astype(np.uint16)


def splitmix64(state):
    """The generator of Steele, Lea and Flood 2014 in Python's own integers."""
    while True:
        state = state + 0x9E3779B97F4A7C15 & MASK
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        yield z ^ z >> 31


def words_by_hand(ngrams, n_words):
    """The words of a filter, one bit after the other."""
    words = [0] * n_words
    for ngram in ngrams.tolist():
        state = 0
        for token in ngram:
            state = next(splitmix64(state + token))
        numbers = splitmix64(state)
        for _ in range(6):
            number = next(numbers)
            index = int((number >> 24) / 2**40 * n_words)
            for shift in (0, 6, 12, 18):
                words[index] |= 1 << (number >> shift) % 64
    return words


def share_in_a_word(items_per_word, draws=N_BITS, bits=64):
    """The chance that `draws` bits of a word are all set by a Poisson number of items: exactly."""
    share = np.arange(bits + 1) / bits
    set_bits = np.eye(bits + 1)[0]  # how likely each number of set bits is
    total, chance = 0, math.exp(-items_per_word)
    for items in range(200):
        total += chance * (set_bits @ share**draws)
        chance *= items_per_word / (items + 1)
        for _ in range(draws):
            new = set_bits * share
            new[1:] += set_bits[:-1] * (1 - share[:-1])
            set_bits = new
    return total


def test_the_generator_is_splitmix64():
    """The first numbers after 1234567, as the generator's authors and others publish them."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    numbers = splitmix64(1234567)
    assert [next(numbers) for _ in published] == published
    states = [1234567 + i * 0x9E3779B97F4A7C15 & MASK for i in (1, 2, 3)]
    assert mixed(np.array(states, np.uint64)).tolist() == published


@pytest.mark.parametrize('n_vocab', [3, 50257])
def test_its_words_are_those_set_one_by_one(n_vocab):
    ngrams = random_ngrams(20_000, n_vocab=n_vocab)
    known = BloomFilter(20_000)
    known.add(ngrams)
    assert known.words.tolist() == words_by_hand(ngrams, len(known.words))


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_it_answers_as_an_exact_set(data):
    """Of few tokens, so that 8-grams come again."""
    row = st.lists(st.integers(0, 2), min_size=8, max_size=8)
    some = st.lists(row, max_size=30).map(lambda rows: np.array(rows, np.uint16).reshape(-1, 8))
    known, oracle, plain = BloomFilter(1000), ExactSet(), set()
    for _ in range(data.draw(st.integers(1, 4))):
        added, asked = data.draw(some), data.draw(some)
        known.add(added)
        oracle.add(added)
        plain |= set(map(tuple, added.tolist()))
        expected = [tuple(window) in plain for window in asked.tolist()]
        assert known.contains(asked).tolist() == oracle.contains(asked).tolist() == expected
        assert known.contains(added).all() and oracle.contains(added).all()
        assert known.added == oracle.added
        assert known.distinct() == pytest.approx(oracle.distinct(), abs=2) == len(plain)


@pytest.mark.parametrize('dtype', [np.uint16, np.uint32])
def test_the_width_of_tokens_makes_no_difference(dtype):
    known = BloomFilter(100)
    known.add(random_ngrams(100))
    assert known.contains(random_ngrams(100).astype(dtype)).all()


def test_the_order_of_tokens_counts():
    known = BloomFilter(100)
    known.add(np.array([[1, 2, 3, 4, 5, 6, 7, 8]], np.uint16))
    assert not known.contains(np.array([[2, 1, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 9]])).any()


def test_a_full_filter_holds_all_and_keeps_the_bound():
    capacity = 300_000
    known = BloomFilter(capacity)
    ngrams = random_ngrams(capacity)
    known.add(ngrams)
    assert known.contains(ngrams).all()
    expected = share_in_a_word(N_WORDS * 64 / BITS_PER_ITEM) ** N_WORDS
    assert known.false_positives() == pytest.approx(expected, rel=0.1)
    assert 0.6 * BOUND < known.false_positives() < 0.9 * BOUND
    assert known.distinct() == pytest.approx(capacity, rel=0.005)
    # As the paper checked its filter.
    assert not known.contains(random_ngrams(1_000_000, seed=1)).any()


@pytest.mark.parametrize('place', range(7))
def test_8_grams_that_differ_little_fill_it_like_random_ones(place):
    """Counted up in two neighbouring tokens, the others 0."""
    ngrams = np.zeros([100_000, 8], np.uint16)
    ngrams[:, place], ngrams[:, place + 1] = np.divmod(np.arange(100_000), 317)
    known = BloomFilter(100_000)
    known.add(ngrams[::2])
    assert known.distinct() == pytest.approx(50_000, rel=0.005)
    assert known.contains(ngrams).tolist() == [True, False] * 50_000


def test_the_rate_of_false_positives_is_what_the_words_say():
    """Measured where there are enough of them: in a filter with too much in it."""
    known = BloomFilter(97_000)
    known._check_at = math.inf
    known.add(random_ngrams(300_000))
    rate, asked = known.false_positives(), 400_000
    assert 1e-3 < rate < 0.1
    expected = share_in_a_word(N_WORDS * 300_000 / len(known.words)) ** N_WORDS
    assert rate == pytest.approx(expected, rel=0.02)
    found = int(known.contains(random_ngrams(asked, seed=1)).sum())
    assert abs(found - rate * asked) < 4 * math.sqrt(rate * asked)


def test_too_many_n_grams_are_refused_soon():
    known = BloomFilter(100_000)
    for _ in range(20):  # equal ones take no room
        known.add(random_ngrams(90_000))
    with pytest.raises(ValueError, match='more than 100,000 different .* --capacity 200000'):
        for seed in range(1, 100):
            known.add(random_ngrams(5_000, seed))
    assert seed <= 5 and known.distinct() < 115_000
    with pytest.raises(ValueError, match='more than 100,000'):
        known.check()


def test_merged_filters_are_the_filter_of_all():
    parts = [random_ngrams(3000, seed) for seed in range(3)]
    filters = [BloomFilter(10_000) for _ in range(4)]
    for known, part in zip(filters[1:], parts, strict=True):
        known.add(part)
        filters[0].add(part)
    first, *others = filters[1:]
    for other in others:
        first.merge(other)
    assert np.array_equal(first.words, filters[0].words)
    assert first.added == filters[0].added == 9000
    assert all(first.contains(part).all() for part in parts)


def test_filters_for_other_sizes_are_not_merged():
    with pytest.raises(ValueError, match='for 10 and 2,000 8-grams cannot be merged'):
        BloomFilter(10).merge(BloomFilter(2000))


def test_a_merge_that_is_too_much_is_refused():
    first, second = BloomFilter(98_000), BloomFilter(98_000)
    first.add(random_ngrams(98_000))
    second.add(random_ngrams(98_000, 1))
    with pytest.raises(ValueError, match='more than 98,000 different'):
        first.merge(second)


def test_memory_is_43_bits_an_item():
    assert words_for(10**9) == 671_875_000
    assert BloomFilter(10**6).bytes == pytest.approx(10**6 * 43 / 8, abs=8)
    assert BloomFilter(1).bytes == FEWEST_WORDS * 8


def test_more_memory_than_there_is_is_refused(monkeypatch):
    monkeypatch.setattr(bloom_filter.os, 'sysconf', lambda name: 2**10, raising=False)
    with pytest.raises(ValueError, match=r'needs 5\.4 MB of memory, more than the 1\.0 MB of this'):
        BloomFilter(10**6)


@pytest.mark.parametrize('capacity', [0, -1, 1.5, '9', True, None, 2**40])
def test_a_capacity_that_is_none_is_refused(capacity):
    with pytest.raises(ValueError, match='capacity must be a whole number of at least 1'):
        BloomFilter(capacity)
