import io
import itertools
import pathlib
import tempfile
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.memory import peak_memory
from training import windows as batches

property_test = settings(max_examples=100, deadline=None, database=None)


def save(path, tokens, dtype='uint16'):
    np.save(path, np.array(tokens, dtype))
    return path


def test_tokens_are_mapped_not_read(tmp_path):
    path = save(tmp_path / 'a.npy', range(1000))
    tokens = batches.open_tokens(path, n_vocab=1000)
    assert isinstance(tokens, np.memmap) and not tokens.flags.writeable
    assert tokens.tolist() == list(range(1000))


@pytest.mark.parametrize(
    'data, message',
    [
        (None, 'No such file'),
        (b'', 'cannot read tokens from'),
        (b'some text', 'cannot read tokens from'),
        (b'\x93NUMPY\x01\x00', 'cannot read tokens from'),
        (np.zeros(3), r'a\.npy holds float64 of shape \[3\], not one dimension of uint16 or'),
        (np.zeros(3, 'int32'), 'holds int32'),
        (np.zeros((3, 2), 'uint16'), r'of shape \[3, 2\]'),
        (np.uint16(3), r'of shape \[\]'),
        (np.zeros(0, 'uint16'), r'a\.npy'),
        (np.array(['a', None]), 'cannot read tokens from'),
    ],
)
def test_what_is_not_a_file_of_tokens_is_refused(tmp_path, data, message):
    path = tmp_path / 'a.npy'
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data is not None:
        np.save(path, data)
    with pytest.raises(ValueError, match=message):
        batches.open_tokens(path)


def test_archives_and_folders_are_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', np.zeros(3, 'uint16'))
    for path in (tmp_path / 'a.npz', tmp_path):
        with pytest.raises(ValueError, match='cannot read tokens from'):
            batches.open_tokens(path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    whole = save(tmp_path / 'a.npy', range(50)).read_bytes()
    for size in range(len(whole)):
        (tmp_path / 'b.npy').write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r'b\.npy'):
            batches.open_tokens(tmp_path / 'b.npy')


@property_test
@given(st.data())
def test_a_damaged_header_is_refused_or_harmless(data):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(50, dtype='uint16'))
    damaged = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, 79), min_size=1, max_size=3)):
        damaged[place] = data.draw(st.sampled_from(b'{}(),:019-<uTs \n\x00\xff\'"'))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'a.npy')
        path.write_bytes(damaged)
        try:
            assert batches.open_tokens(path).ndim == 1
        except ValueError as error:
            assert 'a.npy' in str(error)


def test_tokens_outside_the_vocabulary_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, 'BLOCK', 10)
    for place in (0, 9, 10, 24):
        tokens = np.arange(25)
        tokens[place] = 300
        path = save(tmp_path / 'a.npy', tokens)
        batches.open_tokens(path, n_vocab=301)
        with pytest.raises(ValueError, match='holds token 300; the vocabulary has 300'):
            batches.open_tokens(path, n_vocab=300)


# Windows

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1]))


