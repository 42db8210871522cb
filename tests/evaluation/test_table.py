import pytest

from evaluation.table import fitted, short_table, table
from helpers.small_results import content, figure

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


def test_a_model_whose_name_no_file_could_hold_is_shown_escaped():
    assert table(content({}, model='d\udce9mo\n')).startswith('# d\\udce9mo\\n\n')
    assert short_table(content({}, model='d\udce9mo'), 80).startswith('d\\udce9mo, float32')


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


def test_a_perplexity_that_no_float_is_as_large_as_is_a_power():
    [cells] = rows({'x': figure(value=None, log_value=7200.04, interval=None) | ALONE})
    assert cells[2:4] == ['e^7200.0', '']
    tasks = {'ptb': {'x': figure(value=None, log_value=7200.04, interval=None) | ALONE}}
    assert short_table(content(tasks), 80).splitlines()[-1].split() == ['ptb', 'x', 'e^7200.0']


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


def test_a_short_table_is_aligned_and_needs_80_columns():
    """Of the names and figures of the paper's tasks the longest are here."""
    accuracy = figure(measure='accuracy', value=45.99, interval=[44.63, 47.36])
    bits = figure(measure='bits per byte', value=1.16, interval=None, published=1.16, difference=0)
    tasks = {
        'wikitext103@1024': {'token_perplexity': figure() | ALONE},
        'lambada_plain': {'last_token_perplexity': figure() | BESIDE},
        'lambada': {'last_token_accuracy': accuracy | {'published': 45.99, 'difference': -0.004}},
        'enwik8': {'bits_per_byte': bits},
    }
    assert short_table(content(tasks), 80) == (
        '124M, float32\n'
        '\n'
        'task              metric                    value         95 %  paper   diff.\n'
        'wikitext103@1024  token_perplexity        70.12    69.00–71.50\n'
        'lambada_plain     last_token_perplexity   70.12    69.00–71.50  65.85   +4.28\n'
        'lambada           last_token_accuracy     45.99 %  44.63–47.36  45.99   -0.00\n'
        'enwik8            bits_per_byte          1.1600                  1.16  0.0000\n'
    )


@pytest.mark.parametrize(
    'width, head',
    [
        (52, 'task metric value 95 % paper diff.'),
        (51, 'task metric value paper diff.'),
        (39, 'task metric value paper diff.'),
        (38, 'task metric value paper'),
        (31, 'task metric value'),
    ],
)
def test_where_a_terminal_is_narrow_the_value_stays(width, head):
    tasks = {'ptb': {'perplexity': figure() | BESIDE}}
    text = short_table(content(tasks, limit=7, any_size=True), width)
    assert max(map(len, text.splitlines())) <= width
    assert 'A quick look' in text and 'Data files of any' in text
    *_, heading, row = text.splitlines()
    assert heading.split() == head.split() and row.split()[2] == '70.12'


def test_a_table_of_a_task_is_cut_to_the_terminal():
    assert fitted('| question | answer |\n| who | Ann |', 13) == '| question |…\n| who | Ann |'
