import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder import END_OF_TEXT, Encoder, bytes_to_unicode
from evaluation.tasks import lambada
from evaluation.tasks.lambada import read_lambada
from helpers.data_files import fails, put
from helpers.table_scorer import TableScorer, memory
from helpers.texts import byte_encoder

# A vocabulary in which words have several tokens; the ids of bytes are those of byte_encoder.
PIECES = [' the', ' cat', ' ca', 't', 's', ' dog', ',', ' and', 'ty', '\n']


def word_encoder():
    ids = {char: byte for byte, char in bytes_to_unicode().items()}
    merges = []
    for word in [' cat', ' the', ' dog', ' and', 'ty', ' cats']:
        letters = word.replace(' ', '\u0120')
        for n in range(1, len(letters)):
            if letters[: n + 1] not in ids:
                ids[letters[: n + 1]] = len(ids)
                merges.append((letters[:n], letters[n]))
    return Encoder(ids | {END_OF_TEXT: len(ids)}, merges)


ENCODER = word_encoder()


def token(text):
    (found,) = [i for i in ENCODER.decoder if ENCODER.decode_bytes([i]) == text.encode()]
    return found


def scorer_of(tables, n_ctx=64):
    """A model that goes by the text behind 'x': {text: {next token's text: probability}}."""

    def model(context):
        text = ENCODER.decode(list(context)).rpartition('x')[2]
        probabilities = np.full(ENCODER.n_vocab, 1e-9)
        for piece, probability in tables[text].items():
            probabilities[token(piece)] = probability
        return np.log(probabilities)

    return TableScorer(ENCODER, model, n_ctx)


def likeliest(tables, context='x'):
    return lambada.most_likely_words(scorer_of(tables), [ENCODER.encode(context)])


def test_words_are_made_of_tokens_and_end_before_what_is_no_part_of_them():
    tables = {
        '': {' ca': 0.9, ' dog': 0.1},
        ' ca': {'t': 1.0},
        ' cat': {'s': 0.8},
        ' cats': {',': 0.5},
        ' dog': {' and': 0.9},
    }
    assert likeliest(tables) == ['cats']
    tables[' cat'] = {',': 0.8}
    assert likeliest(tables) == ['cat']
    for end in (' and', '\n', "'", '-', '<|endoftext|>'):
        tables[' cat'] = {end: 0.8}
        assert likeliest(tables) == ['cat']


def test_stop_words_are_left_out_whole_words_only():
    tables = {
        '': {' the': 0.6, ' dog': 0.3, ' and': 0.1},
        ' the': {' dog': 1.0},
        ' dog': {',': 1.0},
        ' and': {',': 1.0},
    }
    assert likeliest(tables) == ['dog']
    tables[' the'] = {'ty': 1.0}
    tables[' thety'] = {',': 1.0}
    assert likeliest(tables) == ['thety']


def test_the_likeliest_word_is_not_always_that_of_the_likeliest_token():
    tables = {
        '': {' ca': 0.5, ' dog': 0.4},
        ' ca': {'t': 0.6},
        ' cat': {',': 1.0},
        ' dog': {',': 1.0},
    }
    assert likeliest(tables) == ['dog']  # 0.4 > 0.5 * 0.6


def test_what_begins_no_word_is_passed_over():
    tables = {'': {',': 0.5, 's': 0.3, '\n': 0.1, ' dog': 0.05}, ' dog': {',': 1.0}}
    assert likeliest(tables) == ['dog']


def test_there_may_be_no_word():
    tables = {'': {',': 0.5, ' the': 0.3}, ' the': {',': 1.0}}
    scorer = scorer_of(tables)
    assert lambada.most_likely_words(scorer, [ENCODER.encode('x')]) == ['']


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    monkeypatch.setattr(lambada, 'CANDIDATES', 4)


def test_a_word_that_does_not_end_is_given_up():
    class Endless(dict):
        def __missing__(self, text):
            return {'s': 1.0}

    tables = Endless({'': {' ca': 0.9, ' dog': 0.01}, ' dog': {',': 1.0}})
    assert likeliest(tables) == ['dog']


def test_a_long_context_loses_its_beginning():
    tables = {'': {' ca': 1.0}, ' ca': {'t': 1.0}, ' cat': {',': 1.0}}
    scorer = scorer_of(tables, n_ctx=8)
    context = ENCODER.encode('yyyyyyyx')
    assert len(context) == 8
    assert lambada.most_likely_words(scorer, [context]) == ['cat']


