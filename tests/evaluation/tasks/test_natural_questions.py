"""Natural Questions: the files, the prompt with its examples, and figures worked out by hand."""

import json

import numpy as np
import pytest

from evaluation.tasks import natural_questions as nq
from evaluation.tasks.natural_questions import TASKS, Question, read_nq
from helpers.continued import continued, values
from helpers.data_files import fails, put
from helpers.paths import TESTDATA
from helpers.scripted_engine import ScriptedEngine
from helpers.small_answers import EXAMPLES, NQ_ASKED, NQ_EXACT_MATCH, NQ_SCRIPT
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
NQ, COMMONEST = TASKS['nq'], TASKS['nq_commonest']
DATA = TESTDATA / 'small_data'


@pytest.fixture(scope='module')
def questions():
    return read_nq(DATA, complete=False)


@pytest.fixture(scope='module')
def training():
    return NQ.pairs(DATA, complete=False)


def said(questions, training, answers=NQ_SCRIPT, logprob=-0.5, **choices):
    engine = ScriptedEngine(ENCODER, answers, logprob=logprob)
    return continued(engine, NQ, questions, training, **{'pairs': 2} | choices)


# Prompts


def test_prompts_are_example_pairs_and_a_question_as_the_paper_writes_them(questions, training):
    prompts = NQ.prompts(questions, ENCODER, 1024, NQ.choices | {'pairs': 2}, training)
    assert [ENCODER.decode(prompt.tokens) for prompt in prompts] == list(NQ_SCRIPT)
    assert [prompt.id for prompt in prompts] == ['1', '2', '3', '4', '5']
    assert [prompt.shared for prompt in prompts] == [0, *[len(EXAMPLES)] * 4]


def test_there_are_ten_pairs_drawn_by_a_seed(questions, training):
    def texts(**choices):
        prompts = NQ.prompts(questions, ENCODER, 1024, NQ.choices | choices, training)
        return [ENCODER.decode(prompt.tokens) for prompt in prompts]

    assert all(text.count('Q: ') == text.count('A: ') + 1 == 11 for text in texts())
    assert all(text.startswith(EXAMPLES) for text in texts())
    assert not any(text.startswith(EXAMPLES) for text in texts(pairs_seed=1))
    assert texts(pairs=0) == [f'Q: {asked}\nA:' for asked in NQ_ASKED]
    assert texts(end_of_text_first=True) == ['<|endoftext|>' + text for text in texts()]
    with pytest.raises(ValueError, match='pairs must be'):
        texts(pairs=13)


def test_a_prompt_that_is_too_long_loses_its_first_tokens(questions, training):
    whole = list(NQ_SCRIPT)[0].encode()
    choices = NQ.choices | {'pairs': 2}
    first, *_ = NQ.prompts(questions, ENCODER, len(whole) - 5 + 30, choices, training)
    assert bytes(first.tokens) == whole[5:] and first.lost == 5


# Figures


def test_figures_are_those_worked_out_by_hand(questions, training):
    generated = said(questions, training)
    assert [generated[id].text for id in '12345'] == [
        ' Beyonce\u0301',
        ' an A',
        ' 54 minutes.',
        ' Titanic II',
        '',
    ]
    found = values(NQ, questions, generated)
    assert found['exact_match'] == pytest.approx(NQ_EXACT_MATCH)
    assert found['most_confident_accuracy'] == 0  # the line end alone is the most probable


def test_the_probability_is_of_the_answer_with_its_end(questions, training):
    generated = said(questions, training)
    rows = NQ.rows(questions, generated, NQ.choices)
    n_tokens = [len(' Beyonce\u0301\n'.encode()), 6, 12 + 1, 12, 1]
    assert rows.tolist() == [[r, -0.5 * n] for r, n in zip([1, 1, 1, 0, 0], n_tokens, strict=True)]


def test_the_most_confident_are_one_in_a_hundred():
    """Of 250 answers two; of equally probable ones the first."""
    columns = {'right': np.zeros(250), 'logprob': np.full(250, -9.0)}
    columns['logprob'][[7, 70, 200]] = -1, -2, -2
    columns['right'][[7, 200]] = 1
    assert nq.accuracy_of_most_confident(columns) == 50
    columns['right'][70] = 1
    assert nq.accuracy_of_most_confident(columns) == 100
    assert nq.accuracy_of_most_confident({k: v[:3] for k, v in columns.items()}) == 0


