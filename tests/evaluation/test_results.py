import json
import math
import os
import shutil

import pytest

from evaluation import results as results_module
from evaluation.results import PUBLISHED, ResultsFile
from evaluation.table import table
from evaluation.tasks import TASKS
from helpers.small_results import ORIGIN, figure

DATA = '0' * 16  # as the figures have it


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'results' / '124M.json'


def results_in(path, origin=ORIGIN, restart=False):
    return ResultsFile(str(path), origin, 'v1', restart)


def write(path, *tasks):
    """Have an evaluation finish tasks with one perplexity each; returns its table."""
    with results_in(path) as results:
        for task in tasks:
            results.add(task, {'perplexity': figure()})
        return table(results.content)


def files_beside(path):
    return sorted(os.listdir(path.parent))


TABLE_3 = 'lambada_perplexity lambada_accuracy cbt_cn cbt_ne wikitext2 ptb enwik8 text8 wikitext103'


def test_published_results_are_those_of_table_3():
    for model in PUBLISHED['models'].values():
        results = model['results']
        assert set(results) >= {*TABLE_3.split(), '1bw'}
        for accuracy, n in [
            (results['lambada_accuracy'], 5153),
            (results['cbt_cn'], 2000),
            (results['cbt_ne'], 2000),
        ]:
            right = round(accuracy * n / 100)
            assert round(100 * right / n, 2) == accuracy  # it is a share of all questions


def test_all_eight_published_results_of_winograd_are_shares_of_273_schemas():
    right = {
        name: [round(model['results'][f'winograd_{way}'] * 2.73) for way in ('partial', 'full')]
        for name, model in PUBLISHED['models'].items()
    }
    assert right == {
        '124M': [168, 152],
        '355M': [170, 160],
        '774M': [189, 176],
        '1558M': [193, 182],
    }
    for name, model in PUBLISHED['models'].items():
        for way, n in zip(('partial', 'full'), right[name], strict=True):
            assert abs(model['results'][f'winograd_{way}'] - 100 * n / 273) < 0.01
    printed = [
        n for n, m in PUBLISHED['models'].items() if 'winograd_partial' not in m['from_figure']
    ]
    assert printed == ['1558M']


def test_published_results_of_figure_1_and_table_4():
    """What the paper prints, worked out from what else it prints."""
    largest = PUBLISHED['models']['1558M']['results']
    for hint in ('cnndm', 'cnndm_no_hint'):
        parts = [largest[f'{hint}_rouge_{n}'] for n in ('1', '2', 'l')]
        assert abs(sum(parts) / 3 - largest[f'{hint}_rouge_avg']) < 0.006
    for name in ('lead-3', 'random-3'):
        *parts, average = [
            PUBLISHED['baselines'][f'cnndm_rouge_{n}'][name] for n in ('1', '2', 'l', 'avg')
        ]
        assert abs(sum(parts) / 3 - average) < 0.006
    exact = [model['results']['nq_exact_match'] for model in PUBLISHED['models'].values()]
    assert [round(share * 36.1) for share in exact] == [28, 70, 96, 148]  # of 3,610 questions
    assert round(148 / 28, 1) == 5.3  # times as many as the smallest model, says the paper
    summaries = [model['results']['cnndm_rouge_avg'] for model in PUBLISHED['models'].values()]
    assert max(summaries) == summaries[2]  # 774M is better than 1558M


def test_published_scores_of_stereoset_are_what_their_formula_gives():
    for name, model in PUBLISHED['models'].items():
        if name != '1558M':
            lm, ss, icat = (model['results'][f'stereoset_{n}'] for n in ('lms', 'ss', 'icat'))
            assert abs(lm * min(ss, 100 - ss) / 50 - icat) < 0.015


def test_published_scores_of_crows_pairs_are_shares_of_its_pairs():
    pairs = 'race 516 gender 262 socioeconomic 172 nationality 159 religion 105 age 87'.split()
    pairs += 'orientation 84 appearance 63 disability 60'.split()
    results = PUBLISHED['models']['124M']['results']
    right = 0
    for kind, n in zip(pairs[::2], map(int, pairs[1::2]), strict=True):
        share = results[f'crows_pairs_ppl_{kind}']
        right += round(share * n / 100)
        assert round(100 * round(share * n / 100) / n, 2) == share
    assert (right, round(100 * right / 1508, 2)) == (895, results['crows_pairs_ppl'])


