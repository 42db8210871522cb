import math

import numpy as np
import pytest
from conftest import byte_encoder
from table_scorer import TableScorer, memory, uniform

import choice_scoring
from task_files import ClozeQuestion, Schema

ENCODER = byte_encoder()
END, V = ENCODER.end_of_text, ENCODER.n_vocab
SCORER = TableScorer(ENCODER, uniform(V), 1024)


def schema(text, candidate, other='Sue', answer=0):
    before, pronoun, after = text.split('_')
    return Schema(before, pronoun, after, [candidate, other], answer)


@pytest.mark.parametrize(
    'text, candidate, expected',
    [
        ('They left because _they_ were late.', 'The men', 'the men'),
        ('Ann asked. _She_ was late.', 'the girl', 'The girl'),
        ('_She_ was late.', 'the girl', 'The girl'),
        ('Bob said: "_It_ is big."', 'The cup', 'the cup'),
        ('He left. "_It_ is big," she said.', 'the cup', 'The cup'),
        ('I saw _him_ there.', 'Mr. Moncrieff', 'Mr. Moncrieff'),
        ('I took _his_ hat.', 'Bob', "Bob's"),
        ('I took _his_ hat.', 'James', "James's"),
        ('We cut _their_ tops.', 'The trees', "the trees'"),
        ('He took _my_ hat.', 'My father', "my father's"),
        ('Sue took _her_ hat.', 'Ann', "Ann's"),
        ('Sue thanked _her_ for it.', 'Ann', 'Ann'),
        ('Sue thanked _her_.', 'Ann', 'Ann'),
        ('Sue thanked _her_, of course.', 'Ann', 'Ann'),
        ('Sue thanked _her_', 'Ann', 'Ann'),
        ('It was _hers_ alone.', 'Ann', 'Ann'),
    ],
)
def test_a_candidate_takes_the_place_of_the_pronoun(text, candidate, expected):
    assert choice_scoring.substitute(schema(text, candidate), candidate) == expected


def test_schemas_are_scored_in_full_and_in_part():
    one = schema('Bob saw Ann when _she_ left.', 'Bob', 'Ann', answer=1)
    (choice,) = choice_scoring.schema_choices([one], SCORER, 1024, None)
    full, partial = choice.ways
    assert choice.answer == 1
    start = [END, *b'Bob saw Ann when ']
    assert full == [(start, list(b'Bob left.')), (start, list(b'Ann left.'))]
    assert partial == [
        (start + list(b'Bob'), list(b' left.')),
        (start + list(b'Ann'), list(b' left.')),
    ]


def test_full_and_partial_scoring_can_differ():
    """Bob is the likelier name, but what follows is likelier behind Ann."""
    one = schema('when _she_ left.', 'Bob', 'Ann', answer=1)

    def model(context):
        table = np.full(V, -math.log(V))
        text = bytes(context[1:])
        if text.endswith(b'when '):
            table[ord('B')] = -0.1
        if text.endswith(b'Ann'):
            table[ord(' ')] = -2.0
        return table

    choices = choice_scoring.schema_choices([one], SCORER, 1024, None)
    rows = choice_scoring.score_choices(TableScorer(ENCODER, model, 1024), choices)
    assert rows.tolist() == [[0, 1]]


def question(candidates, query='the XXXXX ran .', answer=0):
    return ClozeQuestion(['Once .', 'Then .'], query, candidates[answer], candidates)


def test_candidates_are_compared_with_the_rest_of_their_sentence():
    (choice,) = choice_scoring.cloze_choices([question(['cat', 'cow', 'dog'])], SCORER, 1024, None)
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
    choices = choice_scoring.cloze_choices([question(['cow', 'cat'])], SCORER, 1024, None)
    assert choice_scoring.score_choices(TableScorer(ENCODER, model, 1024), choices).tolist() == [
        [1]
    ]


@pytest.mark.parametrize(
    'texts, prompt, rests',
    [
        (['abcd', 'abef'], 'ab', ['cd', 'ef']),
        (['xbcd', 'abef'], '', ['xbcd', 'abef']),
        (['ab', 'abc'], 'a', ['b', 'bc']),  # one is the beginning of the other
        (['ab', 'ab'], 'a', ['b', 'b']),
    ],
)
def test_what_all_texts_share_is_only_read(texts, prompt, rests):
    pairs = choice_scoring.compared([list(text.encode()) for text in texts], SCORER, 1024)
    assert pairs == [([END, *prompt.encode()], list(rest.encode())) for rest in rests]


def test_a_long_prompt_loses_the_same_tokens_for_all():
    texts = [list(b'0123456789' + rest) for rest in (b'a', b'bcd', b'ef')]
    pairs = choice_scoring.compared(texts, SCORER, context=8)
    assert [bytes(prompt) for prompt, _ in pairs] == [
        b'456789'
    ] * 3  # and bcd: 9, the last not read
    with pytest.raises(ValueError, match='3 tokens are to be scored with a context of 2'):
        choice_scoring.compared(texts, SCORER, context=2)


def test_ties_count_what_drawing_lots_would_give():
    assert choice_scoring.credit([-2.0, -1.0, -3.0], 1) == 1
    assert choice_scoring.credit([-2.0, -1.0, -3.0], 0) == 0
    assert choice_scoring.credit([-1.0, -1.0, -3.0], 0) == 0.5
    assert choice_scoring.credit([-1.0] * 10, 9) == pytest.approx(0.1)
    assert choice_scoring.credit([-1.0, -1.0, -3.0], 2) == 0
