"""Tasks that generate, from the command line to the table, with a scripted engine."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import zero_shot
from evaluation import generated_texts, runs
from evaluation.metric import accuracy
from evaluation.tasks import TASKS
from helpers import small_generating as small
from helpers.kills import end_again_and_again
from helpers.paths import ROOT
from helpers.scripted_engine import Killed
from helpers.small_evaluation import Evaluation, check_refused, without_seconds
from helpers.small_tasks import write_all
from support.stopping import Stopped

CAPITALS = '--tasks=capitals'


@pytest.fixture
def run(byte_models, tmp_path, call, monkeypatch):
    """Evaluate on capitals, and whatever else is asked for; see helpers/small_evaluation.py."""
    monkeypatch.setitem(TASKS, 'capitals', small.CAPITALS)
    monkeypatch.setitem(TASKS, 'first_capital', small.FIRST_CAPITAL)
    evaluation = Evaluation(byte_models, tmp_path / 'data', tmp_path / 'results', call, monkeypatch)
    evaluation.answers = small.ANSWERS
    evaluation.always += ['--model_name=long']
    return evaluation


def records(folder, task='capitals', name='long'):
    """The lines of a file of texts."""
    lines = (folder / f'results/{name}.{task}.jsonl').read_text('utf-8').splitlines()
    return [json.loads(line) for line in lines]


def change_texts(folder, change):
    """Have `change` edit the lines of a file of texts, a list of dict."""
    lines = records(folder)
    change(lines)
    path = folder / 'results/long.capitals.jsonl'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines), 'utf-8')


def test_texts_are_kept_with_how_they_were_made_and_figures_with_their_choices(run, tmp_path):
    status, output, errors = run(CAPITALS)
    assert (status, errors) == (0, '')
    figures = run.results('long')['tasks']['capitals']
    assert set(figures) == {'exact_match', 'most_confident', 'geometric'}
    assert figures['exact_match']['value'] == 40
    for figure in figures.values():
        assert figure['choices'] == {'pairs': 1, 'length': 8, 'stops': ['\n']}
        assert (figure['prompts'], figure['prompts_cut'], figure['tokens_cut']) == (5, 0, 0)
        assert figure['baseline'] is None and figure['texts_code_version']
        assert figure['context'] == 3000 and figure['stride'] is None and figure['seconds'] >= 0
    first, *texts = records(tmp_path)
    assert (first['model'], first['task'], first['dtype']) == ('long', 'capitals', 'float32')
    assert first['choices'] == figures['geometric']['choices']
    assert first['data'] == figures['geometric']['data'] and len(first['model_fingerprint']) == 16
    by_id = {text['id']: text for text in texts}
    norway = by_id['Norway']
    assert (norway['text'], len(norway['tokens']), norway['logprob']) == (' Oslo', 5, -3.0)
    assert (norway['seed'], norway['lost'], len(norway['prompt_sha'])) == (0, 0, 16)
    assert by_id['Peru']['text'] == '' and len(texts) == 5
    assert "- capitals: pairs 1, length 8, stops ['\\n']; no prompt lost tokens\n" in output
    assert output.endswith('## capitals\n\n' + run.results('long')['tables']['capitals'])
    assert '| Spain |  Lisbon |' in (tmp_path / 'results/long.md').read_text('utf-8')


def test_in_a_terminal_tables_of_tasks_are_cut_to_its_width(run, monkeypatch, tmp_path):
    monkeypatch.setenv('COLUMNS', '12')
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    assert '\n| Spain |  …\n' in run(CAPITALS)[1]
    assert '| Spain |  Lisbon |' in (tmp_path / 'results/long.md').read_text('utf-8')


def test_what_the_engine_is_asked_for(run):
    run(CAPITALS, '--batch_size=2', '--choices=capitals.length=5')
    (engine,) = run.engines
    assert [request.sample for request in engine.requests] == [0, 1, 2, 3, 4]
    assert (engine.settings.length, engine.settings.temperature, engine.stops) == (5, 0, ('\n',))
    second = engine.encoder.decode(engine.requests[1].prompt)
    assert second == 'Q: Capital of Italy?\nA: Rome\n\nQ: Capital of Spain?\nA:'
    assert engine.rows == 2 and engine.closed
    assert engine.n_shards is None


def test_text_in_int8_does_not_depend_on_the_cores_of_a_machine(run):
    assert run(CAPITALS, '--dtype=int8')[0] == 0
    assert run.engines[0].n_shards == 1


def test_scorers_come_first_and_are_closed_and_baselines_need_no_model(run, tmp_path, monkeypatch):
    write_all(tmp_path / 'data')
    order = []
    for name in ('scorer', 'engine'):
        start = getattr(run, f'start_{name}')

        def started(*model, start=start, name=name, **more):
            assert not order or order[-1] == 'scorer closed'
            order.append(name)
            one = start(*model, **more)
            one.close = lambda: order.append(f'{name} closed')
            return one

        monkeypatch.setattr(zero_shot, f'start_{name}', started)
    assert run('--tasks=first_capital')[0] == 0 and order == []
    assert run('--tasks=capitals,first_capital,cbt_ne,winograd')[0] == 0
    assert order == ['scorer', 'scorer closed', 'engine', 'engine closed']
    tasks = run.results('long')['tasks']
    assert set(tasks) == {'capitals', 'first_capital', 'cbt_ne', 'winograd'}
    assert tasks['first_capital']['exact_match']['value'] == 20
    assert tasks['first_capital']['exact_match']['baseline'] == 'first_capital'
    assert not (tmp_path / 'results/long.first_capital.jsonl').exists()


def test_a_published_baseline_stands_beside_that_of_the_paper(run, monkeypatch):
    published = {'models': {}, 'columns': {}, 'baselines': {'capitals': {'always Paris': 19.0}}}
    monkeypatch.setattr('evaluation.results.PUBLISHED', published)
    monkeypatch.setattr('evaluation.results.BASELINES_TRACED', {'capitals': ['always Paris']})
    metrics = {'exact_match': accuracy('right', 'questions', 'the capital', 'capitals')}
    task = small.FIRST_CAPITAL._replace(metrics=metrics, published_as='always Paris')
    monkeypatch.setitem(TASKS, 'first_capital', task)
    output = run('--tasks=first_capital')[1]
    figure = run.results('long')['tasks']['first_capital']['exact_match']
    assert (figure['published'], figure['difference']) == (19.0, 1.0)
    assert '| 20.00 | 0.00 – 60.00 | ≈ 19 | +1.00 |' in output


def interrupted(run, *flags, after):
    """Run, but let the process die when so many texts have ended."""
    run.after = after
    with pytest.raises(Killed):
        run(*flags)
    run.after = None


def by_id(texts):
    """The records of texts, but for their order and the time they took."""
    return {record['id']: record | {'seconds': 0} for record in texts[1:]}


@pytest.mark.parametrize(
    'after, torn', [*enumerate(['', '{"id": "Fra', '\0' * 5000, '{"id": "F\0"}\n', '{}'])]
)
def test_a_process_that_ends_between_any_two_texts_loses_none(run, tmp_path, after, torn):
    assert run(CAPITALS)[0] == 0
    whole, texts = without_seconds(run.results('long')), records(tmp_path)
    shutil.rmtree(tmp_path / 'results')
    interrupted(run, CAPITALS, after=after)
    before = records(tmp_path)
    assert len(before) == 1 + after
    with open(tmp_path / 'results/long.capitals.jsonl', 'a', encoding='utf-8') as file:
        file.write(torn)
    assert run(CAPITALS)[0] == 0
    assert records(tmp_path)[: len(before)] == before
    assert without_seconds(run.results('long')) == whole
    assert by_id(records(tmp_path)) == by_id(texts)
    asked = [request.sample for engine in run.engines[-2:] for request in engine.requests]
    assert len(run.engines[-1].requests) == 5 - after and set(asked) == {*range(5)}


def test_complete_texts_need_no_model(run, tmp_path):
    assert run(CAPITALS)[0] == 0
    whole = without_seconds(run.results('long'))
    (tmp_path / 'results/long.json').unlink()
    (tmp_path / 'results/long.md').unlink()
    assert run(CAPITALS)[0] == 0 and len(run.engines) == 1
    assert without_seconds(run.results('long')) == whole


def test_another_metric_is_computed_from_the_texts_that_are_there(run, monkeypatch, tmp_path):
    """As when a metric was mended: by another version of the code, which reads the same texts."""
    assert run(CAPITALS)[0] == 0
    made_by = run.results('long')['code_version']
    monkeypatch.setattr(zero_shot, 'source_digest', lambda: '0' * 16)
    monkeypatch.setattr(zero_shot, 'source_version', lambda: 'later')

    def rows(questions, generated, choices):
        return 0 * small.rows(questions, generated, choices)

    monkeypatch.setitem(TASKS, 'capitals', small.CAPITALS._replace(rows=rows))
    check_refused(run(CAPITALS), 'another version of this code made it')
    for name in ('long.json', 'long.md'):
        (tmp_path / 'results' / name).unlink()
    check_refused(run(CAPITALS), 'long.capitals.jsonl', 'another version of this code made it')
    status, output, _ = run(CAPITALS, '--restart', '--keep_texts')
    figure = run.results('long')['tasks']['capitals']['exact_match']
    assert (status, figure['value'], len(run.engines)) == (0, 0.0, 1)
    assert figure['texts_code_version'] == made_by != run.results('long')['code_version']
    assert f'texts by code {made_by}' in output
    assert run(CAPITALS, '--restart')[0] == 0 and len(run.engines) == 2


def test_unfinished_texts_of_another_version_of_the_code_do_not_go_on(run, monkeypatch, tmp_path):
    interrupted(run, CAPITALS, after=3)
    monkeypatch.setattr(zero_shot, 'source_digest', lambda: '0' * 16)
    for more in ([], ['--keep_texts'], ['--keep_texts', '--restart']):
        check_refused(run(CAPITALS, *more), 'capitals.jsonl', 'another version of this code')
    assert len(records(tmp_path)) == 4 and len(run.engines) == 1
    assert run(CAPITALS, '--restart')[0] == 0 and len(records(tmp_path)) == 6


@pytest.mark.parametrize('finished', [False, True])
def test_other_choices_data_or_prompts_do_not_go_on(run, monkeypatch, tmp_path, finished):
    if finished:
        assert run(CAPITALS)[0] == 0
    else:
        interrupted(run, CAPITALS, after=2)
    other = '--choices=capitals.length=9'
    check_refused(run(CAPITALS, other), 'made with length=8, not 9', '--restart', '--results_dir')
    with monkeypatch.context() as patch:
        more = small.CAPITALS._replace(read=lambda *_, **__: small.QUESTIONS * 1 + small.MORE)
        patch.setitem(TASKS, 'capitals', more)
        check_refused(run(CAPITALS), 'made with data=')
    change_texts(tmp_path, lambda lines: lines[0].update(model_fingerprint='x'))
    if not finished:
        check_refused(run(CAPITALS), "model_fingerprint='x'")
    else:
        assert run(CAPITALS)[0] == 0  # its figures are there
        check_refused_export(run, tmp_path, "model_fingerprint='x'")
    assert len(run.engines) == 1


def check_refused_export(run, tmp_path, *words):
    status, _, errors = run(CAPITALS, f'--export={tmp_path}/export')
    assert status == 2 and all(word in errors for word in words)


def test_texts_of_other_prompts_are_refused(run, monkeypatch):
    interrupted(run, CAPITALS, after=2)

    def prompts(questions, encoder, n_ctx, choices):
        found = small.prompts(questions, encoder, n_ctx, choices)
        return [prompt._replace(tokens=prompt.tokens[1:]) for prompt in found]

    monkeypatch.setitem(TASKS, 'capitals', small.CAPITALS._replace(prompts=prompts))
    check_refused(run(CAPITALS), 'long.capitals.jsonl has a text of another prompt Peru')
    assert len(run.engines) == 1


@pytest.mark.parametrize(
    'change',
    [
        {'tokens': 'abc'},
        {'tokens': [1, 'b']},
        {'text': 5},
        {'logprob': None},
        {'logprob': 'x'},
        {'seconds': None},
        {'lost': '0'},
        {'id': 5},
        {'id': 'Peru'},  # twice
    ],
)
def test_damaged_texts_are_named(run, tmp_path, change):
    interrupted(run, CAPITALS, after=3)
    change_texts(tmp_path, lambda lines: lines[2].update(change))
    check_refused(run(CAPITALS), 'long.capitals.jsonl is damaged: begin anew with --restart')


@pytest.mark.parametrize('first', ['{}', '[1]', '5', '{"model": "long"}', 'text', '{"choices": 5}'])
def test_a_file_of_something_else_in_the_place_of_texts_stays(run, tmp_path, first):
    (tmp_path / 'results').mkdir()
    path = tmp_path / 'results/long.capitals.jsonl'
    path.write_text(first + '\n')
    check_refused(run(CAPITALS), 'long.capitals.jsonl', '--restart')
    assert path.read_text() == first + '\n' and not run.engines


def test_a_first_line_without_choices_is_refused(run, tmp_path):
    interrupted(run, CAPITALS, after=3)
    for choices in (None, 5, {}):
        change_texts(tmp_path, lambda lines: lines[0].update(choices=choices))  # noqa: B023
        check_refused(run(CAPITALS), 'long.capitals.jsonl was made with pairs=None, not 1')


def test_a_prompt_that_does_not_fit_is_one_line_before_anything_is_loaded(run, tmp_path):
    write_all(tmp_path / 'data')
    check_refused(
        run('--tasks=cbt_ne,capitals', '--context=20'),
        'capitals: prompt France: a prompt of 24 tokens and 8 new ones exceed the context of 20',
    )
    assert run.scorers == run.engines == []


def test_prompts_that_lost_tokens_are_counted_and_said(run, tmp_path):
    run.answers = lambda prompt: ' Oslo\n'
    output = run(CAPITALS, '--context=40')[1]
    figure = run.results('long')['tasks']['capitals']['geometric']
    lost = [text['lost'] for text in records(tmp_path)[1:]]
    assert (figure['prompts_cut'], figure['tokens_cut']) == (5, sum(lost)) and min(lost) > 0
    assert f'; 5 of 5 prompts lost {sum(lost)} tokens to fit the context\n' in output


def test_a_limit_takes_the_first_examples_and_its_texts_are_apart(run, tmp_path):
    assert run(CAPITALS, '--limit=2')[0] == 0
    assert [text['id'] for text in records(tmp_path, name='long.limit-2')[1:]] == [
        'France',
        'Spain',
    ]
    assert run(CAPITALS)[0] == 0 and run.results('long')['tasks']['capitals']
    assert run(CAPITALS, '--restart')[0] == 0
    assert (tmp_path / 'results/long.limit-2.capitals.jsonl').exists()


def test_example_pairs_are_no_examples(run, monkeypatch):
    pairs, seen = ['a pair'], []

    def prompts(questions, encoder, n_ctx, choices, pairs):
        seen.append((len(questions), pairs))
        return small.prompts(questions, encoder, n_ctx, choices)

    with_pairs = small.CAPITALS._replace(
        prompts=prompts, pairs=lambda data_dir, complete=True: list(pairs)
    )
    monkeypatch.setitem(TASKS, 'capitals', with_pairs)
    assert run(CAPITALS, '--limit=2')[0] == 0 and seen == [(2, ['a pair'])]
    pairs.append('another')
    check_refused(run(CAPITALS, '--limit=2'), 'made with data=')


def test_examples_that_tasks_share_are_read_once(run, monkeypatch):
    read = []

    def reader(data_dir, complete=True):
        read.append(data_dir)
        return list(small.QUESTIONS)

    for name in ('capitals', 'first_capital'):
        monkeypatch.setitem(TASKS, name, TASKS[name]._replace(read=reader))
    assert run('--tasks=capitals,first_capital')[0] == 0 and len(read) == 1


def test_exports_are_what_official_scripts_read(run, tmp_path):
    folder = tmp_path / 'deep' / 'export'
    status, output, errors = run('--tasks=capitals,first_capital', f'--export={folder}')
    assert (status, errors) == (0, '')
    expected = ' Paris\n Lisbon\n Oslo\n\n Tok Tok\n'
    assert (folder / 'capitals/answers.txt').read_text('utf-8') == expected
    assert (folder / 'first_capital/answers.txt').read_text('utf-8') == 'Paris\n' * 5
    (folder / 'capitals/answers.txt').unlink()
    assert run(CAPITALS, f'--export={folder}')[0] == 0 and len(run.engines) == 1
    assert (folder / 'capitals/answers.txt').read_text('utf-8') == expected
    os.remove(tmp_path / 'results/long.capitals.jsonl')
    check_refused_export(run, tmp_path, 'long.capitals.jsonl is gone')
    assert not (tmp_path / 'results/long.capitals.jsonl').exists()
    check_refused(run('--tasks=ptb', f'--export={folder}'), 'no official script reads texts of ptb')


def test_packages_that_are_missing_are_named_before_anything_is_read(run, monkeypatch):
    task = small.CAPITALS._replace(requires=('numpy', 'no-such-package', 'nor-this'))
    monkeypatch.setitem(TASKS, 'capitals', task)
    check_refused(
        run('--tasks=capitals,ptb'), 'capitals needs more: pip install no-such-package nor-this\n'
    )


def test_degenerate_models_have_figures(run, tmp_path):
    """One that answers nothing, repeats the prompt, never ends a line, ends at once."""
    for answer in ('\n', '{}\n', ' la', '<|endoftext|>', '\ufffd'):
        run.answers = answer.format
        assert run(CAPITALS, '--restart')[0] == 0
        for figure in run.results('long')['tasks']['capitals'].values():
            assert figure['value'] >= 0 and figure['units'] >= 0
        assert len(records(tmp_path)) == 6


def test_a_model_that_gives_no_numbers_is_refused(run, monkeypatch):
    start = run.start_engine

    def broken(*model, **more):
        engine = start(*model, **more)
        engine.logprob = lambda before, token: float('nan')
        return engine

    monkeypatch.setattr(zero_shot, 'start_engine', broken)
    check_refused(run(CAPITALS), 'log-probabilities that are no numbers')


def test_who_stops_an_evaluation_is_told_what_is_kept(run, monkeypatch, tmp_path):
    def stopped(*_):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(zero_shot, 'run_all', stopped)
    texts = tmp_path / 'results' / 'long.*.jsonl'
    told = (
        f'stopped by SIGTERM; {texts} keep what is generated: run the same command again to go on\n'
    )
    assert run(CAPITALS) == (143, '', told)


def test_the_bar_comes_to_its_end(run, monkeypatch, tmp_path):
    write_all(tmp_path / 'data')
    bars, tqdm = [], runs.tqdm

    def kept(*iterable, **options):
        bars.append(tqdm(*iterable, **options | {'disable': False}))
        return bars[-1]

    monkeypatch.setattr(runs, 'tqdm', kept)
    interrupted(run, CAPITALS, after=2)
    assert run('--tasks=capitals,cbt_ne')[0] == 0
    bar = bars[-2] if bars[-1].unit == ' tasks' else bars[-1]
    assert bar.unit == ' tokens' and bar.n == bar.total > 0


def test_texts_are_on_the_disk_after_a_while_and_at_the_end(run, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, 'fsync', lambda fd: synced.append(fd) or sync(fd))
    monkeypatch.setattr(generated_texts, 'SYNC_SECONDS', 1000)
    assert run(CAPITALS)[0] == 0
    few = len(synced)
    monkeypatch.setattr(generated_texts, 'SYNC_SECONDS', 0)
    assert run(CAPITALS, '--restart')[0] == 0
    assert len(synced) - few == few + 5


START = (
    'import sys; sys.path[:0] = ["src", "tests"]\n'
    '{}\n'
    'import zero_shot; from evaluation.tasks import TASKS; from support import command_line\n'
    'from helpers import small_generating as small\n'
    'TASKS |= dict(capitals=small.CAPITALS, first_capital=small.FIRST_CAPITAL, many=small.MANY)\n'
    'command_line.run(zero_shot.evaluate)'
)


def start(models, results, *flags, before='', **options):
    """A process that evaluates, with the small tasks among the others."""
    folders = [f'--models_dir={models}', f'--results_dir={results}']
    command = [sys.executable, '-c', START.format(before), *folders, *flags]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8'
    )


def test_what_needs_no_model_needs_no_tensorflow(run, byte_models, tmp_path):
    """A baseline, and texts that are all there."""
    assert run(CAPITALS)[0] == 0
    (tmp_path / 'results/long.json').unlink()
    (tmp_path / 'results/long.md').unlink()
    flags = '--model_name=long', '--tasks=capitals,first_capital', '--any_size'
    before = 'sys.modules["tensorflow"] = None'
    process = start(byte_models, tmp_path / 'results', *flags, before=before)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, '')
    assert '| capitals | exact_match (%) | 40.00 |' in output
    assert '| first_capital | exact_match (%) | 20.00 |' in output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_that_is_ended_again_and_again_loses_no_text(models_dir, tmp_path):
    """With the engine itself: the texts of an uninterrupted run, and its figures.

    Log-probabilities are the same but for rounding: other texts are beside a text in its batch.
    """
    flags = '--model_name=demo', '--tasks=many', '--batch_size=3', '--any_size'
    process = start(models_dir, tmp_path / 'whole', *flags)
    assert process.communicate(timeout=120) and process.returncode == 0
    path = tmp_path / 'ended/demo.many.jsonl'

    def progress():
        return path.read_bytes().count(b'\n') if path.exists() else 0

    def check(number, errors):
        now = path.read_bytes() if path.exists() else b''
        assert now.startswith(check.before)
        check.before = now[: now.rfind(b'\n') + 1]
        if number != signal.SIGKILL and 'again' in errors:
            assert f'{tmp_path}/ended/demo.*.jsonl keep what is generated' in errors

    check.before = b''
    end_again_and_again(
        lambda: start(models_dir, tmp_path / 'ended', *flags), progress, check, times=6
    )
    process = start(models_dir, tmp_path / 'ended', *flags)
    assert process.communicate(timeout=120) and process.returncode == 0
    assert path.read_bytes().startswith(check.before)
    ended, whole = (
        by_id([json.loads(line) for line in (tmp_path / name).read_text('utf-8').splitlines()])
        for name in ('ended/demo.many.jsonl', 'whole/demo.many.jsonl')
    )
    for name, text in whole.items():
        logprob = ended[name].pop('logprob')
        assert logprob == pytest.approx(text.pop('logprob'), abs=1e-3)
    assert ended == whole
    ended, whole = (
        json.loads((tmp_path / name / 'demo.json').read_text('utf-8'))['tasks']['many']
        for name in ('ended', 'whole')
    )
    for name, figure in whole.items():
        for key in ('value', 'interval'):
            assert ended[name].pop(key) == pytest.approx(figure.pop(key), rel=1e-3)
    assert without_seconds({'tasks': {'many': ended}}) == without_seconds(
        {'tasks': {'many': whole}}
    )