PROBABILITIES = st.lists(st.integers(0, 50), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(PROBABILITIES, min_size=8, max_size=8), st.lists(PROBABILITIES, min_size=2))
def test_it_is_the_best_of_all_candidates_completed(rows, starts):
    """Against all of them completed, in whatever order."""
    pieces = [' ca', ' cat', 't', 's', ' the', ',']
    ids = np.array([token(piece) for piece in pieces])

    def model(context):
        first = context[-1] == token('x')
        n = sum(context[context.index(token('x')) :]) if not first else context[0]
        row = np.array((starts if first else rows)[n % len(starts if first else rows)], float)
        table = np.full(ENCODER.n_vocab, -50.0)
        table[ids] = np.log((row + 0.01 * np.arange(1, 7)) / (row.sum() + 1))
        return table

    scorer = TableScorer(ENCODER, model, 64)
    contexts = [[n, token('x')] for n in range(len(starts))]
    expected = []
    for context in contexts:
        words = {}
        table = model(tuple(context))
        for first in np.argsort(-table)[:4]:
            tokens, logprob = [int(first)], np.float32(table[first])
            text = ENCODER.decode(tokens)
            while text.startswith(' ') and text[1:].isalnum() and len(tokens) <= 12:
                following = model(tuple(context + tokens))
                best = int(np.argmax(following))
                if not ENCODER.decode([best]).isalnum():
                    if text[1:] != 'the' and logprob > words.get(text[1:], -np.inf):
                        words[text[1:]] = logprob
                    break
                tokens, logprob = tokens + [best], logprob + np.float32(following[best])
                text = ENCODER.decode(tokens)
        expected.append(words)
    found = lambada.most_likely_words(scorer, contexts)
    for word, words in zip(found, expected, strict=True):
        assert words.get(word, 0) == max(words.values(), default=0), (word, words)


def test_the_rows_of_a_passage():
    encoder = byte_encoder()
    tables = np.log(np.full([257, 257], 1e-6))
    for before, after, probability in [
        ('e', ' ', 0.9), (' ', 'c', 0.5), ('c', 'a', 0.25), ('a', 't', 0.1), ('t', '.', 1.0),
    ]:  # fmt: skip
        tables[ord(before), ord(after)] = np.log(probability)
    tables[ord('a'), ord('r')] = np.log(0.2)
    tables[ord('r'), ord('.')] = 0.0
    scorer = TableScorer(encoder, lambda context: tables[context[-1]], 1024)
    (passage,) = lambada.passages(['some \n cat'.replace('\n', 'e')], scorer, 1024, None)
    assert (bytes(passage.prompt), passage.word, bytes(passage.tokens)) == (
        b'some e',
        'cat',
        b' cat',
    )
    (row,) = lambada.score_passages(scorer, [passage])
    row = dict(zip(lambada.COLUMNS, row, strict=True))
    assert row['nll'] == pytest.approx(-np.log(0.9 * 0.5 * 0.25 * 0.1))
    assert row['last_nll'] == pytest.approx(-np.log(0.1))
    assert row['right'] == row['last_right'] == 0  # r is likelier than t
    assert row['right_filtered'] == 0  # the word is car
    (passage,) = lambada.passages(['some car'], scorer, 1024, None)
    assert lambada.score_passages(scorer, [passage])[0, 2:].tolist() == [1, 1, 1]


