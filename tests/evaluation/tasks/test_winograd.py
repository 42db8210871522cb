"""Winograd schemas: the file, what takes the place of a pronoun, and the two ways of scoring."""

import math

import numpy as np
import pytest

from evaluation import choices
from evaluation.tasks import winograd
from evaluation.tasks.winograd import Schema, read_winograd
from helpers.data_files import fails, put
from helpers.table_scorer import TableScorer, uniform
from helpers.texts import byte_encoder

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
    assert winograd.substitute(schema(text, candidate), candidate) == expected


def test_schemas_are_scored_in_full_and_in_part():
    one = schema('Bob saw Ann when _she_ left.', 'Bob', 'Ann', answer=1)
    (choice,) = winograd.schema_choices([one], SCORER, 1024, None)
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

    made = winograd.schema_choices([one], SCORER, 1024, None)
    rows = choices.score_choices(TableScorer(ENCODER, model, 1024), made)
    assert rows.tolist() == [[0, 1]]


# The file


HEAD = b'<?xml version="1.0" encoding="ISO-8859-1"?>\n<?xml-stylesheet href="a.xsl"?>\n'


def schema_xml(text, candidates=('the  trophy', ' The\nsuitcase '), letter=' B.  '):
    before, pronoun, after = text
    return (
        f'<schema>\n<text>\n<txt1>{before}</txt1>\n<pron>{pronoun}</pron><txt2>{after}</txt2>\n'
        f'</text>\n<quote>\n<quote1></quote1>\n<pron> them </pron>\n</quote>\n<answers>\n'
        + ''.join(f'<answer>{c}</answer>\n' for c in candidates)
        + f'</answers>\n<correctAnswer>{letter}</correctAnswer>\n<source> A (1972)\n</source>\n'
        '</schema>\n\n'
    ).encode('latin-1')


def winograd_file(tmp_path, *schemas):
    content = HEAD + b'<collection>\n\n' + b''.join(schemas) + b'</collection>\n'
    return put(tmp_path, 'winograd/WSCollection.xml', content)


def only_schema(tmp_path, *arguments, **options):
    winograd_file(tmp_path, schema_xml(*arguments, **options))
    return read_winograd(tmp_path, complete=False)[0]


@pytest.mark.parametrize(
    'text, expected',
    [
        (
            (
                "\nThe caf\xe9's trophy, in 1765,\n didn't fit because \n",
                ' it  ',
                ' \nis &lt; big.\n',
            ),
            ("The café's trophy, in 1765, didn't fit because ", 'it', ' is < big.'),
        ),
        (('\nso we\nrescued', 'them', '.'), ('so we rescued ', 'them', '.')),
        (('\nMuch better in\n', ' his ', ''), ('Much better in ', 'his', '')),
        (('', '\n They ', ' know.'), ('', 'They', ' know.')),
        (('I saw', 'him', ', but he left'), ('I saw ', 'him', ', but he left')),
        (('He said', 'it', '  was "it".'), ('He said ', 'it', ' was "it".')),
    ],
)
def test_a_schema_is_its_text_with_single_spaces(tmp_path, text, expected):
    schema = only_schema(tmp_path, text)
    assert schema[:3] == expected
    assert schema.candidates == ['the trophy', 'The suitcase']


@pytest.mark.parametrize(
    'letter, answer',
    [('A', 0), ('B', 1), (' A. ', 0), ('B.  ', 1), ('\n A\n', 0), ('b', 1), ('a .', 0)],
)
def test_spellings_of_the_right_answer(tmp_path, letter, answer):
    assert only_schema(tmp_path, ('A', 'it', 'is'), letter=letter).answer == answer


def test_winograd_is_the_first_273_of_285(tmp_path):
    schemas = [schema_xml((f'text {n}', 'it', 'is')) for n in range(285)]
    winograd_file(tmp_path, *schemas)
    found = read_winograd(tmp_path)
    assert [s.before for s in found] == [f'text {n} ' for n in range(273)]
    winograd_file(tmp_path, *schemas[:284])
    reason = '284 schemas instead of 285'
    fails(read_winograd, tmp_path, command='winograd', reason=reason)


@pytest.mark.parametrize(
    'options, reason',
    [
        ({'letter': 'C'}, "schema 1 has the correct answer 'C'"),
        ({'letter': ''}, "schema 1 has the correct answer ''"),
        ({'letter': 'AB'}, "schema 1 has the correct answer 'AB'"),
        ({'candidates': ('one',)}, 'schema 1 has not .* two answers'),
        ({'candidates': ('one', 'two', 'three')}, 'schema 1 has not .* two answers'),
        ({'candidates': ('one', ' ')}, 'schema 1 has not .* two answers'),
        ({'text': ('A', ' ', 'is')}, 'schema 1 has not text, pronoun'),
        ({'text': ('', 'it', '\n')}, 'schema 1 has not text, pronoun'),
    ],
)
def test_winograd_names_the_bad_schema(tmp_path, options, reason):
    winograd_file(tmp_path, schema_xml(**{'text': ('A', 'it', 'is')} | options))
    fails(read_winograd, tmp_path, command='winograd', reason=reason, complete=False)


def test_winograd_that_is_cut_off_or_a_bomb(tmp_path):
    path = winograd_file(tmp_path, schema_xml(('A', 'it', 'is')))
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        fails(read_winograd, tmp_path, command='winograd', reason='not XML', complete=False)
    path.write_bytes(whole + b' ' * 1_000_000)
    fails(read_winograd, tmp_path, command='winograd', reason='more than', complete=False)
    entities = b'<!ENTITY a "aaaaaaaaaa">' + b''.join(
        b'<!ENTITY %c "%s">' % (97 + n, b'&%c;' % (96 + n) * 10) for n in range(1, 12)
    )
    bomb = HEAD + b'<!DOCTYPE x [' + entities + b']><collection>&l;</collection>'
    path.write_bytes(bomb)
    fails(read_winograd, tmp_path, command='winograd', reason='.', complete=False)
