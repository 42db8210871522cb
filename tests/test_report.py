"""The figure, looked at through matplotlib's own objects; its beauty was judged by eye."""

import itertools
import json
import math
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

import report as report_module
from evaluate import evaluate
from report import drawing, panels_of, read_points, report, round_numbers, short

PUBLISHED = json.loads((ROOT / 'src' / 'published_results.json').read_text('utf-8'))
SIZES = {name: model['parameters'] for name, model in PUBLISHED['models'].items()}
MEASURES = {'cbt_cn': 'accuracy', 'lambada_accuracy': 'accuracy', 'enwik8': 'bits per byte'}


@pytest.fixture
def matplotlib():
    return pytest.importorskip('matplotlib')


def figure_of(column, value, context=1024, stride=None, interval=True):
    return {
        'value': value,
        'measure': MEASURES.get(column, 'perplexity'),
        'interval': [value * 0.97, value * 1.04] if interval else None,
        'column': column,
        'unit': 'words',
        'units': 1000,
        'context': context,
        'stride': stride,
    }


@pytest.fixture
def results(tmp_path):
    """Write a file of results: (model, tasks, ...) -> its path."""
    numbers = itertools.count()

    def make(model, tasks, parameters=None, limit=None, any_size=False):
        content = {'model': model, 'parameters': parameters or SIZES[model], 'tasks': tasks}
        path = tmp_path / f'{next(numbers)}.json'
        path.write_text(json.dumps(content | {'limit': limit, 'any_size': any_size}), 'utf-8')
        return str(path)

    return make


def some_tasks(factor=1.0):
    return {
        'ptb': {
            'perplexity': figure_of('ptb', 60 * factor, stride=512),
            'token_perplexity': figure_of(None, 30 * factor, stride=512),
        },
        'ptb@1024': {'perplexity': figure_of('ptb', 61 * factor, stride=1024)},
        'enwik8': {'bits_per_byte': figure_of('enwik8', 1.1 * factor, stride=512)},
        'cbt_cn': {'accuracy': figure_of('cbt_cn', 80 / factor)},
        'lambada': {
            'accuracy_filtered': figure_of('lambada_accuracy', 44 / factor),
            'last_token_accuracy': figure_of('lambada_accuracy', 47 / factor),
        },
        'lambada_plain': {'accuracy_filtered': figure_of('lambada_accuracy', 30 / factor)},
    }


def panels(*paths):
    return panels_of([point for path in paths for point in read_points(path)])


def axes_by_title(figure):
    return {axes.get_title(loc='left'): axes for axes in figure.axes}


def curves(axes, marker):
    """The points of all lines with a marker: (x, y, whether it is filled)."""
    return [
        (*point, line.get_markerfacecolor() == line.get_color())
        for line in axes.lines
        if line.get_marker() == marker
        for point in line.get_xydata().tolist()
    ]


def legend_of(place):
    legends = place.legends if hasattr(place, 'legends') else [place.get_legend()]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