def test_only_the_first_tokens_of_a_word_may_be_wrong_for_the_last_token():
    tables = np.log(np.full([257, 257], 1e-6))
    tables[ord('e'), ord('.')] = 0.0
    tables[ord('a'), ord('t')] = 0.0
    scorer = TableScorer(byte_encoder(), lambda context: tables[context[-1]], 1024)
    rows = lambada.score_passages(
        scorer, lambada.passages(['some cat', 'some hat'], scorer, 1024, None)
    )
    assert rows[:, 2:].tolist() == [[0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize('word', ["o'clock", 't-shirt', '“no”'])
def test_a_word_with_other_signs_in_it_is_right_as_a_whole_word(word):
    """Or a model that knows all answers by heart would not be perfect."""
    encoder = byte_encoder()
    for known in (word, word[:-1] + 'x'):
        model = memory([encoder.encode(f'some {known}.')], encoder.n_vocab)
        scorer = TableScorer(encoder, model, 1024)
        passages = lambada.passages([f'some {word}'], scorer, 1024, None)
        (row,) = lambada.score_passages(scorer, passages)
        assert row[2:4].tolist() == [known == word] * 2


def test_a_text_of_one_word_is_refused():
    with pytest.raises(ValueError, match='no last word to predict in "don\'t"'):
        lambada.passages(["don't"], TableScorer(byte_encoder(), None, 1024), 1024, None)


def test_prompts_are_cut_on_their_left_to_fit_the_context():
    scorer = TableScorer(byte_encoder(), None, 1024)
    (passage,) = lambada.passages(['a long text about a cat'], scorer, 10, None)
    assert bytes(passage.prompt) == b'about a' and bytes(passage.tokens) == b' cat'
    with pytest.raises(ValueError, match='4 tokens are to be scored with a context of 3'):
        lambada.passages(['a cat'], scorer, 3, None)


def test_stop_words_are_words():
    assert len(lambada.STOP_WORDS) > 200
    assert all(word.isalpha() and word == word.lower() for word in lambada.STOP_WORDS)
    # What LAMBADA asks for is mostly names and nouns.
    assert not lambada.STOP_WORDS & {'time', 'man', 'door', 'dog', 'water', 'food', 'gabriel'}
    assert len(set(itertools.chain(*lambada.STOP_WORDS))) <= 26


# The files


def test_lambada_of_openai_keeps_texts_as_they_are(tmp_path):
    content = (
        b'{"text": "\\u201cGo,\\u201d she said.\\n\\n\\u2018No,\\u2019 he said to Ann"}\n'
        b'{"text": "  In my palm is stone.\\u00a0 `` Caf\xc3\xa9 \\ud83d\\ude00 \\" signs\\n"}\n'
    )
    put(tmp_path, 'lambada/lambada_test.jsonl', content)
    assert read_lambada(tmp_path, 'openai', complete=False) == [
        '“Go,” she said.\n\n‘No,’ he said to Ann',
        '  In my palm is stone.\xa0 `` Café 😀 " signs\n',
    ]


def test_lambada_is_5153_passages(tmp_path):
    path = put(tmp_path, 'lambada/lambada_test.jsonl', b'{"text": "one two"}\n' * 5153)
    assert read_lambada(tmp_path) == ['one two'] * 5153
    path.write_bytes(path.read_bytes()[:-21])
    assert len(read_lambada(tmp_path, complete=False)) == 5152
    reason = 'has 5,152 passages instead of 5,153'
    fails(read_lambada, tmp_path, command='lambada', reason=reason)
    path.write_bytes(b'{"text": "one two"}\n' * 5153 + b'{"text": "one')
    reason = 'line 5154 is not JSON'
    fails(read_lambada, tmp_path, command='lambada', reason=reason)


@pytest.mark.parametrize(
    'line, reason',
    [
        (b'{"text": 3}', 'line 2 holds no text'),
        (b'["a b"]', 'line 2 holds no text'),
        (b'{"text": "word"}', 'passage 2 has no word'),
        (b'{"text": "a \xe9"}', 'byte 32 is not UTF-8'),
    ],
)
def test_lambada_names_the_bad_line(tmp_path, line, reason):
    put(tmp_path, 'lambada/lambada_test.jsonl', b'{"text": "one two"}\n' + line + b'\n')
    fails(read_lambada, tmp_path, command='lambada', reason=reason, complete=False)


def test_the_original_lambada_is_a_passage_a_line(tmp_path):
    content = (
        b"in my palm is a clear stone . `` figure , '' i look at him . do n't care about signs\n"
        b'"  caf\xc3\xa9  " \xe2\x80\x94 he said\x0b\xc2\x85 to ann \n'
    )
    put(tmp_path, 'lambada_plain/lambada_test_plain_text.txt', content)
    assert read_lambada(tmp_path, 'plain', complete=False) == [
        "in my palm is a clear stone . `` figure , '' i look at him . do n't care about signs",
        '"  café  " — he said\x0b\x85 to ann ',
    ]
    fails(
        read_lambada,
        tmp_path,
        'plain',
        command='lambada_plain',
        reason='2 passages instead of 5,153',
    )


def test_the_original_lambada_with_line_ends_of_windows(tmp_path):
    put(tmp_path, 'lambada_plain/lambada_test_plain_text.txt', b'a b\r\nc d\r\n')
    assert read_lambada(tmp_path, 'plain', complete=False) == ['a b', 'c d']
