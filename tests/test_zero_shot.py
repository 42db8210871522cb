import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import zero_shot
from evaluation import runs
from evaluation.generating import GeneratingTask
from evaluation.progress import Progress
from evaluation.tasks import TASKS
from fast import DTYPES
from helpers import small_tasks as small
from helpers.paths import ROOT
from helpers.small_evaluation import Evaluation, check_refused, without_seconds
from helpers.table_scorer import TableScorer, uniform
from make_random_model import make_random_model
from support.stopping import Stopped

SIZES = dict(n_merges=0, n_ctx=1024, n_embd=8, n_head=2, n_layer=1)


@pytest.fixture(scope='module')
def models(tmp_path_factory, gpt2_vocabulary):
    """A folder with a model of bytes under two names, one of them a released model's."""
    folder = tmp_path_factory.mktemp('models')
    make_random_model('small', str(gpt2_vocabulary), str(folder), **SIZES)
    shutil.copytree(folder / 'small', folder / '124M')
    return folder


@pytest.fixture
def data(tmp_path):
    return small.write_all(tmp_path / 'data')


@pytest.fixture
def run(models, data, tmp_path, call, monkeypatch):
    """Evaluate with a uniform model in place of TensorFlow; see helpers/small_evaluation.py."""
    return Evaluation(models, data, tmp_path / 'results', call, monkeypatch)


def test_all_tasks_are_written_with_how_they_were_made(run, tmp_path):
    few = '--choices=wmt14_fr_en.pairs=2,wmt14_en_fr.pairs=2'  # as small files have
    status, output, errors = run('--stride=64,300', few, model='124M')
    assert (status, errors) == (0, '')
    results = run.results('124M')
    assert results['model'] == '124M' and len(results['model_fingerprint']) == 16
    assert results['code_version'] and len(results['sources']) == 16
    assert results['dtype'] == 'float32' and results['limit'] is None and results['any_size']
    assert results['settings']['context'] == 1024 and results['settings']['stride'] == [64, 300]
    streams = [name for name, task in TASKS.items() if task.stream]
    assert set(results['tasks']) == {*TASKS, *(f'{name}@300' for name in streams)}
    for name, figures in results['tasks'].items():
        task = TASKS[name.partition('@')[0]]
        assert set(figures) == set(task.metrics)
        for figure in figures.values():
            assert figure['context'] == 1024
            stride = 300 if '@' in name else 64 if task.strides else None
            assert figure['stride'] == stride
            assert ('choices' in figure) == isinstance(task, GeneratingTask)
            assert figure['seconds'] >= 0 and len(figure['data']) == 16
    assert (tmp_path / 'results/124M.md').read_text(encoding='utf-8') == output
    texts = [f'124M.{name}.jsonl' for name in TASKS if getattr(TASKS[name], 'prompts', None)]
    files = sorted(['124M.json', '124M.md', *texts])
    assert sorted(os.listdir(tmp_path / 'results')) == files


def test_figures_stand_beside_those_of_the_paper(run):
    output = run('--tasks=lambada,cbt_cn,enwik8,winograd', model='124M')[1]
    tasks = run.results('124M')['tasks']
    lambada = tasks['lambada']
    assert lambada['perplexity']['published'] == 35.13
    assert lambada['accuracy_filtered']['published'] == 45.99
    assert lambada['accuracy_filtered']['difference'] == pytest.approx(0 - 45.99)
    assert lambada['accuracy']['published'] is None  # only for 1558M
    assert tasks['cbt_cn']['accuracy']['difference'] == pytest.approx(10 - 87.65)
    assert tasks['enwik8']['bits_per_byte']['published'] == 1.16
    full = tasks['winograd']['accuracy_full']
    assert (full['published'], full['published_from_figure']) == (55.68, True)
    row = next(line for line in output.splitlines() if line.startswith('| cbt_cn'))
    assert '| accuracy (%) | 10.00 |' in row and '| 87.65 | -77.65 | 2 questions |' in row
    assert run('--tasks=cbt_cn')[0] == 0
    assert run.results('small')['tasks']['cbt_cn']['accuracy']['published'] is None


def test_missing_files_are_named_before_anything_runs(run, data):
    os.remove(data / 'ptb' / 'ptb.test.txt')
    os.remove(data / 'text8' / 'text8')
    check_refused(
        run('--tasks=lambada,ptb,enwik8,text8'),
        'ptb: there is no',
        'python3 src/download_data.py ptb',
        'likewise for text8',
    )
    assert not run.scorers


def test_files_of_another_length_are_refused(models, data, tmp_path, call):
    flags = [f'--models_dir={models}', f'--data_dir={data}', f'--results_dir={tmp_path}']
    result = call(zero_shot.evaluate, '--model_name=small', '--tasks=cbt_ne', *flags)
    check_refused(result, 'it has 1 questions instead of 2,000', 'download_data.py cbt')


