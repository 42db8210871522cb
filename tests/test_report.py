import json
import sys
import xml.etree.ElementTree as ET

import pytest

from evaluation.points import read_points
from helpers.results_files import ResultsFiles, figure_of, some_tasks
from report import report
from zero_shot import evaluate


@pytest.fixture
def matplotlib():
    return pytest.importorskip('matplotlib')


@pytest.fixture
def results(tmp_path):
    return ResultsFiles(tmp_path)


@pytest.mark.parametrize(
    'content',
    [
        '',
        '# a table',
        '[]',
        '{"tasks": 3}',
        '{"model": "124M", "parameters": 1, "limit": null, "any_size": false, "tasks": [1]}',
        '{"model": "124M", "parameters": 1, "limit": null, "any_size": false, '
        '"tasks": {"ptb": {"perplexity": {"column": "ptb"}}}}',
        '{"model": "124M", "parameters": null, "limit": null, "any_size": false, '
        '"tasks": {"ptb": {"perplexity": {"column": "ptb", "value": 1, "stride": null, '
        '"interval": null}}}}',
        '{"model": "124M", "parameters": 1, "limit": null, "any_size": false, '
        '"tasks": {"ptb": {"perplexity": {"column": "ptb", "value": 1, "stride": 1, "context": 0, '
        '"interval": null}}}}',
        '{"model": "124M", "parameters": 1, "limit": null, "any_size": false, '
        '"tasks": {"ptb": {"perplexity": {"column": "ptb", "value": 1, "stride": null, '
        '"interval": [1]}}}}',
        '{"model": "124M", "parameters": 1' + '0' * 400 + ', "limit": null, "any_size": false, '
        '"tasks": {"ptb": {"perplexity": {"column": "ptb", "value": 1, "stride": null, '
        '"interval": null}}}}',
        '{"model": "124M", "parameters": 1, "limit": null, "any_size": false, '
        '"tasks": {"ptb": {"perplexity": {"column": "ptb", "value": 1, "stride": [], '
        '"interval": null}}}}',
        '[' * 100_000,
        '{"model": "124M", "parame',
    ],
)
def test_a_file_of_something_else_is_one_line(call, tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(content, 'utf-8')
    status, output, errors = call(report, path, '--output', tmp_path / 'figure')
    assert (status, output) == (2, '')
    assert errors == f'error: {path} holds no results that zero_shot.py has written\n'
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_not_text_are_one_line(call, tmp_path):
    path = tmp_path / 'results.json'
    path.write_bytes(b'\x89PNG\xff\xfe')
    assert call(report, path)[2].count('\n') == 1


def test_what_is_no_file_is_one_line_that_says_what_to_give(call, tmp_path):
    what = 'give files that zero_shot.py wrote, RESULTS_DIR/NAME.json\n'
    none = tmp_path / 'none.json'
    assert call(report, none) == (2, '', f'error: {none} is not there: {what}')
    assert call(report, tmp_path) == (2, '', f'error: {tmp_path} is a folder: {what}')


def test_without_results_the_usage_is_shown(call):
    assert call(report)[::2] == (
        2,
        'error: name the results to draw: python src/report.py results/124M.json ...\n',
    )


@pytest.mark.parametrize('output', ['', '.png', 'FOLDER/', 'FOLDER/.svg'])
def test_a_picture_without_a_name_is_refused(call, results, tmp_path, output):
    path = results('124M', {'ptb': {'perplexity': figure_of('ptb', 3.0)}})
    output = output.replace('FOLDER', str(tmp_path))
    status, _, errors = call(report, path, f'--output={output}')
    assert (status, errors) == (2, f'error: --output {output!r} names no picture\n')


def test_results_that_the_paper_does_not_have_are_refused(call, results, tmp_path):
    path = results('124M', {'ptb': {'token_perplexity': figure_of(None, 3.0)}})
    status, _, errors = call(report, path, '--output', tmp_path / 'figure')
    assert status == 2
    assert errors == f'error: there is nothing in {path} that the paper reports too\n'


def test_without_matplotlib_one_line_says_what_to_install(call, results, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    path = results('124M', some_tasks())
    status, output, errors = call(report, path, '--output', tmp_path / 'figure')
    assert (status, output) == (2, '')
    assert errors == 'error: drawing needs matplotlib: pip install matplotlib\n'


def test_a_png_and_an_svg_are_written_and_always_the_same(matplotlib, call, results, tmp_path):
    path = results('124M', some_tasks())
    name = tmp_path / 'new folder' / 'figure'
    status, output, errors = call(report, path, '--output', f'{name}.png')
    assert (status, output, errors) == (0, f'{name}.png\n{name}.svg\n', '')
    names = [name.with_suffix(ending) for ending in ('.png', '.svg')]
    assert sorted(name.parent.iterdir()) == names
    first = [name.read_bytes() for name in names]
    assert first[0].startswith(b'\x89PNG\r\n\x1a\n')
    assert ET.fromstring(first[1]).tag.endswith('svg')
    call(report, path, '--output', name)
    assert [name.read_bytes() for name in names] == first


def test_each_picture_of_which_there_are_results_is_a_file(matplotlib, call, results, tmp_path):
    figures = {'full': figure_of('winograd_full', 54.0)}
    tasks = {'winograd': figures, 'coqa': {'f1': figure_of('coqa_f1', 20.0)}}
    name = tmp_path / 'all'
    status, output, _ = call(report, results('124M', tasks), '--output', name)
    written = [f'{name}.{n}.{kind}' for n in ('figure1', 'figure3') for kind in ('png', 'svg')]
    assert (status, output.splitlines()) == (0, written)
    assert sorted(map(str, tmp_path.glob('all*'))) == sorted(written)


@pytest.mark.parametrize('model', ['d\udce9mo\x1b[1m', r'costs $\x$', '<&>'])
def test_any_name_of_a_model_is_written_as_letters(matplotlib, call, results, tmp_path, model):
    path = results(model, some_tasks(), parameters=10**6)
    assert call(report, path, '--output', tmp_path / 'figure')[::2] == (0, '')
    ET.parse(tmp_path / 'figure.svg')


def test_a_figure_that_cannot_be_written_leaves_the_old_one(
    matplotlib, call, results, tmp_path, monkeypatch
):
    from matplotlib.figure import Figure

    def full(self, file, **options):
        file.write(b'half')
        raise OSError('no space left on device')

    (tmp_path / 'old.png').write_bytes(b'old')
    monkeypatch.setattr(Figure, 'savefig', full)
    before = set(tmp_path.iterdir())
    path = results('124M', some_tasks())
    status, _, errors = call(report, path, '--output', tmp_path / 'old')
    assert (status, errors) == (2, 'error: no space left on device\n')
    assert set(tmp_path.iterdir()) - before == {tmp_path / path}
    assert (tmp_path / 'old.png').read_bytes() == b'old'


def test_results_of_the_evaluation_itself_are_drawn(
    matplotlib, call, byte_models, tmp_path, monkeypatch
):
    (tmp_path / 'data' / 'ptb').mkdir(parents=True)
    text = " no it was n't black monday \n but while the <unk> stock N exchange did \n" * 9
    (tmp_path / 'data' / 'ptb' / 'ptb.test.txt').write_text(text, 'utf-8')
    flags = ('--models_dir', byte_models, '--data_dir', tmp_path / 'data', '--tasks', 'ptb')
    flags += ('--model_name', 'bytes', '--results_dir', tmp_path / 'results', '--any_size')
    status, output, errors = call(evaluate, *flags)
    assert status == 0, errors
    (written,) = (tmp_path / 'results').glob('*.json')
    content = json.loads(written.read_text('utf-8'))
    (point,) = read_points(written)
    assert point.value == content['tasks']['ptb']['perplexity']['value'] and point.part
    assert call(report, written, '--output', tmp_path / 'figure')[0] == 0
