"""The figure, looked at through matplotlib's own objects; its beauty was judged by eye."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.figure import RELEASED, drawing
from evaluation.pictures import PICTURES, pictures_of
from evaluation.points import read_points
from evaluation.ticks import round_numbers, short
from helpers.results_files import MEASURES, PUBLISHED, SIZES, ResultsFiles, figure_of, some_tasks


@pytest.fixture
def matplotlib():
    return pytest.importorskip('matplotlib')


@pytest.fixture
def results(tmp_path):
    return ResultsFiles(tmp_path)


def picture(*paths, ending=''):
    """(Picture, panels), as `drawing` takes them."""
    return pictures_of([point for path in paths for point in read_points(path)])[ending]


def panels(*paths):
    """{column: its points} of the paper's Table 3."""
    return {panel.columns[0]: points for panel, points in picture(*paths)[1].items()}


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


@pytest.mark.parametrize('value', [math.inf, math.nan, None])
def test_what_is_not_a_number_is_not_drawn(results, value):
    ptb = figure_of('ptb', 1.0) | {'value': value}
    tasks = {'ptb': {'perplexity': ptb}, 'cbt_cn': some_tasks()['cbt_cn']}
    assert list(panels(results('124M', tasks))) == ['cbt_cn']


# What is drawn


def test_published_points_are_the_papers(matplotlib, results):
    with drawing(*picture(results('124M', some_tasks()))) as figure:
        for column in ('ptb', 'enwik8', 'cbt_cn'):
            axes = axes_by_title(figure)[PUBLISHED['columns'][column]['title']]
            crosses = [(x, y) for x, y, _ in curves(axes, 'x')]
            assert crosses == [
                (model['parameters'], model['results'][column])
                for model in PUBLISHED['models'].values()
            ]


def test_our_points_are_at_their_values_with_their_intervals(matplotlib, results):
    paths = [results('124M', some_tasks()), results('355M', some_tasks(0.8), limit=7)]
    with drawing(*picture(*paths)) as figure:
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
    with drawing(*picture(paths[0])) as figure:
        assert len(legend_of(figure)) == 2


def test_protocols_differ_in_shape_and_are_named(matplotlib, results):
    with drawing(*picture(results('124M', some_tasks()))) as figure:
        axes = axes_by_title(figure)['LAMBADA']
        assert legend_of(axes) == ['filtered', 'last token', 'plain filtered']
        values = {
            marker: [y for _, y, _ in curves(axes, marker) if not math.isnan(y)]
            for marker in ('o', 's', '^')
        }
        assert values == {'o': [44], 's': [47], '^': [30]}
        assert legend_of(axes_by_title(figure)['PTB']) == []


def test_every_panel_says_what_is_better_and_perplexity_is_logarithmic(matplotlib, results):
    with drawing(*picture(results('124M', some_tasks()))) as figure:
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
    with drawing(*picture(results('124M', some_tasks()), mine)) as figure:
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
    with drawing(*picture(*paths)) as figure:
        assert overlapping(figure) == []
        for axes in figure.axes[-3:]:
            labels = [label.get_text() for label in axes.get_xticklabels()]
            assert labels[:4] == ['124M', '355M', '774M', '1558M']
            assert axes.xaxis.get_tick_params()['labelbottom']


def test_the_overlap_test_sees_overlaps(matplotlib, results):
    with drawing(*picture(results('124M', some_tasks()))) as figure:
        figure.axes[0].set_xticks([1e8, 1.001e8], ['124M', '355M'])
        figure.text(0.99, 0.5, 'leaves the page')
        assert {('124M', '355M'), 'leaves the page'} <= set(overlapping(figure))


# The paper's Figures 1 and 3, and the bias probes


PROMPTED = {
    'coqa': {'f1': figure_of('coqa_f1', 20.0)},
    'cnndm': {'rouge_avg': figure_of('cnndm_rouge_avg', 14.0)},
    'cnndm_no_hint': {'rouge_avg': figure_of('cnndm_no_hint_rouge_avg', 12.0)},
    'wmt14_fr_en': {'bleu': figure_of('wmt14_fr_en_bleu', 0.5)},
    'wmt14_en_fr': {'bleu': figure_of('wmt14_en_fr_bleu', 1.5)},
    'nq': {'exact_match': figure_of('nq_exact_match', 0.9)},
}
WINOGRAD = {
    'winograd': {
        'accuracy_full': figure_of('winograd_full', 54.0),
        'accuracy_partial': figure_of('winograd_partial', 60.0),
    }
}
BIAS = {
    'stereoset': {
        'lms': figure_of('stereoset_lms', 90.0),
        'ss': figure_of('stereoset_ss', 61.0),
        'icat': figure_of('stereoset_icat', 70.0),
    },
    'crows_pairs': {'ppl': figure_of('crows_pairs_ppl', 58.0)},
}


def values(axes, marker):
    return sorted(y for _, y, _ in curves(axes, marker) if not math.isnan(y))


