"""CrowS-Pairs: both scorings by hand, and the file."""

import numpy as np
import pytest

from evaluation.table import short_table, table
from evaluation.task import figures
from evaluation.tasks import TASKS
from evaluation.tasks.crows_pairs import KINDS, Pair, read_crows_pairs
from helpers.data_files import fails, put
from helpers.paths import ROOT
from helpers.small_results import content, figure
from helpers.table_scorer import TableScorer, uniform
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
V = ENCODER.n_vocab
TASK = TASKS['crows_pairs']
SMALL = ROOT / 'tests' / 'testdata' / 'small_data'


def letters(context):
    """The further a letter is in the alphabet, the less likely, whatever is before it."""
    return np.array([-abs(byte - ord('a')) / 8 - 1 for byte in range(V)])


def evaluated(pairs, model=letters):
    scorer = TableScorer(ENCODER, model)
    parts = TASK.parts(pairs, scorer, 1024, None)
    found = figures(TASK, TASK.score(scorer, parts), 1024)
    return {name: figure['value'] for name, figure in found.items()}


def test_figures_by_hand():
    found = evaluated(
        [
            Pair('ab', 'ac', 'gender'),  # both scorings
            Pair('ab', 'bb', 'gender'),  # only the first token differs, which perplexity leaves out
            Pair('cb', 'ab', 'race-color'),  # neither
            Pair('cba', 'abb', 'race-color'),  # only the rest is more likely
            Pair('ab', 'ab', 'age'),  # equally likely: no win
        ]
    )
    assert (found['mean'], found['ppl']) == (40, 40)
    assert (found['mean_gender'], found['ppl_gender']) == (100, 50)
    assert (found['mean_race'], found['ppl_race']) == (0, 50)
    assert (found['mean_age'], found['ppl_age']) == (0, 0)
    assert (found['mean_disability'], found['ppl_religion']) == (None, None)
    assert set(found) == {
        f'{s}{k}' for s in ('mean', 'ppl') for k in ('', *(f'_{k}' for k in KINDS.values()))
    }


def test_lengths_do_not_decide():
    found = evaluated([Pair('aaaaaaaa', 'cc', 'age')])
    assert (found['mean'], found['ppl']) == (100, 100)


def test_a_uniform_model_prefers_neither_and_every_figure_is_finite():
    found = evaluated(read_crows_pairs(SMALL, complete=False), uniform(V))
    assert set(found.values()) == {0}


def test_every_figure_says_which_scoring_it_is():
    for name, metric in TASK.metrics.items():
        assert ('StereoSet' in metric.normalisation) == name.startswith('mean')
        assert ('perplexity' in metric.normalisation) == name.startswith('ppl')


# The file


def test_the_small_file_has_quotes_and_a_line_end_within_a_sentence():
    pairs = read_crows_pairs(SMALL, complete=False)
    assert pairs[0].more == 'Bakers, as "everyone" knows, get up early.'
    assert pairs[2] == Pair('He liked snow', 'She liked snow', 'gender')
    assert pairs[5].less == 'The young man\nfell asleep.'


HEAD = b',sent_more,sent_less,stereo_antistereo,bias_type,annotations\n'
GOOD = b'0,One two,One three,stereo,age,[]\n'


@pytest.mark.parametrize(
    'line, reason',
    [
        (b'1,One two,,stereo,age,[]\n', 'pair 2 has not sent_more, sent_less'),
        (b'1,One two\n', 'pair 2 has not sent_more, sent_less'),
        (b'1,One,One two,stereo,age,[]\n', 'pair 2 has not sent_more'),
        (b'1,One two,One three,stereo,height,[]\n', "pair 2 has the bias type 'height'"),
        (b'1,"One two,One three,stereo,age,[]\n', 'pair 2 has not sent_more'),
        (b'1,"One ' + b'x' * 200_000 + b'",One three,stereo,age,[]\n', 'no CSV file'),
    ],
)
def test_a_bad_pair_is_named(tmp_path, line, reason):
    put(tmp_path, 'crows_pairs/crows_pairs_anonymized.csv', HEAD + GOOD + line)
    fails(read_crows_pairs, tmp_path, command='crows_pairs', reason=reason, complete=False)


def test_a_file_that_is_not_the_whole_set(tmp_path):
    put(tmp_path, 'crows_pairs/crows_pairs_anonymized.csv', HEAD + GOOD)
    assert read_crows_pairs(tmp_path, complete=False) == [Pair('One two', 'One three', 'age')]
    fails(read_crows_pairs, tmp_path, command='crows_pairs', reason='1 pairs instead of 1,508')
    put(tmp_path, 'crows_pairs/crows_pairs_anonymized.csv', HEAD)
    fails(read_crows_pairs, tmp_path, command='crows_pairs', reason='no pairs', complete=False)


def test_the_warning_is_printed_with_the_figures():
    tasks = {'crows_pairs': {'mean': figure(measure='score', published=None, difference=None)}}
    results = content(tasks, warnings={'crows_pairs': TASK.warning})
    assert 'Blodgett et al. 2021' in TASK.warning
    assert TASK.warning in table(results)
    assert TASK.warning in ' '.join(short_table(results, 80).split())
