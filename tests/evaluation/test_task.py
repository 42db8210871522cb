"""Figures are tested with the tasks themselves; here is what no real text brings about."""

import numpy as np
import pytest

from evaluation.task import figures
from evaluation.tasks import TASKS


def test_a_perplexity_beyond_floating_point_has_a_logarithm_and_no_value():
    """As of a Chinese text in the Penn Treebank's place, whose lines are single words."""
    found = figures(TASKS['ptb'], [[7200.0, 1000, 1.0], [7300.0, 1000, 1.0]], context=1024)
    by_word, by_token = found['perplexity'], found['token_perplexity']
    assert (by_word['value'], by_word['log_value'], by_word['interval']) == (None, 7250.0, None)
    assert by_token['value'] == pytest.approx(np.exp(7.25))
    assert by_token['log_value'] == pytest.approx(7.25)


def test_an_interval_that_ends_beyond_floating_point_is_none():
    rows = [[3000.0, 1000, 1.0], *[[300.0, 1000, 1.0]] * 9]
    by_word = figures(TASKS['ptb'], rows, context=1000)['perplexity']
    assert by_word['value'] == pytest.approx(np.exp(570.0)) and by_word['interval'] is None


def test_only_perplexities_have_logarithms():
    found = figures(TASKS['text8'], [[7.0, 2, 5.0]], context=1024)
    assert found['bits_per_character']['log_value'] is None
    assert found['token_perplexity']['log_value'] == pytest.approx(3.5)
