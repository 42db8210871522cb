import pytest

from evaluation import choices
from helpers.table_scorer import TableScorer, memory, uniform
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
END, V = ENCODER.end_of_text, ENCODER.n_vocab
SCORER = TableScorer(ENCODER, uniform(V), 1024)


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
    pairs = choices.compared([list(text.encode()) for text in texts], SCORER, 1024)
    assert pairs == [([END, *prompt.encode()], list(rest.encode())) for rest in rests]


def test_a_long_prompt_loses_the_same_tokens_for_all():
    texts = [list(b'0123456789' + rest) for rest in (b'a', b'bcd', b'ef')]
    pairs = choices.compared(texts, SCORER, context=8)
    assert [bytes(prompt) for prompt, _ in pairs] == [
        b'456789'
    ] * 3  # and bcd: 9, the last not read
    with pytest.raises(ValueError, match='3 tokens are to be scored with a context of 2'):
        choices.compared(texts, SCORER, context=2)


def test_ties_count_what_drawing_lots_would_give():
    assert choices.credit([-2.0, -1.0, -3.0], 1) == 1
    assert choices.credit([-2.0, -1.0, -3.0], 0) == 0
    assert choices.credit([-1.0, -1.0, -3.0], 0) == 0.5
    assert choices.credit([-1.0] * 10, 9) == pytest.approx(0.1)
    assert choices.credit([-1.0, -1.0, -3.0], 2) == 0


def test_a_task_of_choices_is_a_reader_and_the_texts_of_an_example():
    task = choices.choice_task(
        read=lambda data_dir, complete: [('ab', ['cd', 'ef'], 1), ('ab', ['gh', 'ef'], 0)],
        split='all',
        detokenizer='none',
        texts_of=lambda example: ([example[0] + ending for ending in example[1]], example[2]),
        normalisation='the most likely of 2',
    )
    scorer = TableScorer(ENCODER, memory([[END, *b'abef']], V))
    parts = task.parts(task.read('', complete=True), scorer, 1024, None)
    assert parts[0].ways[0] == [([END, *b'ab'], list(b'cd')), ([END, *b'ab'], list(b'ef'))]
    assert task.score(scorer, parts).tolist() == [[1], [0]]
    assert (task.metrics['accuracy'].column, task.split) == (None, 'all')
