import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.texts import byte_encoder
from scoring.windows import Scores, joined, split_tokens, windows_of


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_every_token_but_the_first_is_scored_once_and_with_enough_context(n, context, data):
    stride = data.draw(st.integers(1, context))
    windows = windows_of(n, context, stride)
    scored = [i for start, end, first in windows for i in range(first, end)]
    assert scored == list(range(1, n))
    for number, (start, end, first) in enumerate(windows):
        assert 0 <= start < first < end <= n
        assert end - start <= context + 1  # the last token is not read
        if number:
            assert end - first <= stride
            assert first - start >= min(first, context - stride + 1)


def test_the_windows_of_the_drawing():
    assert windows_of(11, 4, 2) == [(0, 5, 1), (2, 7, 5), (4, 9, 7), (6, 11, 9)]
    assert windows_of(11, 4, 4) == [(0, 5, 1), (4, 9, 5), (6, 11, 9)]


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((9, 0, 1), 'context must be a whole number of at least 1, not 0'),
        ((9, 4, 5), 'stride must be a whole number of at least 1 and below 5, not 5'),
        ((9, 4, 0), 'stride must be'),
    ],
)
def test_windows_that_would_leave_tokens_out_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        windows_of(*arguments)


def test_totals_are_summed_in_float64():
    scores = Scores(np.full(10**6, -0.1, np.float32), np.ones(10**6, np.int32))
    assert scores.total == pytest.approx(np.float64(np.float32(-0.1)) * 10**6, rel=1e-12)
    assert scores.greedy and not scores._replace(ranks=np.array([1, 2])).greedy


def test_scores_of_windows_are_joined_in_their_order():
    parts = [
        Scores(np.float32([-1, -2]), np.int32([3, 1]), np.float32([5, 6])),
        Scores(np.float32([-4]), np.int32([2]), np.float32([7])),
    ]
    parts = [each._replace(mass_before=each.entropies + 1) for each in parts]
    whole = joined(parts)
    assert whole.second_moments is None
    arrays = [list(array) for array in whole if array is not None]
    assert arrays == [[-1, -2, -4], [3, 1, 2], [5, 6, 7], [6, 7, 8]]
    assert joined([part._replace(entropies=None) for part in parts]).entropies is None


class Pairs:
    """A vocabulary of bytes and the merges ' t', 'ab' and 'abc'."""

    def __init__(self):
        from encoder import Encoder

        base = byte_encoder(end=None).encoder
        more = ['Ġt', 'ab', 'abc']
        merges = [('Ġ', 't'), ('a', 'b'), ('ab', 'c')]
        self.encoder = Encoder(base | {t: 256 + n for n, t in enumerate(more)}, merges)


@pytest.mark.parametrize(
    'prompt, continuation, n_prompt',
    [
        ('x', ' t', 1),
        ('x ', 't', 1),  # the space belongs to a token that ends after it
        ('xab', 'c', 1),
        ('x', '', 1),
        ('', 'x', 0),
        ('é', 'é', 2),
        ('ab', '', 1),
    ],
)
def test_a_text_is_split_where_the_tokens_of_the_prompt_end(prompt, continuation, n_prompt):
    encoder = Pairs().encoder
    before, after = split_tokens(encoder, prompt, continuation)
    assert before + after == encoder.encode(prompt + continuation)
    assert len(before) == n_prompt
    assert prompt.encode().startswith(encoder.decode_bytes(before))