def test_every_picture_has_those_panels_of_which_there_are_results(results):
    assert list(pictures_of(read_points(results('124M', PROMPTED | WINOGRAD | BIAS)))) == [
        '.figure1',
        '.figure3',
        '.bias',
    ]
    some = {'coqa': PROMPTED['coqa'], 'nq': PROMPTED['nq']}
    _, found = picture(results('124M', some), ending='.figure1')
    assert [panel.columns[0] for panel in found] == ['coqa_f1', 'nq_exact_match']
    every = [c for p in PICTURES.values() for panel in p.panels for c in panel.columns]
    assert len(every) == len(set(every)) and set(every) <= set(PUBLISHED['columns'])


def test_winograd_has_both_scorings_in_one_panel(matplotlib, results):
    with drawing(*picture(results('124M', WINOGRAD), ending='.figure3')) as figure:
        [axes] = figure.axes
        assert legend_of(axes) == ['partial', 'full']
        assert (values(axes, 'o'), values(axes, 's')) == ([60], [54])
        assert [text.get_text() for text in axes.texts[1:]] == ['partial', 'full']  # the paper's


def test_what_is_traced_from_a_figure_is_a_hollow_cross(matplotlib, results):
    with drawing(*picture(results('124M', WINOGRAD), ending='.figure3')) as figure:
        [axes] = figure.axes
        assert values(axes, 'x') == [70.70]
        assert values(axes, 'X') == [55.68, 58.61, 61.54, 62.27, 64.47, 66.67, 69.23]
        assert not any(filled for *_, filled in curves(axes, 'X'))
        assert legend_of(figure)[:2] == [
            'Radford et al. 2019',
            'Radford et al. 2019, traced from figures',
        ]


def test_a_hollow_cross_is_not_what_a_part_of_the_set_is(matplotlib, results):
    with drawing(*picture(results('124M', WINOGRAD, limit=5), ending='.figure3')) as figure:
        [axes] = figure.axes
        assert [filled for *_, filled in curves(axes, 'o')][0] is False
        shapes = {handle.get_marker() for legend in figure.legends for handle in legend.get_lines()}
        assert shapes == {'x', 'X', 'o'}


def test_other_systems_are_lines_with_names(matplotlib, results):
    with drawing(*picture(results('124M', PROMPTED), ending='.figure1')) as figure:
        by_title = axes_by_title(figure)
        axes = by_title['Summarization: CNN/Daily Mail']
        lines = {
            text.get_text(): text.xy[1]
            for text in axes.texts
            if text.get_text() in PUBLISHED['baselines']['cnndm_rouge_avg']
        }
        assert lines == PUBLISHED['baselines']['cnndm_rouge_avg']
        drawn = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
        styles = {line.get_ydata()[0]: line.get_linestyle() for line in drawn}
        assert styles == {31.55: '-', 28.5: '--', 24.0: '--', 20.98: '-'}  # two are printed
        assert axes.get_ylim()[1] > 31.55


def test_a_task_without_a_model_is_no_point_of_one(results):
    lead = {'rouge_avg': figure_of('cnndm_rouge_avg', 31.0) | {'baseline': 'lead-3'}}
    path = results('124M', {'cnndm_lead3': lead, 'coqa': PROMPTED['coqa']})
    assert [point.column for point in read_points(path)] == ['coqa_f1']


def test_a_panel_of_other_authors_names_them(matplotlib, results):
    with drawing(*picture(results('124M', BIAS), ending='.bias')) as figure:
        notes = {title: axes.texts[0].get_text() for title, axes in axes_by_title(figure).items()}
        assert notes == {
            'StereoSet, language model score': 'score, higher is better ↑; Nadeem et al. 2020',
            'StereoSet, stereotype score': 'score, 50 is ideal; Nadeem et al. 2020',
            'StereoSet, ICAT': 'score, higher is better ↑; Nadeem et al. 2020',
            'CrowS-Pairs, perplexity': 'score, 50 is ideal; van der Wal 2021',
        }
        assert legend_of(figure) == ['published', 'measured, 95 % interval']


def test_names_of_series_that_are_close_do_not_touch(matplotlib, results):
    wide = {name: f | {'interval': [0, 100]} for name, f in WINOGRAD['winograd'].items()}
    path = results('demo', {'winograd': wide}, parameters=3_500_000)
    with drawing(*picture(path, ending='.figure3')) as figure:
        assert overlapping(figure) == []


@pytest.mark.parametrize('models', [['124M'], list(SIZES), ['demo']])
@pytest.mark.parametrize('ending', ['.figure1', '.figure3', '.bias'])
def test_no_text_lies_on_another_there_either(matplotlib, results, models, ending):
    tasks = PROMPTED | WINOGRAD | BIAS
    paths = [results(m, tasks, parameters={'demo': 3_500_000}.get(m)) for m in models]
    with drawing(*picture(*paths, ending=ending)) as figure:
        assert overlapping(figure) == []


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
    assert RELEASED == tuple(SIZES)