@pytest.mark.parametrize(
    'flag, words',
    [
        ('--tasks=penn', ["no task 'penn'", 'ptb']),
        ('--stride=0', ['stride', 'at least 1']),
        ('--stride=2000', ['stride', 'below 1025']),
        ('--stride=half', ['stride must be whole numbers', "'half'"]),
        ('--context=1025', ['context', 'below 1025']),
        ('--limit=0', ['limit', 'at least 1']),
        ('--dtype=int4', [f'dtype must be one of {", ".join(DTYPES)}']),
    ],
)
def test_what_cannot_be_meant_is_refused(run, flag, words):
    check_refused(run(flag), *words)
    assert not run.scorers


def test_finished_tasks_are_not_scored_again(run):
    assert run('--tasks=ptb')[0] == 0
    status, output, errors = run('--tasks=ptb')
    assert status == 0 and 'holds all of this already' in errors and '| ptb |' in output
    assert len(run.scorers) == 1
    run('--tasks=ptb,cbt_ne')
    assert list(run.results()['tasks']) == ['ptb', 'ptb@1024', 'cbt_ne']
    assert run.scorers[1].read < 10 * len(small.STORY + 60 * ' ')  # the question alone


class Killed(Exception):
    pass


def interrupt(run, monkeypatch, flags, after):
    """Run, but let the process die when it has added so many pieces."""
    add, count = Progress.add, [0]

    def dying(self, rows, seconds):
        add(self, rows, seconds)
        count[0] += 1
        if count[0] == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'add', dying)
        with pytest.raises(Killed):
            run(*flags)


@pytest.mark.parametrize('torn', [b'', b'{"rows": [[1.0, 2'])
def test_an_interrupted_task_goes_on_where_it_was(run, monkeypatch, tmp_path, torn):
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)
    flags = ['--tasks=lambada,text8', '--context=32', '--stride=8']
    assert run(*flags)[0] == 0
    whole, read = without_seconds(run.results()), run.scorers[0].read
    shutil.rmtree(tmp_path / 'results')
    interrupt(run, monkeypatch, flags, after=8)
    with open(tmp_path / 'results/small.unfinished/text8.jsonl', 'ab') as file:
        file.write(torn)
    interrupt(run, monkeypatch, flags, after=3)
    assert run(*flags)[0] == 0
    assert without_seconds(run.results()) == whole
    pieces_read = [scorer.read for scorer in run.scorers[1:]]
    assert len(pieces_read) == 3 and all(pieces_read) and sum(pieces_read) == read
    assert sorted(os.listdir(tmp_path / 'results')) == ['small.json', 'small.md']


def test_a_question_that_does_not_fit_is_refused_with_its_task_before_anything_is_scored(run):
    result = run('--tasks=text8,lambada,cbt_cn', '--context=3')
    check_refused(result, 'lambada: 6 tokens are to be scored with a context of 3')
    assert [scorer.read for scorer in run.scorers] == [0]


def test_who_stops_an_evaluation_is_told_what_is_kept(run, monkeypatch, tmp_path):
    def stopped(*_):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(zero_shot, 'run_all', stopped)
    kept = tmp_path / 'results' / 'small.unfinished'
    told = f'stopped by SIGTERM; {kept} keeps what is scored: run the same command again to go on\n'
    assert run('--tasks=ptb') == (143, '', told)


def test_seconds_are_those_of_all_runs(run, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)
    flags = ['--tasks=text8', '--context=32', '--stride=8']
    interrupt(run, monkeypatch, flags, after=2)
    path = tmp_path / 'results/small.unfinished/text8.jsonl'
    header, first, second = path.read_text().splitlines()
    first = json.dumps(json.loads(first) | {'seconds': 1000})
    path.write_text('\n'.join([header, first, second, '']))
    run(*flags)
    for figure in run.results()['tasks']['text8'].values():
        assert 1000 < figure['seconds'] < 1100


@pytest.mark.parametrize(
    'flag, words',
    [
        ('--context=16', ['settings=', "'context': 32", "'context': 16"]),
        ('--stride=4', ['settings=', "'stride': [8]", "'stride': [4]"]),
        ('--dtype=bfloat16', ["dtype='float32', not 'bfloat16'"]),
    ],
)
@pytest.mark.parametrize('finished', [False, True])
def test_other_settings_do_not_go_on(run, monkeypatch, flag, words, finished):
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)
    flags = ['--tasks=text8', '--context=32', '--stride=8']
    if finished:
        run(*flags)
    else:
        interrupt(run, monkeypatch, flags, after=2)
    check_refused(run(*flags, flag), 'was made with', *words, '--restart', '--results_dir')
    status, output, _ = run(*flags, flag, '--restart')
    assert status == 0
    assert flag.partition('=')[2] in str(run.results())


