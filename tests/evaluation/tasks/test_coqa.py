"""CoQA: the file, the prompts of the paper's tables 16 and 17, and figures worked out by hand."""

import copy
import itertools
import json
import os

import pytest

from encoder import get_encoder
from evaluation.open_choices import choices_of
from evaluation.tasks.coqa import TASKS, read_coqa
from helpers.continued import continued, values
from helpers.data_files import fails, put
from helpers.paths import TESTDATA
from helpers.scripted_engine import ScriptedEngine
from helpers.small_answers import COQA_EXACT_MATCH, COQA_F1, COQA_PROMPTS, COQA_SCRIPT
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
COQA, HUMAN = TASKS['coqa'], TASKS['coqa_human']
DATA = TESTDATA / 'small_data'
# A story of three turns and one of two, with four answers a turn.
FILE = json.loads((DATA / 'coqa' / 'coqa-dev-v1.0.json').read_text('utf-8'))


@pytest.fixture(scope='module')
def stories():
    return read_coqa(DATA, complete=False)


@pytest.fixture(scope='module')
def gpt2_encoder(gpt2_vocabulary):
    return get_encoder(gpt2_vocabulary.name, str(gpt2_vocabulary.parent))


def prompts_of(stories, encoder=ENCODER, n_ctx=1024, **choices):
    return COQA.prompts(stories, encoder, n_ctx, COQA.choices | choices)


# Prompts


def test_prompts_have_the_layout_of_the_paper_s_tables(stories, gpt2_encoder):
    """A blank line between paragraphs and turns, none between Q and A, and nothing after A:."""
    for encoder in (ENCODER, gpt2_encoder):
        prompts = prompts_of(stories, encoder)
        assert {p.id: encoder.decode(p.tokens) for p in prompts} == COQA_PROMPTS
        assert [p.lost for p in prompts] == [0] * 5


def test_prompts_are_encoded_as_wholes_are(stories, gpt2_encoder):
    prompts = prompts_of(stories, gpt2_encoder)
    assert [p.tokens for p in prompts] == [*map(gpt2_encoder.encode, COQA_PROMPTS.values())]
    assert all(p.tokens[-3:] == [198, 32, 25] for p in prompts)  # a newline, A and :


def test_prompts_share_the_story_and_the_turns_before(stories):
    prompts = prompts_of(stories)
    for before, prompt in itertools.pairwise(prompts):
        common = os.path.commonprefix([before.tokens, prompt.tokens])
        answer = len(' white') if prompt.id != '3cat/3' else len(' Sweden')
        assert prompt.shared == (0 if prompt.id.endswith('/1') else len(common) + answer)
    assert prompts[0].shared == 0
    assert [prompt.shared for prompt in prompts_of(stories, n_ctx=80)] == [0] * 5


def test_a_prompt_that_is_too_long_loses_its_oldest_tokens(stories):
    whole = COQA_PROMPTS['3cat/3'].encode()
    _, second, third, *_ = prompts_of(stories, n_ctx=len(whole) - 7 + 50)
    assert bytes(third.tokens) == whole[7:] and third.lost == 7
    assert bytes(second.tokens) == COQA_PROMPTS['3cat/2'].encode() and second.lost == 0
    _, _, third, *_ = prompts_of(stories, n_ctx=len(whole) + 20, length=20)
    assert bytes(third.tokens) == whole and third.lost == 0


def test_or_its_oldest_turns_as_long_as_there_are_some(stories):
    first = b'\n\nQ: What color was the cat?\nA: white'
    second = b'\n\nQ: where was it from\nA: Sweden'
    whole = COQA_PROMPTS['3cat/3'].encode()
    for cut, expected in [
        (1, whole.replace(first, b'')),
        (len(first), whole.replace(first, b'')),
        (len(first) + 1, whole.replace(first + second, b'')),
        (len(first + second) + 3, whole.replace(first + second, b'')[3:]),
    ]:
        n_ctx = len(whole) - cut + 50
        _, _, third, *_ = prompts_of(stories, n_ctx=n_ctx, dropped='oldest turns')
        assert bytes(third.tokens) == expected
        assert third.lost == len(whole) - len(expected)


def test_the_end_token_is_read_first_where_that_is_chosen(stories):
    plain, started = (prompts_of(stories, end_of_text_first=first) for first in (False, True))
    for one, other in zip(plain, started, strict=True):
        assert other.tokens == [ENCODER.end_of_text, *one.tokens]


