"""The Children's Book Test: its files, the texts of a question, and how they are compared."""

import pytest

from evaluation import choices
from evaluation.detokenizers import cbt as detokenize
from evaluation.tasks import cbt
from evaluation.tasks.cbt import ClozeQuestion, cbt_question, read_cbt
from helpers.data_files import fails, put
from helpers.table_scorer import TableScorer, memory, uniform
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
END, V = ENCODER.end_of_text, ENCODER.n_vocab
SCORER = TableScorer(ENCODER, uniform(V), 1024)

CANDIDATES = "King|queen|-LRB-|'s|cat-o'-nine-tails|œuf|U.S.|1,000|N'Importe|Sir."


def question_lines(query="At last the XXXXX 's men said : `` no ! ''\tqueen\t\t" + CANDIDATES):
    sentences = [f'{n} With almost everything , -LRB- no {n} -RRB- .' for n in range(1, 19)]
    sentences += ['19 12 21 years .', '20   two  spaces and\tonetab .']
    return [*sentences, f'21 {query}']


def cbt_file(tmp_path, *questions, end='\n\n'):
    content = '\n\n'.join('\n'.join(lines) for lines in questions) + end
    return put(tmp_path, 'cbt/cbtest_CN_valid_2000ex.txt', content.encode())


def test_a_cbt_question(tmp_path):
    cbt_file(tmp_path, question_lines(), question_lines('XXXXX ran .\tSir.\t\t' + CANDIDATES))
    first, second = read_cbt(tmp_path, 'CN', complete=False)
    assert first.context[0] == 'With almost everything , -LRB- no 1 -RRB- .'
    assert first.context[17:] == [
        'With almost everything , -LRB- no 18 -RRB- .',
        '12 21 years .',
        'two  spaces and\tonetab .',
    ]
    assert first.query == "At last the XXXXX 's men said : `` no ! ''"
    assert first.answer == 'queen'
    assert first.candidates == [
        *('King', 'queen', '-LRB-', "'s", "cat-o'-nine-tails", 'œuf', 'U.S.', '1,000'),
        *("N'Importe", 'Sir.'),
    ]
    assert (second.query, second.answer) == ('XXXXX ran .', 'Sir.')


@pytest.mark.parametrize('query', ['XXXXX or XXXXX .', 'A XXXXX-like queen .'])
def test_a_blank_may_stand_twice_or_in_a_word(tmp_path, query):
    """A file with the right digest must not be refused for how it writes one of 2,000 questions."""
    cbt_file(tmp_path, question_lines(f'{query}\tqueen\t\t{CANDIDATES}'))
    assert read_cbt(tmp_path, 'CN', complete=False)[0].query == query


@pytest.mark.parametrize('end', ['', '\n', '\n\n\n'])
def test_cbt_is_2000_questions_with_any_end(tmp_path, end):
    cbt_file(tmp_path, *[question_lines()] * 2000, end=end)
    assert len(read_cbt(tmp_path, 'CN')) == 2000


def test_cbt_with_line_ends_of_windows(tmp_path):
    path = cbt_file(tmp_path, question_lines(), question_lines())
    expected = read_cbt(tmp_path, 'CN', complete=False)
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n'))
    assert read_cbt(tmp_path, 'CN', complete=False) == expected


TEN = 'a|b|c|d|e|f|g|h|i|j'


@pytest.mark.parametrize(
    'query, reason',
    [
        ('The XXXXX .\tz\t\t' + TEN, "line 21 .* answer 'z' is none of them"),
        ('The XXXXX .\ta\t\ta|b|c', 'line 21 has 3 candidates'),
        ('The XXXXX .\ta\t\t' + TEN + '|k', 'line 21 has 11 candidates'),
        ('The XXXXX .\t\t\t' + TEN, "line 21 .* answer '' is none of them"),
        ('The a .\ta\t\t' + TEN, 'line 21 has no XXXXX in its query'),
        ('The XXXXX .', 'line 21 has no query, answer and candidates'),
    ],
)
def test_cbt_names_the_bad_line(tmp_path, query, reason):
    cbt_file(tmp_path, question_lines(query))
    fails(read_cbt, tmp_path, 'CN', command='cbt', reason=reason, complete=False)