@pytest.mark.parametrize('finished', [False, True])
def test_other_data_do_not_go_on(run, data, monkeypatch, finished):
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)
    if finished:
        run('--tasks=text8')
    else:
        interrupt(run, monkeypatch, ['--tasks=text8'], after=1)
    content = (data / 'text8/text8').read_text()
    (data / 'text8/text8').write_text(content[:-1] + 'x')
    check_refused(run('--tasks=text8'), 'was made with data=', '--restart')


def test_other_weights_and_other_code_do_not_go_on(run, monkeypatch):
    run('--tasks=cbt_ne')
    monkeypatch.setattr(zero_shot, 'fingerprint', lambda folder: '0' * 16)
    check_refused(run('--tasks=ptb'), 'model_fingerprint=', "not '0000000000000000'")
    monkeypatch.undo()
    monkeypatch.setattr(zero_shot, 'source_digest', lambda: '0' * 16)
    check_refused(run('--tasks=ptb'), 'sources=')


@pytest.mark.parametrize('finished', [False, True])
def test_an_older_versions_results_say_why_they_do_not_go_on(run, monkeypatch, tmp_path, finished):
    """The former evaluate.py wrote what zero_shot.py writes, but for the digest of the sources."""
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)
    flags = ['--tasks=text8', '--context=32', '--stride=8']
    with monkeypatch.context() as older:
        older.setattr(zero_shot, 'source_digest', lambda: '0123456789abcdef')
        if finished:
            assert run(*flags)[0] == 0
        else:
            interrupt(run, monkeypatch, flags, after=2)
    files = {
        path: path.read_bytes() for path in (tmp_path / 'results').rglob('*.*') if path.is_file()
    }
    scored = len(run.scorers)
    result = run(*flags)
    check_refused(result, "sources='0123456789abcdef'", 'another version of this code made it')
    check_refused(result, '--results_dir', '--restart')
    assert 'repeat its settings' not in result[2] and not any(s.read for s in run.scorers[scored:])
    assert {path: path.read_bytes() for path in files} == files
    with monkeypatch.context() as older:  # the older version itself goes on
        older.setattr(zero_shot, 'source_digest', lambda: '0123456789abcdef')
        assert run(*flags)[0] == 0
    assert run(*flags, '--restart')[0] == 0
    assert run.results()['sources'] != '0123456789abcdef'


def test_the_data_are_hashed_once_a_task(run, monkeypatch):
    digest, hashed = runs.digest, []
    monkeypatch.setattr(runs, 'digest', lambda examples: hashed.append(1) or digest(examples))
    assert run('--tasks=ptb,text8,cbt_ne', '--stride=64,300')[0] == 0
    assert len(run.results()['tasks']) == 5 and len(hashed) == 3


@pytest.mark.parametrize('width', [60, 80, 200])
def test_a_terminal_has_the_table_that_fits_it(run, monkeypatch, tmp_path, width):
    run('--tasks=lambada,ptb', model='124M')
    monkeypatch.setenv('COLUMNS', str(width))
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    status, output, _ = run('--tasks=lambada,ptb', model='124M')
    *lines, last = output.splitlines()
    assert status == 0 and last == f'all columns: {tmp_path}/results/124M.md'
    assert max(map(len, lines)) <= width and not any('|' in line for line in lines)
    (row,) = [line.split() for line in lines if line.startswith('lambada') and ' accuracy ' in line]
    assert row[:4] == ['lambada', 'accuracy', '0.00', '%']
    assert '| lambada | accuracy (%) | 0.00 |' in (tmp_path / 'results/124M.md').read_text('utf-8')


def test_a_limit_is_marked_and_kept_apart(run, tmp_path):
    status, output, _ = run('--limit=2', '--tasks=lambada,cbt_cn,1bw,text8', '--context=32')
    assert status == 0 and 'A quick look, not a result' in output
    results = run.results('small.limit-2')
    assert results['limit'] == 2 and not (tmp_path / 'results/small.json').exists()
    units = {task: next(iter(f.values()))['units'] for task, f in results['tasks'].items()}
    first_windows = 32 + 16  # tokens, which are characters here
    assert units == {'lambada': 2, 'cbt_cn': 2, '1bw': 26, 'text8': first_windows}
    assert run('--limit=2', '--tasks=ptb', '--context=32')[0] == 0
    assert run('--tasks=ptb')[0] == 0
    assert 'quick look' not in run('--tasks=ptb')[1]