def test_choices_that_cannot_be_are_refused(stories):
    with pytest.raises(ValueError, match="dropped is 'all', not one of oldest tokens, oldest turn"):
        choices_of(['coqa'], 'coqa.dropped=all')
    with pytest.raises(ValueError, match='length=50 leaves no room for a prompt in a context of 5'):
        prompts_of(stories, n_ctx=50)


# Figures


@pytest.mark.parametrize('rows', [1, 2, 32])
def test_figures_are_those_worked_out_by_hand(stories, rows):
    generated = continued(ScriptedEngine(ENCODER, COQA_SCRIPT), COQA, stories, rows=rows)
    assert generated['3race/1'].text == ' 129 days.'
    found = values(COQA, stories, generated)
    assert found['f1'] == pytest.approx(COQA_F1)
    assert found['exact_match'] == pytest.approx(COQA_EXACT_MATCH)
    assert COQA.table(stories, generated, COQA.choices) == (
        '| source | F1 | exact match | turns |\n'
        '| --- | --- | --- | --- |\n'
        '| mctest | 86.1 | 75.0 | 3 |\n'
        '| cnn | 45.8 | 37.5 | 2 |\n'
        '| all | 70.0 | 60.0 | 5 |\n'
    )


def test_what_is_drawn_anew_is_stories(stories):
    generated = continued(ScriptedEngine(ENCODER, COQA_SCRIPT), COQA, stories)
    rows = COQA.rows(stories, generated, COQA.choices)
    assert rows.tolist() == [pytest.approx([31 / 12, 9 / 4, 3]), pytest.approx([11 / 12, 3 / 4, 2])]


def test_people_agree_as_worked_out_by_hand(stories):
    """seven, 129, 129 days, seven days: each has 2/3 in common with another, and none is equal."""
    generated = {text.id: text for text in HUMAN.baseline(stories, {})}
    assert len(generated) == 5 * 4
    found = values(HUMAN, stories, generated)
    assert found['f1'] == pytest.approx(100 * (2 * 11 / 12 + 3 / 4 + 2 / 3 + 1) / 5)
    assert found['exact_match'] == pytest.approx(100 * (3 * 3 / 4 + 0 + 1) / 5)


def test_the_official_script_s_file(stories):
    generated = continued(ScriptedEngine(ENCODER, COQA_SCRIPT), COQA, stories)
    ((name, text),) = COQA.export(stories, generated, COQA.choices).items()
    assert name == 'coqa-dev-v1.0.predictions.json'
    assert json.loads(text) == [
        {'id': '3cat', 'turn_id': 1, 'answer': 'the white cat'},
        {'id': '3cat', 'turn_id': 2, 'answer': 'in Sweden'},
        {'id': '3cat', 'turn_id': 3, 'answer': 'unknown.'},
        {'id': '3race', 'turn_id': 1, 'answer': '129 days.'},
        {'id': '3race', 'turn_id': 2, 'answer': ''},
    ]


@pytest.mark.parametrize(
    'answer, f1',
    [
        ('<|endoftext|>', 0),
        ('\n', 0),
        (' Sweden', 100 * 2 / (4 + 1) / 5),  # four times, and right once
        # 'Anna had a white cat. ' is 4 words, 2 of them in 'A white cat', 1 in the other three;
        # '(CNN) -- The race took 129 d' is 5, 1 of them in '129' and in '129 days'.
        (None, 100 * (3 / 4 * 4 / 6 + 1 / 4 * 2 / 5 + 3 / 4 * 2 / 6 + 1 / 4 * 2 / 7) / 5),
    ],
    ids=['ends at once', 'says nothing', 'never ends a line', 'repeats the prompt'],
)
def test_a_model_that_is_no_good_has_figures_all_the_same(stories, answer, f1):
    engine = ScriptedEngine(ENCODER, lambda prompt: answer or prompt)
    generated = continued(engine, COQA, stories, length=4 * len(' Sweden'))
    assert values(COQA, stories, generated) == {'f1': pytest.approx(f1), 'exact_match': 0}
    assert COQA.rows(stories, generated, COQA.choices)[:, 2].tolist() == [3, 2]


# The file


def changed(tmp_path, change):
    """A data folder with a file that was changed in place by a function."""
    content = copy.deepcopy(FILE)
    content = change(content) or content
    put(tmp_path, 'coqa/coqa-dev-v1.0.json', json.dumps(content).encode())
    return tmp_path


