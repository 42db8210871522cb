import pytest
from small_results import content, figure

from evaluation_table import table

BESIDE = {'published': 65.85, 'difference': 70.125 - 65.85}
ALONE = {'published': None, 'difference': None}


def rows(figures):
    """The table's rows as lists of cells, without its head."""
    lines = table(content({'ptb': figures})).splitlines()
    head = lines.index('|' + ' --- |' * 14)
    return [[cell.strip() for cell in line.split(' | ')] for line in lines[head + 1 :]]


def test_how_the_figures_were_made_stands_above_them():
    text = table(content({}))
    assert text.startswith(
        '# 124M\n\n124,439,808 parameters, weights 0123456789abcdef, float32; code v1; '
        'context 1024, stride None.\n\n| task | figure | value | 95 % interval | published |'
    )
    assert text.endswith(' |\n')


def test_a_figure_is_a_row():
    assert table(content({'ptb': {'perplexity': figure() | BESIDE}})).splitlines()[-1] == (
        '| ptb | perplexity | 70.12 | 69.00 – 71.50 | 65.85 | +4.28 | 82,430 words and line ends '
        '| test | ptb | 1024 | 512 | of words | 1,234 pieces | 13 |'
    )


def test_what_there_is_not_is_empty():
    [cells] = rows({'perplexity': figure(interval=None, stride=None) | ALONE})
    assert cells[3:6] == [''] * 3 and cells[10] == ''


@pytest.mark.parametrize(
    'measure, name, value, difference',
    [
        ('accuracy', 'x (%)', '45.68', '-1.23'),
        ('perplexity', 'x', '45.68', '-1.23'),
        ('bits per byte', 'x', '45.6789', '-1.2346'),
        ('bits per character', 'x', '45.6789', '-1.2346'),
    ],
)
def test_bits_have_more_digits_and_shares_are_marked(measure, name, value, difference):
    numbers = {'value': 45.6789, 'published': 46.91, 'difference': -1.23456}
    [cells] = rows({'x': figure(measure=measure) | numbers})
    assert (cells[1], cells[2], cells[5]) == (name, value, difference)


def test_a_bar_in_a_cell_does_not_end_it():
    line = table(content({'ptb': {'x': figure(split='a|b') | ALONE}})).splitlines()[-1]
    assert r' | a\|b | ' in line


@pytest.mark.parametrize(
    'changes, remark',
    [
        ({'limit': 7}, 'A quick look, not a result: of each task only the first 7 units.\n'),
        ({'any_size': True}, 'Data files of any size were accepted: '),
    ],
)
def test_what_is_no_full_result_says_so(changes, remark):
    assert remark in table(content({}, **changes))
    assert remark not in table(content({}))
