"""The table of dtypes and the flag --shards. What they compute is tested elsewhere."""

import pytest

import fast
from generate_unconditional_samples import sample_model
from interactive_conditional_samples import interact_model
from score import score
from zero_shot import evaluate


def test_help_tells_of_every_dtype():
    for function in (sample_model, interact_model, score, evaluate):
        text = ' '.join(function.__doc__.split())
        start = text.index(' dtype: what weights are stored in and multiplied as: ')
        for name, (_, what) in fast.DTYPES.items():
            assert f'{name} {what}' in text[start:]


def test_a_new_dtype_needs_its_line_in_the_table_alone(monkeypatch):
    def documented():
        """Do something.

        Args:
            <dtype>
        """

    monkeypatch.setitem(fast.DTYPES, 'float16', ('fast.float16', 'is for old processors'))
    assert '; float16 is for old processors\n' in fast.takes_dtype(documented).__doc__


@pytest.mark.parametrize(
    'shards, xla, expected',
    [(None, None, None), (4, None, 4), (4, False, 4), (None, True, 1), (1, True, 1)],
)
def test_flags_tell_the_number_of_shards(shards, xla, expected):
    assert fast.number_of_shards(shards, xla) == expected


@pytest.mark.parametrize(
    'shards, dtype, expected',
    [
        (None, 'float32', (None, {})),
        (2, 'float32', (2, {})),
        (None, 'int8', (1, {'shards': 1})),
        (2, 'bfloat16', (2, {'shards': 2})),
    ],
)
def test_a_file_names_the_shards_that_its_text_depends_on(shards, dtype, expected):
    assert fast.shards_of_file(shards, dtype) == expected


@pytest.mark.parametrize(
    'shards, xla, message',
    [
        (0, None, 'shards must be'),
        (1.5, None, 'shards must be'),
        (2, True, 'leave out --shards or'),
    ],
)
def test_shards_that_cannot_be_are_refused(shards, xla, message):
    with pytest.raises(ValueError, match=message):
        fast.number_of_shards(shards, xla)