def test_the_table_has_the_most_probable_answers_first(questions, training):
    generated = said(questions, training, logprob=-0.1)
    assert NQ.table(questions, generated, NQ.choices) == (
        '| question | answer | correct | probability |\n'
        '| --- | --- | --- | --- |\n'
        '| Where do the trains \\| to Paris stop? |  | ✗ | 90.5 % |\n'
        '| What is the highest grade? | an A | ✓ | 54.9 % |\n'
        '| Who sang the song of the year? | Beyonce\u0301 | ✓ | 33.3 % |\n'
        '| Ship that sank in 1912? | Titanic II | ✗ | 30.1 % |\n'
        "| When's the next train? | 54 minutes. | ✓ | 27.3 % |\n"
    )
    many = [Question(f'who is {n}', ['x']) for n in range(50)]
    generated = continued(ScriptedEngine(ENCODER, lambda prompt: '\n'), NQ, many, training)
    assert NQ.table(many, generated, NQ.choices).count('Who is') == 30


def test_the_official_script_s_file(questions, training):
    ((name, text),) = NQ.export(questions, said(questions, training), NQ.choices).items()
    assert name == 'NQ-open.dev.predictions.jsonl'
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0] == {'question': 'who sang the song of the year', 'prediction': 'Beyonce\u0301'}
    assert [line['question'] for line in lines] == [question.text for question in questions]


@pytest.mark.parametrize(
    'answer', ['<|endoftext|>', '\n', ' Bob', None], ids=['ends', 'nothing', 'endless', 'repeats']
)
def test_a_model_that_is_no_good_has_figures_all_the_same(questions, training, answer):
    generated = said(questions, training, lambda prompt: answer or prompt)
    # What is nothing equals A+, by the official rules.
    nothing = {'<|endoftext|>', '\n'}
    assert values(NQ, questions, generated) == {
        'exact_match': 20 if answer in nothing else 0,
        'most_confident_accuracy': 0,
    }
    rows = NQ.rows(questions, generated, NQ.choices)
    assert len(rows) == 5 and np.isfinite(rows).all()


def test_the_commonest_training_answer_to_each_question_word(questions, training):
    """Who: Bob twice; what: A twice; when: 1999; where, also inside of a question: Paris twice."""
    found = {text.id: text for text in COMMONEST.baseline(questions, {}, training)}
    assert [found[id].text for id in '12345'] == ['Bob', 'A', '1999', ' the Titanic', 'Paris']
    assert values(COMMONEST, questions, found) == {'exact_match': 40}  # A is A+, and the Titanic


@pytest.mark.parametrize(
    'text, kind',
    [
        ('who is it', 'who'),
        ("who's it about", 'who'),
        ('in which city is it', 'which'),
        ('the song is by who', 'who'),
        ('WHERE is it', 'where'),
        ('name of the whole show', ''),
    ],
)
def test_a_question_is_of_the_type_of_its_first_question_word(text, kind):
    assert nq.type_of(Question(text, ['x'])) == kind


# The files


def test_questions_are_as_in_the_file(questions, training):
    assert questions[2] == ("when's the next train?", ['54\u00a0minutes', 'in an hour'])
    assert (len(questions), len(training)) == (5, 12)
    for read, reason in [
        (NQ.read, 'it has 5 questions instead of 3,610'),
        (NQ.pairs, 'it has 12 questions instead of 87,925'),
    ]:
        fails(read, DATA, command='nq', reason=reason)


@pytest.mark.parametrize(
    'line, reason',
    [
        ('{"question": "who"}', 'line 2 is not an object with question, answer'),
        ('["who", "Bob"]', 'line 2 is not an object with question, answer'),
        ('', 'line 2 is not JSON'),
        ('{"question": "who", "answer": ["Bob"]', 'line 2 is not JSON'),
        ('{"question": " ", "answer": ["Bob"]}', 'line 2 has no question that is a text'),
        ('{"question": 1, "answer": ["Bob"]}', 'line 2 has no question that is a text'),
        ('{"question": "who", "answer": []}', 'line 2 has no list of answers'),
        ('{"question": "who", "answer": "Bob"}', 'line 2 has no list of answers'),
        ('{"question": "who", "answer": ["Bob", ""]}', 'line 2 has an answer that is empty'),
        ('{"question": "who", "answer": [7]}', 'line 2 has an answer that is empty or no text'),
    ],
)
def test_what_is_wrong_with_a_line_is_one_line(tmp_path, line, reason):
    good = '{"question": "who", "answer": ["Bob"]}'
    for split in ('dev', 'train'):
        content = f'{good}\n{line}\n{good}\n'
        put(tmp_path, f'nq/NQ-open.{split}.jsonl', content.encode())
        fails(read_nq, tmp_path, split, command='nq', reason=reason, complete=False)


def test_line_ends_of_windows_and_other_white_space(tmp_path):
    content = '{"question": " who ", "answer": ["Bob\\n"], "more": 1}\r\n'
    put(tmp_path, 'nq/NQ-open.dev.jsonl', content.encode())
    assert read_nq(tmp_path, complete=False) == [Question('who', ['Bob\n'])]