def test_more_rows_than_a_task_has_are_one_line(run, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 50)
    flags = ['--tasks=text8', '--context=32', '--stride=8']
    interrupt(run, monkeypatch, flags, after=1)
    path = tmp_path / 'results/small.unfinished/text8.jsonl'
    header, piece = path.read_text().splitlines()
    path.write_text('\n'.join([header, *[piece] * 1000, '']))
    check_refused(run(*flags), 'text8.jsonl is damaged', '--restart')


def test_a_model_that_gives_no_numbers_is_refused(run, monkeypatch):
    monkeypatch.setattr(
        zero_shot,
        'start_scorer',
        lambda *model, encoder, dtype: TableScorer(encoder, lambda c: BROKEN),
    )
    check_refused(run('--tasks=ptb'), 'log-probabilities that are no numbers')


BROKEN = uniform(257)(()) * float('nan')


def test_bad_input_is_refused_without_tensorflow(run_script, data, tmp_path, models):
    """In a tenth of the time that TensorFlow takes to load."""
    code = (
        'import sys; sys.path.insert(0, "src"); sys.modules["tensorflow"] = None\n'
        'import zero_shot; from support import command_line\n'
        'command_line.run(zero_shot.evaluate)'
    )
    flags = ['--model_name=small', f'--models_dir={models}', '--data_dir=nowhere']
    done = subprocess.run(
        [sys.executable, '-c', code, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith('error: lambada: there is no ')


def test_a_killed_process_loses_at_most_the_last_piece(models, tmp_path, call, monkeypatch):
    """With kill -9, TensorFlow and all: what was scored is not scored again."""
    (tmp_path / 'data/text8').mkdir(parents=True)
    letters = ''.join(chr(97 + n * n % 26) for n in range(15_000 * 20))
    (tmp_path / 'data/text8/text8').write_text(letters)
    code = (
        'import sys; sys.path.insert(0, "src")\n'
        'import zero_shot; from evaluation import runs; from support import command_line\n'
        'runs.PIECE_TOKENS = 256\n'
        'command_line.run(zero_shot.evaluate)'
    )

    def flags(results):
        folders = [f'--models_dir={models}', f'--data_dir={tmp_path}/data']
        settings = ['--model_name=small', '--tasks=text8', '--context=128', '--stride=64']
        return [*settings, *folders, f'--results_dir={tmp_path}/{results}', '--any_size']

    def start(results):
        command = [sys.executable, '-c', code, *flags(results)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)

    rows = tmp_path / 'killed/small.unfinished/text8.jsonl'
    process = start('killed')
    deadline = time.monotonic() + 100
    while not (rows.exists() and rows.read_bytes().count(b'\n') > 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    saved = rows.read_bytes()
    assert saved.count(b'\n') > 3 and not (tmp_path / 'killed/small.json').exists()
    # Proof that these rows are taken as they are: they are made to look as if they took long.
    lines = saved.splitlines(keepends=True)
    changed = json.dumps(json.loads(lines[1]) | {'seconds': 5000.0}).encode() + b'\n'
    rows.write_bytes(b''.join([lines[0], changed, *lines[2:]]))

    assert start('killed').wait(100) == 0
    monkeypatch.setattr(runs, 'PIECE_TOKENS', 256)
    assert call(zero_shot.evaluate, *flags('whole'))[0] == 0
    killed, whole = (
        json.loads((tmp_path / name / 'small.json').read_text()) for name in ('killed', 'whole')
    )
    assert killed['tasks']['text8']['bits_per_character']['seconds'] > 5000
    assert without_seconds(killed) == without_seconds(whole)


@pytest.mark.slow
def test_two_workers(run_script, models, data, tmp_path):
    """Real ones, on a core each: scores to the last bit, and the same texts."""
    flags = ['--tasks=ptb,lambada,cbt_cn,coqa', '--any_size', '--context=64', '--stride=8']
    flags += ['--model_name=small', f'--models_dir={models}', f'--data_dir={data}']
    flags += ['--choices=coqa.length=8']
    contents = []
    for name, more in {'alone': [], 'shared': ['--workers=2', '--part_size=2']}.items():
        folder = tmp_path / name
        done = run_script('src/zero_shot.py', *flags, f'--results_dir={folder}', *more)
        assert done.returncode == 0, done.stderr
        results = json.loads((folder / 'small.json').read_text('utf-8'))
        texts = (folder / 'small.coqa.jsonl').read_text('utf-8').splitlines()[1:]
        texts = sorted([record['id'], record['tokens']] for record in map(json.loads, texts))
        contents.append([without_seconds(results), texts, sorted(os.listdir(folder))])
    assert contents[0] == contents[1]
