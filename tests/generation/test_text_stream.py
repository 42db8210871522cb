import pytest

from encoder import get_encoder
from generation.text_stream import TextStream, before_end
from helpers.paths import ROOT

TEXT = 'abcd é東😀 xyz'


@pytest.fixture(scope='module')
def encoder():
    return get_encoder('demo', str(ROOT / 'models'))


def tokens_of_bytes(encoder, data):
    return [encoder.encoder[encoder.byte_encoder[byte]] for byte in data]


def pieces(encoder, tokens, at_a_time=1, **options):
    stream = TextStream(encoder, **options)
    shown = [stream.add(tokens[i : i + at_a_time]) for i in range(0, len(tokens), at_a_time)]
    return [*shown, stream.finish()], stream


def test_tokens_before_the_end_token():
    assert before_end([1, 2, 3, 2], 2) == [1]
    assert before_end([1, 2], 3) == before_end([1, 2], None) == [1, 2]


def test_characters_come_whole_and_as_soon_as_they_are(encoder):
    shown, _ = pieces(encoder, tokens_of_bytes(encoder, 'aé東😀'.encode()))
    assert shown == ['a', '', 'é', '', '', '東', '', '', '', '😀', '']


@pytest.mark.parametrize('at_a_time', [1, 2, 3, 7, 50])
@pytest.mark.parametrize(
    'stops, expected',
    [
        ([], TEXT),
        (['', 'never'], TEXT),
        (['cd'], 'ab'),
        (['bc', 'ab'], ''),  # 'ab' is complete first
        (['bcdX', 'd '], 'abc'),
        (['é'], 'abcd '),
        (['😀 x', '東😀 y'], 'abcd é東'),
        (['xyz!'], TEXT),
    ],
)
def test_a_text_ends_before_a_stop_string_however_many_tokens_come(
    encoder, at_a_time, stops, expected
):
    tokens = tokens_of_bytes(encoder, TEXT.encode())
    shown, stream = pieces(encoder, tokens, at_a_time, stops=stops)
    assert ''.join(shown) == expected
    assert stream.ended and stream.add(tokens) == stream.finish() == ''


def test_no_piece_holds_the_beginning_of_a_stop_string(encoder):
    shown, _ = pieces(encoder, tokens_of_bytes(encoder, b'a##b###'), stops=['###'])
    assert shown == ['a', '', '', '##b', '', '', '', '']


def test_of_one_token_that_holds_several_stop_strings_the_first_counts(encoder):
    token = max(encoder.decoder, key=lambda token: len(encoder.decode([token])))
    text = encoder.decode([token])
    shown, stream = pieces(encoder, [token], stops=[text[4:6], text[2:4]])
    assert ''.join(shown) == text[: min(text.index(text[4:6]), text.index(text[2:4]))]
    assert stream.text == text


@pytest.mark.parametrize('at_a_time', [1, 2, 50])
def test_the_end_token_ends_a_text_if_it_is_to(encoder, at_a_time):
    torn = '東'.encode()[:2]
    tokens = tokens_of_bytes(encoder, b'ab' + torn) + [encoder.end_of_text]
    shown, stream = pieces(encoder, tokens * 2, at_a_time, stop_at_end=True)
    assert ''.join(shown) == 'ab\N{REPLACEMENT CHARACTER}' and stream.ended
    shown, _ = pieces(encoder, tokens * 2, at_a_time)
    assert ''.join(shown) == 'ab\N{REPLACEMENT CHARACTER}<|endoftext|>' * 2


def test_what_waits_for_a_stop_string_is_shown_at_the_end_token(encoder):
    tokens = [*tokens_of_bytes(encoder, b'a#'), encoder.end_of_text]
    shown, stream = pieces(encoder, tokens, stops=['##'], stop_at_end=True)
    assert shown == ['a', '', '#', ''] and stream.ended
