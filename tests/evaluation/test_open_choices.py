"""What --choices takes, and what it refuses."""

import pytest

from evaluation.open_choices import choices_of
from evaluation.tasks import TASKS
from helpers.small_generating import CAPITALS, FIRST_CAPITAL

DEFAULTS = {'pairs': 1, 'length': 8, 'stops': ['\n']}


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    more = {'temperature': 1, 'top_k': 0, 'share': 0.5, 'splitter': 'pysbd', 'swap': False}
    monkeypatch.setitem(TASKS, 'capitals', CAPITALS)
    monkeypatch.setitem(TASKS, 'other', CAPITALS._replace(choices=CAPITALS.choices | more))
    monkeypatch.setitem(TASKS, 'first_capital', FIRST_CAPITAL)


def test_choices_are_the_defaults_of_tasks_that_generate():
    assert choices_of(['ptb', 'capitals']) == {'capitals': DEFAULTS}
    assert choices_of(['ptb']) == {}
    choices_of(['capitals'], 'capitals.pairs=7')
    assert choices_of(['capitals']) == {'capitals': DEFAULTS}  # a choice does not stay


def test_choices_are_set_with_the_types_of_their_defaults():
    text = (
        'capitals.pairs=3, other.stops=["a,b","\\n"],other.temperature=0.7,other.splitter=x,y,'
        'other.swap=true,other.share=0.25,first_capital.answer=Rome = "Roma"'
    )
    found = choices_of(['capitals', 'other', 'first_capital'], text)
    assert found == {
        'capitals': DEFAULTS | {'pairs': 3},
        'other': DEFAULTS
        | {'stops': ['a,b', '\n'], 'temperature': 0.7, 'splitter': 'x,y', 'swap': True}
        | {'top_k': 0, 'share': 0.25},
        'first_capital': {'answer': 'Rome = "Roma"'},
    }


@pytest.mark.parametrize(
    'value, text', [(' a b ', ' a b '), ('"\\n\\n"', '\n\n'), ('""', ''), ('', '')]
)
def test_a_text_may_be_a_json_string(value, text):
    found = choices_of(
        ['first_capital', 'capitals'], f'first_capital.answer={value}, capitals.pairs=2'
    )
    assert found['first_capital']['answer'] == text and found['capitals']['pairs'] == 2


@pytest.mark.parametrize(
    'text, message',
    [
        ('pairs=5', "--choices takes TASK.CHOICE=VALUE, not 'pairs=5'"),
        ('capitals.pairs', 'takes TASK.CHOICE=VALUE'),
        ('capitals.shots=5', r'no capitals.shots; there are: capitals.pairs, capitals.length'),
        ('ptb.pairs=5', 'no ptb.pairs; there are'),
        ('nq_.pairs=5', 'no nq_.pairs; there are'),
        ('capitals.pairs=many', "capitals.pairs takes such as 1, not 'many'"),
        ('capitals.pairs=1.5', 'capitals.pairs takes such as 1'),
        ('capitals.pairs=true', 'capitals.pairs takes such as 1'),
        ('capitals.stops=a', r'capitals.stops takes such as \["\\n"\]'),
        ('capitals.stops=[1]', 'capitals.stops takes such as'),
        ('other.temperature=NaN', 'other.temperature takes such as 1'),
        ('other.share=NaN', 'other.share takes such as 0.5'),
        ('other.top_k=1.5', '--choices: other: top_k must be'),
        ('other.splitter="a', 'other.splitter takes such as "pysbd"'),
        ('other.temperature=-1', '--choices: other: temperature must be'),
        ('capitals.length=0', '--choices: capitals: length must be'),
        ('capitals.pairs=' + '[' * 100_000, 'capitals.pairs takes such as 1'),
    ],
)
def test_what_cannot_be_meant_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        choices_of(['capitals', 'ptb', 'other'], text)


def test_where_no_task_generates_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match=r'no ptb\.pairs; the tasks chosen have none'):
        choices_of(['ptb'], 'ptb.pairs=5')
