"""What is told of tokens; the oracle of offsets is Python's own decoder."""

import random
import types

import pytest

from encoder import Encoder, bytes_to_unicode
from generation.continuous import New
from helpers.texts import byte_encoder
from serving import answers
from serving.answers import Piece, Text, prompt_piece, token_text

ENCODER = byte_encoder()
HARD = 'a🦆é\n日本👩‍👩‍👧 "x" \\ \u2028b'


def news(tokens, end='length', n_top=0):
    """New tokens with log-probabilities of their own; the last one ends the text."""
    made = []
    for i, token in enumerate(tokens):
        top = [(token + j, -i - j) for j in range(n_top)]
        made.append(New(token, float(-i), top, end if i == len(tokens) - 1 else None))
    return made


def pieces_of(text, tokens, **more):
    return [text.add(new) for new in news(tokens, **more)]


def true_offsets(data):
    """How many characters are complete before each byte."""
    return [len(data[:i].decode('utf-8', 'ignore')) for i in range(len(data))]


def test_offsets_count_the_characters_before_a_token():
    data = HARD.encode()
    pieces = pieces_of(Text(ENCODER, [], ()), data)
    assert ''.join(piece.text for piece in pieces) == HARD
    assert [one.offset for piece in pieces for one in piece.told] == true_offsets(data)
    assert [one.token for piece in pieces for one in piece.told] == list(data)
    assert [piece.finish_reason for piece in pieces] == [None] * (len(data) - 1) + ['length']


@pytest.mark.parametrize('cut', range(len(HARD.encode())))
def test_prompt_and_text_together_are_told_as_one(cut):
    """Wherever the prompt ends, within a character too."""
    data = HARD.encode()
    before = prompt_piece(ENCODER, list(data[:cut]))
    whole = answers.joined([before, *pieces_of(Text(ENCODER, list(data[:cut]), ()), data[cut:])])
    assert whole.text == HARD
    assert [one.offset for one in whole.told] == true_offsets(data)
    assert whole.finish_reason == 'length'


@pytest.mark.parametrize('tells_end', [False, True])
def test_the_end_token_is_told_of_if_asked_for_and_never_in_the_text(tells_end):
    text = Text(ENCODER, list(b'ab'), (), tells_end)
    *_, last = pieces_of(text, [*'é'.encode(), 256], end='end', n_top=1)
    assert (last.text, last.finish_reason) == ('', 'stop')
    assert last.told == ([answers.Told(256, -2.0, [(256, -2)], 3)] if tells_end else [])
    assert text.n_tokens == 2


def test_a_token_is_told_of_with_its_first_character():
    text = Text(ENCODER, [], ())
    lengths = [(piece.text, len(piece.told)) for piece in pieces_of(text, '🦆a'.encode())]
    assert lengths == [('', 0), ('', 0), ('', 0), ('🦆', 4), ('a', 1)]


def test_bytes_that_become_no_character_are_marked_at_the_end():
    *_, last = pieces_of(Text(ENCODER, [], ()), b'a\xf0\x9f')
    assert last.text == '\ufffd' and [one.offset for one in last.told] == [1, 1]


@pytest.mark.parametrize('cut', range(4))
def test_a_character_that_is_left_unfinished_is_counted_once(cut):
    """Wherever the prompt ends."""
    tokens = list(b'\xf0\x9fab')
    pieces = pieces_of(Text(ENCODER, tokens[:cut], ()), tokens[cut:])
    whole = answers.joined([prompt_piece(ENCODER, tokens[:cut]), *pieces])
    assert whole.text == '\ufffdab'
    assert [one.offset for one in whole.told] == [0, 0, 1, 2]


def test_a_token_after_an_unfinished_character_is_not_told_of_if_it_is_cut_off():
    pieces = pieces_of(Text(ENCODER, [], ('ab',)), b'\xf0ab', end='stop')
    whole = answers.joined(pieces)
    assert (whole.text, [one.token for one in whole.told]) == ('\ufffd', [0xF0])