def test_what_is_marked_as_traced_is_there():
    for model in PUBLISHED['models'].values():
        assert set(model['from_figure']) <= set(model['results'])
    for column, names in PUBLISHED['baselines_from_figure'].items():
        assert set(names) <= set(PUBLISHED['baselines'][column])
    for column in PUBLISHED['columns'].values():
        assert column.get('source', 'paper') in PUBLISHED['sources']
    columns = {metric.column for task in TASKS.values() for metric in task.metrics.values()}
    assert columns - {None} == set(PUBLISHED['columns'])


def test_a_finished_task_is_in_both_files_beside_the_published_result(path):
    with results_in(path) as results:
        with results.progress('ptb', DATA, width=2, most=1) as progress:
            progress.add([[1.0, 2.0]], 3.0)
        figures = {'perplexity': figure(), 'token_perplexity': figure(column=None)}
        results.add('ptb', figures)
        content = json.loads(path.read_text('utf-8'))
        assert os.listdir(results.unfinished) == ['lock']
    perplexity, token_perplexity = content['tasks']['ptb'].values()
    assert (perplexity['published'], perplexity['difference']) == (65.85, 70.125 - 65.85)
    assert (token_perplexity['published'], token_perplexity['difference']) == (None, None)
    assert content == ORIGIN | {'code_version': 'v1', 'tasks': {'ptb': figures}}
    assert path.with_suffix('.md').read_text('utf-8') == table(content)
    assert files_beside(path) == ['124M.json', '124M.md']


def test_only_released_models_have_published_results(path):
    with results_in(path, ORIGIN | {'model': 'demo'}) as results:
        results.add('ptb', {'perplexity': figure()})
        assert results.tasks['ptb']['perplexity']['published'] is None


def test_a_later_evaluation_knows_what_is_finished_and_adds_to_it(path):
    write(path, 'ptb')
    with results_in(path) as results:
        assert results.has('ptb', DATA) and not results.has('text8', DATA)
        with pytest.raises(ValueError, match="ptb in .* was made with data='0{16}', not 'other'"):
            results.has('ptb', 'other')
        results.add('text8', {'bits_per_character': figure(column=None)})
    assert list(json.loads(path.read_text('utf-8'))['tasks']) == ['ptb', 'text8']


def test_rows_of_an_unfinished_task_stay_for_the_next_evaluation(path):
    for known in ([], [[1.0, 2.0]]):
        with results_in(path) as results:
            with results.progress('ptb', DATA, width=2, most=9) as progress:
                assert progress.rows == known
                progress.add([[1.0, 2.0]], 3.0)
    with results_in(path) as results:
        with pytest.raises(ValueError, match='was made with data='):
            results.progress('ptb', 'other', width=2, most=9)


def test_other_results_are_left_as_they_are(path):
    write(path, 'ptb')
    before = path.read_bytes()
    with pytest.raises(ValueError, match="made with dtype='float32', not 'int8'.* --restart"):
        with results_in(path, ORIGIN | {'dtype': 'int8'}):
            pass
    assert path.read_bytes() == before
    assert files_beside(path) == ['124M.json', '124M.md']


def test_a_restart_forgets_everything(path):
    write(path, 'ptb')
    with results_in(path) as results:
        with results.progress('text8', DATA, width=2, most=9) as progress:
            progress.add([[1.0, 2.0]], 3.0)
    other = ORIGIN | {'dtype': 'int8'}
    with results_in(path, other, restart=True) as results:
        assert not results.has('ptb', DATA)
        with results.progress('text8', DATA, width=2, most=9) as progress:
            assert progress.rows == []
        assert files_beside(path) == ['124M.unfinished']


def test_one_process_at_a_time_writes(path):
    with results_in(path):
        with pytest.raises(ValueError, match=r'another process is writing .*124M\.json'):
            with results_in(path):
                pass
    with results_in(path):
        pass