def test_a_cbt_file_that_lost_lines(tmp_path):
    read = read_cbt
    cbt_file(tmp_path, question_lines(), question_lines()[:7])
    reason = 'last question ends after 7 of 21 lines'
    fails(read, tmp_path, command='cbt', reason=reason, complete=False)
    lines = question_lines()
    cbt_file(tmp_path, lines[:4] + lines[5:], question_lines())
    fails(read, tmp_path, command='cbt', reason='line 5 .* 5 and a space', complete=False)
    cbt_file(tmp_path, question_lines())
    reason = '1 questions instead of 2,000'
    fails(read, tmp_path, command='cbt', reason=reason)


# The texts of a question


def question(query):
    context = ["`` Come , ''", 'said the -LRB- old -RRB- king .']
    return ClozeQuestion(context, query, 'queen', ['queen', "cat 's-eye", '-LRB-', "'s"])


START = '"Come," said the (old) king.'


@pytest.mark.parametrize(
    'query, prompt, ending',
    [
        ("But the XXXXX 's men ran .", START + ' But the', " queen's men ran."),
        ('XXXXX , said he .', START, ' queen, said he.'),
        ('`` XXXXX !', START + ' "', 'queen!'),
        ("Do n't go -LRB- XXXXX -RRB-", START + " Don't go (", 'queen)'),
        ('He saw the XXXXX', START + ' He saw the', ' queen'),
        ('A XXXXX is a XXXXX .', START + ' A', ' queen is a queen.'),
        ('A XXXXX-like cat', START + ' A', ' queen-like cat'),
    ],
)
def test_a_question_with_its_candidate(query, prompt, ending):
    assert cbt_question(question(query), 'queen') == (prompt, ending)


def test_prompt_and_ending_are_the_detokenized_text_for_all_candidates():
    for query in ('But the XXXXX ran .', "`` XXXXX 's ''", 'XXXXX', 'a XXXXX ; -LRB-'):
        q = question(query)
        for candidate in q.candidates:
            prompt, ending = cbt_question(q, candidate)
            texts = [*q.context, query.replace('XXXXX', candidate)]
            assert prompt + ending == ' '.join(map(detokenize, texts))
        assert len({cbt_question(q, candidate)[0] for candidate in q.candidates}) == 1


def test_the_context_is_detokenized_once_for_all_candidates():
    detokenize.cache_clear()
    q = question('But the XXXXX ran .')
    for candidate in q.candidates:
        cbt_question(q, candidate)
    assert detokenize.cache_info().misses == len(q.context)


# Its choices


def choices_of(question):
    return cbt.TASKS['cbt_cn'].parts([question], SCORER, 1024, None)


def short_question(candidates, query='the XXXXX ran .', answer=0):
    return ClozeQuestion(['Once .', 'Then .'], query, candidates[answer], candidates)


def test_candidates_are_compared_with_the_rest_of_their_sentence():
    (choice,) = choices_of(short_question(['cat', 'cow', 'dog']))
    (way,) = choice.ways
    prompt = [END, *b'Once. Then. the ']
    assert way == [
        (prompt, list(b'cat ran.')),
        (prompt, list(b'cow ran.')),
        (prompt, list(b'dog ran.')),
    ]


def test_the_rest_of_the_sentence_decides():
    text = b'Once. Then. the '
    model = memory([[END, *text, *b'cat'], [END, *text, *b'cow ran.']], V)
    made = choices_of(short_question(['cow', 'cat']))
    assert choices.score_choices(TableScorer(ENCODER, model, 1024), made).tolist() == [[1]]
