"""CoQA and Natural Questions from files to the printed table, with a model that is a script."""

import json

import pytest

from helpers.paths import TESTDATA
from helpers.scripted_engine import Killed
from helpers.small_answers import COQA_SCRIPT, NQ_SCRIPT
from helpers.small_evaluation import Evaluation, without_seconds
from make_random_model import make_random_model

SIZES = dict(n_merges=0, n_ctx=1024, n_embd=8, n_head=2, n_layer=1)


@pytest.fixture(scope='module')
def models(tmp_path_factory, gpt2_vocabulary):
    folder = tmp_path_factory.mktemp('models')
    make_random_model('124M', str(gpt2_vocabulary), str(folder), **SIZES)
    return folder


@pytest.fixture
def run(models, tmp_path, call, monkeypatch):
    data = TESTDATA / 'small_data'
    run = Evaluation(models, data, tmp_path / 'results', call, monkeypatch)
    run.answers = (COQA_SCRIPT | NQ_SCRIPT).__getitem__
    return run


def rows_of(output):
    """The first six cells of a table's rows."""
    rows = [line.strip('| ').split(' | ') for line in output.splitlines() if line[:2] == '| ']
    return {(row[0], row[1]): (row[2], row[4], row[5]) for row in rows if len(row) > 6}


def test_the_table_has_the_figures_worked_out_by_hand(run, tmp_path):
    flags = ['--tasks=coqa,coqa_human,nq,nq_commonest', f'--export={tmp_path / "export"}']
    status, output, errors = run(*flags, '--choices=nq.pairs=2', model='124M')
    assert (status, errors) == (0, '')
    rows = rows_of(output)
    assert rows['coqa', 'f1'] == ('70.00', '≈ 25.9', '+44.10')
    assert rows['coqa', 'exact_match (%)'] == ('60.00', '', '')
    assert rows['coqa_human', 'f1'] == ('85.00', '≈ 89.8', '-4.80')
    assert rows['coqa_human', 'exact_match (%)'] == ('65.00', '', '')
    assert rows['nq', 'exact_match (%)'][0] == '60.00'
    assert rows['nq', 'most_confident_accuracy (%)'][0] == '0.00'
    assert rows['nq_commonest', 'exact_match (%)'] == ('40.00', '1', '+39.00')
    assert '| mctest | 86.1 | 75.0 | 3 |\n' in output
    assert '| What is the highest grade? | an A | ✓ |' in output
    exported = (tmp_path / 'export/coqa/coqa-dev-v1.0.predictions.json').read_text('utf-8')
    assert len(json.loads(exported)) == 5
    assert (tmp_path / 'export/nq/NQ-open.dev.predictions.jsonl').exists()


@pytest.mark.parametrize('flags', [['--tasks=coqa'], ['--tasks=nq', '--choices=nq.pairs=2']])
def test_a_run_that_is_killed_after_any_text_goes_on(run, flags):
    run(*flags, model='124M')
    whole = without_seconds(run.results('124M'))
    for texts in range(5):
        run.after = texts
        with pytest.raises(Killed):
            run(*flags, '--restart', model='124M')
        run.after = None
        assert run(*flags, model='124M')[0] == 0
        assert without_seconds(run.results('124M')) == whole
        assert len(run.engines[-1].requests) == 5 - texts