@property_test
@given(SIZES, st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_an_epoch_visits_each_window_of_a_cut_once_and_every_token(sizes, seed, epoch):
    window, n_tokens = sizes
    windows = batches.Windows(np.arange(n_tokens), window, seed)
    rows = windows.rows(epoch * windows.per_epoch, windows.per_epoch)
    assert rows.shape == (windows.per_epoch, window + 1) and rows.dtype == np.int32
    assert ((rows[:, 1:] - rows[:, :-1]) % n_tokens == 1).all()  # along the ring
    starts = sorted(rows[:, 0].tolist())
    distances = [(b - a) % n_tokens for a, b in zip(starts, starts[1:] + starts[:1], strict=True)]
    if len(starts) > 1:
        shorter = sorted(distances)[0]
        assert sorted(distances)[1:] == [window] * (len(starts) - 1) and 0 < shorter <= window
    targets = Counter(rows[:, 1:].ravel().tolist())
    assert set(targets) == set(range(n_tokens))
    twice = [token for token, times in targets.items() if times > 1]
    assert max(targets.values()) <= 2 and len(twice) == -n_tokens % window


@property_test
@given(SIZES, st.integers(0, 300), st.integers(0, 50), st.integers(0, 300))
def test_rows_depend_on_their_number_only(sizes, first, n, before):
    window, n_tokens = sizes
    tokens = np.arange(n_tokens)
    one_by_one = batches.Windows(tokens, window, seed=1)
    expected = [one_by_one.rows(number, 1)[0].tolist() for number in range(first, first + n)]
    resumed = batches.Windows(tokens, window, seed=1)
    resumed.rows(before, 3)
    assert resumed.rows(first, n).tolist() == expected


def test_epochs_and_seeds_cut_elsewhere_and_in_another_order():
    tokens = np.arange(10007)
    starts = {}
    for seed in (0, 1):
        windows = batches.Windows(tokens, 10, seed)
        for epoch in range(3):
            rows = windows.rows(epoch * windows.per_epoch, windows.per_epoch)
            starts[seed, epoch] = rows[:, 0]
            neighbours = np.count_nonzero(np.diff(rows[:, 0]) == 10)
            assert neighbours < 20  # of 1000 windows; 1 by chance
    assert len({start[0] for start in starts.values()}) == 6
    for one, other in itertools.combinations(starts.values(), 2):
        assert len(set(one.tolist()) & set(other.tolist())) < 500  # at most the few at one end
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


def test_windows_and_noise_of_a_seed_stay_the_same_for_ever():
    windows = batches.Windows(np.arange(10), 4, seed=7)
    assert windows.rows(0, 6)[:, 0].tolist() == [2, 8, 4, 1, 7, 3]
    assert windows.rows(3 * 10**12, 3)[:, 0].tolist() == [8, 4, 0]
    noise = batches.noisy(np.zeros([1, 8], np.int32), 0.5, 50000, seed=7, first=3)
    assert noise.tolist() == [[10566, 0, 10108, 0, 0, 0, 32350, 11297]]


def test_too_few_tokens_for_a_window_are_refused():
    message = '8 tokens are too few: a window of 8 takes 9; give more text, or --window 7 or less'
    with pytest.raises(ValueError, match=message):
        batches.Windows(np.arange(8), 8)
    batches.Windows(np.arange(9), 8)
    with pytest.raises(ValueError, match='window must be a whole number of at least 1'):
        batches.Windows(np.arange(8), 0)


def test_windows_do_not_read_the_file_into_memory(tmp_path):
    path = save(tmp_path / 'a.npy', np.arange(2**22) % 50000)
    tokens = batches.open_tokens(path)

    def read():
        windows = batches.Windows(tokens, 1024)
        return [windows.rows(first, 8) for first in range(0, 8000, 2000)]

    assert peak_memory(read) < 2**21 < path.stat().st_size
    assert peak_memory(lambda: deque(batches.sequential(tokens, 1024, 16), maxlen=0)) < 2**21
    assert peak_memory(lambda: batches.open_tokens(path, n_vocab=50000)) < 2**19


# Validation


@property_test
@given(st.integers(2, 200), st.integers(1, 12), st.integers(1, 6))
def test_each_token_but_the_first_is_scored_once_after_the_one_before(n, window, batch_size):
    tokens = np.random.RandomState(n).randint(50000, size=n).astype('uint16')
    inputs, targets = [], []
    for rows, weights in batches.sequential(tokens, window, batch_size):
        assert (rows.shape, rows.dtype) == ((batch_size, window + 1), np.int32)
        assert (weights.shape, weights.dtype) == ((batch_size, window), np.float32)
        assert set(weights.ravel()) <= {0, 1} and weights.any()
        inputs += rows[:, :-1][weights == 1].tolist()
        targets += rows[:, 1:][weights == 1].tolist()
        assert not rows[:, 1:][weights == 0].any()
    assert inputs == tokens[:-1].tolist()
    assert targets == tokens[1:].tolist()


def test_the_drawing_of_sequential_is_what_it_does():
    drawn = [(r.tolist(), w.tolist()) for r, w in batches.sequential(np.arange(9), 3, 2)]
    assert drawn == [
        ([[0, 1, 2, 3], [3, 4, 5, 6]], [[1, 1, 1], [1, 1, 1]]),
        ([[6, 7, 8, 0], [0, 0, 0, 0]], [[1, 1, 0], [0, 0, 0]]),
    ]


def test_a_single_token_cannot_be_scored():
    with pytest.raises(ValueError, match='1 tokens are too few to score'):
        batches.sequential(np.arange(1), 3, 2)


# Noise


def test_noise_replaces_the_share_that_was_asked_for_by_any_token():
    rows = np.zeros([100, 1000], np.int32)
    noisy = batches.noisy(rows, 0.3, 50, seed=0, first=0)
    assert not rows.any() and noisy.dtype == np.int32
    counts = np.bincount(noisy.ravel(), minlength=50)
    assert len(counts) == 50
    assert counts[1:].sum() == pytest.approx(100000 * 0.3 * 49 / 50, rel=0.03)
    assert counts[1:] == pytest.approx(np.full(49, 600), rel=0.25)
    assert (batches.noisy(rows, 0, 50, seed=0, first=0) == rows).all()
    assert (batches.noisy(rows + 7, 1, 2, seed=0, first=0) < 2).all()


def test_noise_depends_on_seed_and_row_number_only():
    rows = np.arange(600, dtype=np.int32).reshape(6, 100)
    whole = batches.noisy(rows, 0.5, 1000, seed=3, first=40)
    parts = [batches.noisy(rows[i : i + 1], 0.5, 1000, seed=3, first=40 + i) for i in range(6)]
    assert (whole == np.concatenate(parts)).all()
    changed = whole != rows
    assert len({tuple(row) for row in changed}) == 6
    assert (batches.noisy(rows, 0.5, 1000, seed=4, first=40) != whole).any()


@pytest.mark.parametrize('probability', [-0.1, 1.1, float('nan'), '0.1', None, True])
def test_a_probability_is_from_0_to_1(probability):
    with pytest.raises(ValueError, match='probability of noise must be from 0 to 1'):
        batches.noisy(np.zeros([1, 2], np.int32), probability, 50, seed=0, first=0)