def removed(*path):
    def change(content):
        *before, last = path
        for step in before:
            content = content[step]
        del content[last]

    return change


def replaced(value, *path):
    def change(content):
        *before, last = path
        for step in before:
            content = content[step]
        content[last] = value

    return change


def test_a_file_with_all_stories_is_needed(tmp_path):
    changed(tmp_path, lambda content: None)
    assert len(read_coqa(tmp_path, complete=False)) == 2
    fails(read_coqa, tmp_path, command='coqa', reason='it has 2 stories instead of 500')


def test_additional_answers_may_be_as_many_as_they_are(tmp_path):
    changed(tmp_path, removed('data', 0, 'additional_answers', '2'))
    first, second = read_coqa(tmp_path, complete=False)
    assert [len(turn.references) for turn in first.turns + second.turns] == [3, 3, 3, 4, 4]


FIRST = ('data', 0)


@pytest.mark.parametrize(
    'change, reason',
    [
        (lambda content: [content], 'the file has no data'),
        (removed('data'), 'the file has no data'),
        (replaced({}, 'data'), 'the file has no data, or one that is no list'),
        (replaced([], 'data'), 'it has no stories'),
        (replaced('story', *FIRST), 'story 1 has no id'),
        (removed('data', 1, 'id'), 'story 2 has no id'),
        (replaced(3, *FIRST, 'source'), 'story 1 has no source, or one that is no str'),
        (removed(*FIRST, 'story'), 'story 1 has no story'),
        (replaced(' \n', *FIRST, 'story'), 'the text of story 1 is empty'),
        (replaced('3cat', 'data', 1, 'id'), 'two stories have the same id'),
        (removed(*FIRST, 'questions'), 'story 1 has no questions'),
        (replaced([], *FIRST, 'questions'), 'story 1 has no questions'),
        (removed(*FIRST, 'questions', 1), 'questions 2 of story 1 has the turn_id 3'),
        (removed(*FIRST, 'questions', 2), 'story 1 has not as many answers as questions'),
        (removed(*FIRST, 'answers', 2), 'story 1 has not as many answers as questions'),
        (removed(*FIRST, 'answers', 1, 'input_text'), 'answers 2 of story 1 has no input_text'),
        (replaced(None, *FIRST, 'questions', 0, 'input_text'), 'questions 1 of story 1 has no'),
        (replaced('1', *FIRST, 'answers', 0, 'turn_id'), 'no turn_id, or one that is no int'),
        (removed(*FIRST, 'additional_answers'), 'story 1 has no additional answers, which'),
        (replaced({}, *FIRST, 'additional_answers'), 'story 1 has no additional answers, which'),
        (replaced([], *FIRST, 'additional_answers', '1'), 'additional answers of story 1 has no 1'),
        (
            replaced(9, *FIRST, 'additional_answers', '1', 2, 'turn_id'),
            '1 3 of the additional answers of story 1 has the turn_id 9',
        ),
    ],
)
def test_what_is_wrong_with_the_file_is_one_line(tmp_path, change, reason):
    changed(tmp_path, change)
    fails(read_coqa, tmp_path, command='coqa', reason=reason, complete=False)


def test_a_question_that_nobody_answered(tmp_path):
    def silenced(content):
        story = content['data'][0]
        for answers in (story['answers'], *story['additional_answers'].values()):
            answers[1]['input_text'] = ' '

    changed(tmp_path, silenced)
    reason = 'question 2 of story 1 has only empty answers'
    fails(read_coqa, tmp_path, command='coqa', reason=reason, complete=False)
    changed(tmp_path, replaced('', *FIRST, 'answers', 1, 'input_text'))
    assert read_coqa(tmp_path, complete=False)[0].turns[1].references[:2] == ['', 'Sweden']


def test_what_is_no_json(tmp_path):
    whole = json.dumps(FILE).encode()
    for content, reason in [
        (whole[:-9], 'it is not JSON'),
        (b'[' * 100_000, 'it is not JSON'),
        (b' \n', 'it is empty'),
        (b'\xff' + whole, 'not right'),
    ]:
        put(tmp_path, 'coqa/coqa-dev-v1.0.json', content)
        fails(read_coqa, tmp_path, command='coqa', reason=reason, complete=False)