@pytest.mark.parametrize('seed', range(20))
def test_nothing_is_told_of_what_a_stop_string_cuts_off(seed):
    draw = random.Random(seed)
    text = ''.join(draw.choice('ab🦆é') for _ in range(30))
    stop = ''.join(draw.choice('ab🦆é') for _ in range(draw.randint(1, 3)))
    data = text.encode()
    if stop in text:  # the engine ends with the token that completes it
        data = data[: len(text[: text.index(stop)].encode() + stop.encode())]
    pieces = pieces_of(Text(ENCODER, [], (stop,)), data, end='stop' if stop in text else 'length')
    whole = answers.joined(pieces)
    assert whole.text == text.partition(stop)[0]
    assert [one.token for one in whole.told] == list(whole.text.encode())
    shown = 0
    for piece in pieces:  # never before it is certain, and in its place
        assert all(shown <= one.offset < shown + len(piece.text) for one in piece.told)
        shown += len(piece.text)


def test_the_end_token_is_counted_in_the_mean_alone():
    text = Text(ENCODER, [], ())
    pieces = [text.add(New(97, -1.0, [], None)), text.add(New(256, -4.0, [], 'end'))]
    assert pieces[1] == Piece('', [], 'stop')
    assert (text.n_tokens, text.mean_logprob) == (1, -2.5)


def asked(logprobs=2, return_token_ids=False):
    return types.SimpleNamespace(logprobs=logprobs, return_token_ids=return_token_ids)


def test_log_probabilities_are_told_as_openai_does():
    whole = answers.joined(pieces_of(Text(ENCODER, [104], ()), b'a\xc3', n_top=3))
    found = answers.logprobs_of(whole.told, asked(), ENCODER)
    assert found == {
        'tokens': ['a', 'bytes:\\xc3'],
        'token_logprobs': [0.0, -1.0],
        'top_logprobs': [{'a': 0.0, 'b': -1}, {'bytes:\\xc3': -1.0, 'bytes:\\xc4': -2}],
        'text_offset': [1, 2],
    }
    found = answers.logprobs_of(whole.told, asked(2, True), ENCODER)
    assert found['top_ids'][0] == [[97, 0, 'a'], [98, -1, 'b']]


def test_the_token_itself_is_always_among_the_likely_ones():
    told = [answers.Told(97, -9.0, [(98, -0.5)], 0)]
    assert answers.logprobs_of(told, asked(1), ENCODER)['top_logprobs'] == [{'b': -0.5, 'a': -9.0}]
    assert answers.logprobs_of(told, asked(0), ENCODER)['top_logprobs'] == [{'a': -9.0}]


def test_nothing_is_known_of_the_first_token_of_a_prompt():
    piece = prompt_piece(ENCODER, [97, 98], [None, -1.0], [None, [(99, -0.5)]])
    found = answers.logprobs_of(piece.told, asked(1, True), ENCODER)
    assert found['token_logprobs'] == [None, -1.0]
    assert found['top_logprobs'] == [None, {'c': -0.5, 'b': -1.0}]
    assert found['top_ids'] == [None, [[99, -0.5, 'c']]]


def test_texts_of_tokens():
    special = Encoder({c: b for b, c in bytes_to_unicode().items()} | {'<|pad|>': 300}, [])
    assert token_text(ENCODER, 256) == '<|endoftext|>'
    assert token_text(special, 300) == '<|pad|>'
    assert [token_text(ENCODER, b) for b in (10, 65, 128)] == ['\n', 'A', 'bytes:\\x80']


def test_the_best_texts_are_those_of_the_highest_mean():
    texts = [types.SimpleNamespace(mean_logprob=mean) for mean in (-2.0, -1.0, -3.0, -1.0)]
    assert answers.best(texts, 3) == [1, 3, 0]