# What is read


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
        '[' * 100_000,
        '{"model": "124M", "parame',
    ],
)
def test_a_file_of_something_else_is_one_line(call, tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(content, 'utf-8')
    status, output, errors = call(report, path, '--output', tmp_path / 'figure')
    assert (status, output) == (2, '')
    assert errors == f'error: {path} holds no results that evaluate.py has written\n'
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_not_text_are_one_line(call, tmp_path):
    path = tmp_path / 'results.json'
    path.write_bytes(b'\x89PNG\xff\xfe')
    assert call(report, path)[2].count('\n') == 1


def test_a_file_that_is_not_there_is_one_line(call, tmp_path):
    status, _, errors = call(report, tmp_path / 'none.json')
    assert status == 2 and errors.count('\n') == 1 and 'none.json' in errors


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


def test_a_quick_look_gives_way_to_the_whole(results):
    whole = results('124M', {'ptb': some_tasks()['ptb']})
    part = results('124M', some_tasks(1.5), limit=3)
    other = results('355M', some_tasks(1.5), any_size=True)
    points = panels(part, whole, other)
    assert [(p.model, p.value, p.part) for p in points['ptb']] == [
        ('124M', 60, False),
        ('355M', 90, True),
    ]
    assert [(p.model, p.part) for p in points['enwik8']] == [('124M', True), ('355M', True)]


def test_panels_are_in_the_papers_order_and_only_those_with_results(results):
    assert list(panels(results('124M', some_tasks()))) == [
        column for column in PUBLISHED['columns'] if column in {*MEASURES, 'ptb'}
    ]


def test_a_second_stride_is_left_to_the_table(results):
    points = panels(results('124M', some_tasks()))['ptb']
    assert [point.value for point in points] == [60]
    only = {'ptb@1024': some_tasks()['ptb@1024']}
    assert [point.value for point in panels(results('124M', only))['ptb']] == [61]


@pytest.mark.parametrize('value', [math.inf, math.nan])
def test_what_is_not_a_number_is_not_drawn(results, value):
    tasks = {'ptb': {'perplexity': figure_of('ptb', value)}, 'cbt_cn': some_tasks()['cbt_cn']}
    assert list(panels(results('124M', tasks))) == ['cbt_cn']


# What is drawn


def test_published_points_are_the_papers(matplotlib, results):
    with drawing(panels(results('124M', some_tasks()))) as figure:
        for column in ('ptb', 'enwik8', 'cbt_cn'):
            axes = axes_by_title(figure)[PUBLISHED['columns'][column]['title']]
            crosses = [(x, y) for x, y, _ in curves(axes, 'x')]
            assert crosses == [
                (model['parameters'], model['results'][column])
                for model in PUBLISHED['models'].values()
            ]


def test_our_points_are_at_their_values_with_their_intervals(matplotlib, results):
    paths = [results('124M', some_tasks()), results('355M', some_tasks(0.8), limit=7)]
    with drawing(panels(*paths)) as figure:
        axes = axes_by_title(figure)['PTB']
        ours = [point for point in curves(axes, 'o') if not math.isnan(point[0])]
        assert ours == [(SIZES['124M'], 60, True), (SIZES['355M'], 48, False)]
        bars = [path.vertices for bars in axes.collections for path in bars.get_paths()]
        np.testing.assert_allclose(
            bars,
            [
                [[SIZES['124M'], 58.2], [SIZES['124M'], 62.4]],
                [[SIZES['355M'], 48 * 0.97], [SIZES['355M'], 48 * 1.04]],
            ],
        )
        assert 'not on the whole set (--limit, --any_size)' in legend_of(figure)
    with drawing(panels(paths[0])) as figure:
        assert len(legend_of(figure)) == 2


def test_protocols_differ_in_shape_and_are_named(matplotlib, results):
    with drawing(panels(results('124M', some_tasks()))) as figure:
        axes = axes_by_title(figure)['LAMBADA']
        assert legend_of(axes) == ['filtered', 'last token', 'plain filtered']
        values = {
            marker: [y for _, y, _ in curves(axes, marker) if not math.isnan(y)]
            for marker in ('o', 's', '^')
        }
        assert values == {'o': [44], 's': [47], '^': [30]}
        assert legend_of(axes_by_title(figure)['PTB']) == []


def test_every_panel_says_what_is_better_and_perplexity_is_logarithmic(matplotlib, results):
    with drawing(panels(results('124M', some_tasks()))) as figure:
        by_title = axes_by_title(figure)
        notes = {title: axes.texts[0].get_text() for title, axes in by_title.items()}
        assert notes == {
            'LAMBADA': 'accuracy (%), higher is better ↑',
            'CBT common nouns': 'accuracy (%), higher is better ↑',
            'PTB': 'perplexity, lower is better ↓',
            'enwik8': 'bits per byte, lower is better ↓',
        }
        scales = {title: axes.get_yscale() for title, axes in by_title.items()}
        assert scales.pop('PTB') == 'log' and set(scales.values()) == {'linear'}
        assert {axes.get_xscale() for axes in by_title.values()} == {'log'}


def test_models_of_others_bear_their_names_once_and_no_line(matplotlib, results):
    mine = results('my-poems', some_tasks(1.2), parameters=SIZES['355M'])
    with drawing(panels(results('124M', some_tasks()), mine)) as figure:
        for axes in figure.axes:
            assert [text.get_text() for text in axes.texts[1:]] == ['my-poems']
            joined = [line for line in axes.lines if line.get_linestyle() == '-']
            assert all(
                list(line.get_xdata()) != [] and len(line.get_xdata()) == 1 for line in joined
            )


def overlapping(figure):
    """Pairs of texts of the figure that touch each other, or leave it."""
    figure.draw_without_rendering()
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            texts += [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
    for place in [figure, *figure.axes]:
        legends = place.legends if hasattr(place, 'legends') else [place.get_legend()]
        texts += [text for legend in legends if legend for text in legend.get_texts()]
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    boxes = [(text, box) for text, box in boxes if box.width > 0]
    page = figure.bbox
    outside = [
        text
        for text, box in boxes
        if not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1)
    ]
    touching = [
        (one, two)
        for (one, a), (two, b) in itertools.combinations(boxes, 2)
        if a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1
    ]
    return outside + touching


@pytest.mark.parametrize('models', [['124M'], list(SIZES), ['demo'], ['padded', 'tiny'], []])
@pytest.mark.parametrize('n_tasks', [1, 2, 6])
def test_no_text_lies_on_another(matplotlib, results, models, n_tasks):
    parameters = {'demo': 3_500_000, 'tiny': 26_000, 'padded': 124_475_904}
    paths = [
        results(
            model,
            dict(list(some_tasks(40 if model in parameters else 1).items())[-n_tasks:]),
            parameters=parameters.get(model),
            limit=5 if model == '774M' else None,
        )
        for model in models or ['124M', '774M', 'demo']
    ]
    with drawing(panels(*paths)) as figure:
        assert overlapping(figure) == []
        for axes in figure.axes[-3:]:
            labels = [label.get_text() for label in axes.get_xticklabels()]
            assert labels[:4] == ['124M', '355M', '774M', '1558M']
            assert axes.xaxis.get_tick_params()['labelbottom']


def test_the_overlap_test_sees_overlaps(matplotlib, results):
    with drawing(panels(results('124M', some_tasks()))) as figure:
        figure.axes[0].set_xticks([1e8, 1.001e8], ['124M', '355M'])
        figure.text(0.99, 0.5, 'leaves the page')
        assert {('124M', '355M'), 'leaves the page'} <= set(overlapping(figure))


# Files


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


# Ticks


@given(st.floats(1e-3, 1e9), st.floats(1.01, 1e8))
def test_an_axis_has_a_few_round_numbers(low, ratio):
    ticks = round_numbers(low, low * ratio)
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(ticks)
    assert low * (1 - 1e-9) <= ticks[0] and ticks[-1] <= low * ratio * (1 + 1e-9)


def test_sizes_are_written_as_people_write_them():
    numbers = [124439808, 354823168, 774030080, 1557611200, 3502080, 26000, 9990, 512]
    names = ['124M', '355M', '774M', '1558M', '3.5M', '26K', '10.0K', '512']
    assert list(map(short, numbers)) == names
    assert report_module.RELEASED == tuple(SIZES)
