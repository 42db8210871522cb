"""The table of dtypes, which their help derives from. What each computes is tested elsewhere."""

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
