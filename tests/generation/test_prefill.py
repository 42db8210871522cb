"""Which rows are read next, without a model: numbers of tokens stand for time."""

import numpy as np
import pytest

from generation import prefill
from generation.prefill import Held

N_CTX = 1024


def random_tokens(n, seed):
    return np.random.default_rng(seed).integers(50257, size=n).tolist()


def read(held, each=128, total=128, patiently=False):
    """Read the next piece: its rows, and how many tokens of each."""
    piece = held.next_piece(each, total, N_CTX, patiently)
    assert piece.tokens.size <= total or len(piece.rows) == 1
    for row, source, begin, tokens in zip(*piece, strict=True):
        whole = held.unread[row]
        n = min(len(whole) - begin, len(tokens))
        np.testing.assert_array_equal(tokens[:n], whole[begin : begin + n])
        np.testing.assert_array_equal(held.tokens[source, :begin], whole[:begin])
        assert held.lengths[source] >= begin
    held.take(piece)
    return piece.rows, piece.tokens.shape[1]


def begun(*lengths):
    held = Held(16, N_CTX)
    for row, n in enumerate(lengths):
        held.begin(row, random_tokens(n, seed=row))
    return held


def test_all_of_a_prompt_is_read_but_its_last_token():
    held = begun(301, 1)
    assert [read(held) for _ in range(3)] == [([0], 128), ([0], 128), ([0], 44)]
    assert not held.unread
    np.testing.assert_array_equal(held.tokens[0, :300], random_tokens(301, seed=0)[:300])
    assert held.lengths.tolist() == [300, 0, *[0] * 14]


def test_a_short_prompt_waits_for_a_piece_or_two_of_the_long_ones():
    for before in range(4):
        held = begun(*[900] * 10)
        for _ in range(before):
            read(held)
        held.begin(15, random_tokens(20, seed=15))
        pieces = [read(held)[0] for _ in range(2)]
        assert [15] in pieces


def test_the_oldest_gets_every_other_piece_however_many_short_ones_come():
    held = begun(901)
    for n in range(100):
        held.begin(1 + n % 8, random_tokens(100, seed=n))
        read(held)
        if 0 not in held.unread:
            break
    assert n < 2 * 900 / 128 + 1


def test_none_starves_whoever_comes():
    """At any time: a prompt is read after twice its own pieces and those of the ones before it."""
    random = np.random.default_rng(3)
    held, waits = Held(16, N_CTX), {}
    for now in range(600):
        free = [row for row in range(16) if row not in held.unread]
        if free and random.random() < 0.5:
            row = int(random.choice(free))
            n = int(random.choice([2, 30, 120, 700]))
            held.begin(row, random_tokens(n, seed=now))
            ahead = sum(-(-len(prompt) // 128) for prompt in held.unread.values())
            waits[row] = now + 2 * ahead + 1
        if held.unread:
            rows, _ = read(held)
            for row in rows:
                if row not in held.unread:
                    assert now <= waits.pop(row)


def test_short_prompts_are_read_together_as_far_as_they_fit():
    held = begun(11, 11, 13, 11, 40)
    assert read(held) == ([0, 1, 3, 2], 12)
    assert read(held) == ([4], 39)


def test_what_others_have_read_is_copied_at_any_time():
    story = random_tokens(600, seed=1)
    held = Held(16, N_CTX)
    for row in range(4):
        held.begin(row, story + [row, row])
    widths = []
    while held.unread:
        widths.append(read(held))
    assert sum(width * len(rows) for rows, width in widths) == 601 + 3
    assert widths[-1] == ([1, 2, 3], 1)


def test_a_row_whose_source_leaves_goes_on_with_what_is_there():
    story = random_tokens(600, seed=1)
    held = Held(3, N_CTX)
    held.begin(0, story)
    held.begin(1, story)
    read(held)
    del held.unread[0]  # it has left
    held.begin(0, [5, 6, 7])  # and another has come
    while held.unread:
        read(held)
    np.testing.assert_array_equal(held.tokens[1, :599], story[:599])
    assert held.tokens[0, :2].tolist() == [5, 6]


def test_patiently_the_longest_of_those_that_share_is_read_first(monkeypatch):
    monkeypatch.setattr(prefill, 'WORTH_WAITING', 8)
    story = random_tokens(50, seed=1)
    held = Held(4, N_CTX)
    for row, n in enumerate([20, 30, 50]):
        held.begin(row, story[:n])
    many = dict(each=512, total=4096, patiently=True)
    assert read(held, **many) == ([2], 49)
    rows, width = read(held, **many)
    assert (sorted(rows), width) == ([0, 1], 1)


@pytest.mark.parametrize('n_kept', [2, 16])
def test_rows_may_be_put_in_another_order(n_kept):
    held = begun(200, 5, 300)
    read(held)
    lengths = held.lengths.copy()
    order = [2, 0, 1, *range(3, 16)]
    held.arrange(order, n_kept)
    assert list(held.unread) == [row for row in (1, 0) if row in held.unread]
    expected = lengths[order]
    expected[n_kept:] = 0
    np.testing.assert_array_equal(held.lengths, expected)
    while held.unread:
        read(held)
    np.testing.assert_array_equal(held.tokens[1, :199], random_tokens(200, seed=0)[:199])


def test_patiently_who_has_begun_is_read_to_the_end():
    """Turns of a conversation: those before the last one are copied, whatever its length."""
    held, story = Held(16, N_CTX), random_tokens(650, seed=1)
    for row in range(15):
        held.begin(row, story[: 370 + 20 * row])
    pieces = []
    while held.unread:
        pieces.append(read(held, each=512, total=4096, patiently=True))
    assert [(len(rows), width) for rows, width in pieces] == [(1, 512), (1, 137), (14, 1)]


def test_what_a_row_has_no_slots_for_is_not_held():
    held, story = begun(20), random_tokens(20, seed=0)
    read(held)
    assert held.source(np.array(story)) == (0, 19)
    held.limit(7)
    assert held.source(np.array(story)) == (0, 7)


def test_patiently_rows_that_have_read_all_give_the_next_prompts_no_order():
    held = begun(1, 30, 31)
    assert sorted(read(held, patiently=True)[0]) == [1, 2]
    for row in range(3):
        held.begin(row, random_tokens(25, seed=10 + row))
    assert sorted(read(held, patiently=True)[0]) == [0, 1, 2]


def test_a_piece_stays_within_the_slots_of_the_cache():
    """Of two rows the shorter rest would go beyond them: it begins earlier, with known tokens."""
    held = Held(3, N_CTX)
    text = random_tokens(40, seed=0)
    held.begin(0, text[:37])
    held.take(held.next_piece(64, 64, 40))
    held.begin(1, text)
    held.begin(2, random_tokens(9, seed=1))
    piece = held.next_piece(64, 64, 40)
    starts = dict(zip(piece.rows, piece.begins, strict=True))
    assert starts == {1: 32, 2: 0} and piece.tokens.shape == (2, 8)
    first = piece.tokens[piece.rows.index(1), :7]
    np.testing.assert_array_equal(first, text[32:39])
