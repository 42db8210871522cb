import os

import pytest

from generation.prompts import given_prompt, request
from helpers.texts import byte_encoder
from support.settings import Settings

TEXT = 'abcdefghij'
N_CTX = 8


def answer(text, length=None, **more):
    """The end of a prompt that is used, and how many tokens are to follow."""
    settings = Settings(length=length or 1)
    tokens, settings = request(
        text, byte_encoder(), N_CTX, settings, any_length=length is None, **more
    )
    return bytes(tokens).decode(), settings.length


@pytest.mark.parametrize(
    'text, length, expected',
    [
        (TEXT, None, ('fghij', 4)),  # half of the context, and one more that is never read
        (TEXT[:6], None, ('bcdef', 4)),
        (TEXT[:5], None, ('abcde', 4)),
        (TEXT, 3, ('efghij', 3)),
        (TEXT, 8, ('j', 8)),
        (TEXT[:6], 3, ('abcdef', 3)),
    ],
)
def test_the_end_of_a_long_prompt_leaves_room_for_new_tokens(capsys, text, length, expected):
    assert answer(text, length, keep_end=True) == expected
    n = len(expected[0])
    note = f'note: of {len(text)} prompt tokens the last {n} are used\n'
    assert capsys.readouterr().err == (note if n < len(text) else '')


@pytest.mark.parametrize('length, fit', [(None, '8 prompt tokens fit'), (3, '6 prompt tokens fit')])
def test_a_prompt_that_is_too_long_is_refused_with_the_remedy(length, fit):
    with pytest.raises(ValueError, match=rf'10 tokens.*{fit} \(--keep_end takes the end'):
        answer(TEXT, length)
    with pytest.raises(ValueError, match='should not be empty'):
        answer('', length, keep_end=True)


def test_bytes_of_a_flag_that_are_not_utf8_are_named():
    for text in ('é日', os.fsdecode('é日'.encode())):
        assert given_prompt(text, None) == 'é日'
    assert given_prompt('\udcc3\udca9', None) == 'é'  # as Python reads it in an ASCII locale
    with pytest.raises(ValueError, match='^--prompt is not UTF-8 text: .*byte 0xe9 in position 3'):
        given_prompt('caf\udce9', None)
    with pytest.raises(ValueError, match='^--prompt is not UTF-8 text: .*surrogates not allowed'):
        given_prompt('\ud800', None)


@pytest.mark.skipif(not os.path.exists('/dev/zero'), reason='has no endless file')
def test_an_endless_file_is_refused():
    with pytest.raises(ValueError, match='^/dev/zero is too long for a prompt: it has 67108864 '):
        given_prompt(None, '/dev/zero')