def test_who_took_a_lock_that_was_removed_meanwhile_does_not_write(path, monkeypatch):
    """Another process has opened the lock before us, ends, and removes it: ours locks nothing."""
    for later in (False, True):

        def ends(file, later=later):
            shutil.rmtree(path.with_suffix('.unfinished'))
            if later:
                path.with_suffix('.unfinished').mkdir()
                (path.with_suffix('.unfinished') / 'lock').touch()

        with monkeypatch.context() as patch:
            patch.setattr(results_module, 'lock', ends)
            with pytest.raises(ValueError, match=r'another process is writing .*124M\.json'):
                with results_in(path):
                    pass
    with results_in(path):
        pass


def test_rows_stay_until_their_figures_are_on_the_disk(path, monkeypatch):
    def fails(descriptor):
        raise OSError(5, 'Input/output error')

    with results_in(path) as results:
        with results.progress('ptb', DATA, width=2, most=1) as progress:
            progress.add([[1.0, 2.0]], 3.0)
        with monkeypatch.context() as patch:
            patch.setattr(os, 'fsync', fails)
            with pytest.raises(OSError, match='Input/output error'):
                results.add('ptb', {'perplexity': figure()})
        assert not path.exists()
        assert sorted(os.listdir(results.unfinished)) == ['lock', 'ptb.jsonl']


def test_no_file_of_results_ever_holds_infinity_or_nan(path):
    with results_in(path) as results:
        for value in (math.inf, math.nan):
            with pytest.raises(ValueError, match='not JSON'):
                results.add('ptb', {'perplexity': figure(value=value)})
        assert not path.exists()
        results.add('ptb', {'perplexity': figure(value=None, log_value=720.5, interval=None)})
    written = json.loads(path.read_text('utf-8'))['tasks']['ptb']['perplexity']
    assert (written['published'], written['difference']) == (65.85, None)
    assert (
        '| ptb | perplexity | e^720.5 |  | 65.85 |  | 82,430' in path.with_suffix('.md').read_text()
    )


def nested(depth):
    return '[' * depth + ']' * depth


def test_a_foreign_or_damaged_file_is_not_touched(path):
    write(path, 'ptb')
    results = json.loads(path.read_text('utf-8'))
    odd = [{'ptb': 5}, {'ptb': {'perplexity': {}}}, {'winograd': {'x': {}}}]
    good = results['tasks']['ptb']['perplexity']
    odd += [
        {'ptb': {'perplexity': good | {'interval': ['low', 'high']}}},
        {'ptb': {'perplexity': good | {'more': math.inf}}},
    ]
    of_results = [json.dumps(results | {'tasks': tasks}) for tasks in odd]
    of_results += [json.dumps(results)[:-1] + f', "more": {nested(n)}}}' for n in (980, 100_000)]
    of_results += [json.dumps(results | {'settings': None}), json.dumps(results) + '\0' * 5000]
    for content in ('[]', 'nothing', '{"tasks": 3}', '9' * 5000, '\0' * 5000, *of_results):
        path.write_text(content, 'utf-8')
        with pytest.raises(
            ValueError, match='no results of an evaluation, or damaged .* --restart'
        ):
            with results_in(path):
                pass
        assert path.read_text('utf-8') == content


def test_what_a_killed_process_left_is_put_in_order(path):
    """It had the figures of a task in the JSON file, but not yet in the table."""
    whole = write(path, 'ptb', 'cbt_ne')
    path.with_suffix('.md').write_text('of ptb alone', 'utf-8')
    unfinished = path.with_suffix('.unfinished')
    unfinished.mkdir()
    for task in ('cbt_ne', 'text8'):
        (unfinished / f'{task}.jsonl').touch()
    with results_in(path) as results:
        assert list(results.tasks) == ['ptb', 'cbt_ne']
    assert path.with_suffix('.md').read_text('utf-8') == whole
    assert sorted(os.listdir(unfinished)) == ['lock', 'text8.jsonl']


def test_a_file_of_others_in_the_place_of_the_table_stays(path):
    mine = path.with_suffix('.md')
    path.parent.mkdir()
    mine.write_text('mine', encoding='utf-8')
    with pytest.raises(ValueError, match='124M.md is there already without .*124M.json'):
        write(path, 'ptb')
    assert files_beside(path) == [mine.name] and mine.read_text(encoding='utf-8') == 'mine'
