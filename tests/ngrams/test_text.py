import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import encoder as encoder_module
from encoder import get_encoder
from helpers.paths import ROOT, TESTDATA
from helpers.texts import byte_encoder, write_lines
from ngrams import text as ngrams_text
from ngrams.text import LENGTH, ngrams, normalised, read
from support import documents as documents_module
from support.documents import Separator

DEMO = get_encoder('demo', ROOT / 'models')
MOBY_DICK = TESTDATA / 'moby_dick_chapters_1_to_19.txt'
SOME_TEXT = st.text(st.sampled_from('aB cß9_.é\n’–٣Σİ-漢\t\u3000'), max_size=40) | st.text()


def by_hand(text):
    """The paper's normal form, as plainly as it can be written."""
    letters = [c if c.isalnum() else ' ' for c in text.lower()]
    return ' '.join(''.join(letters).split())


def windows_by_hand(documents, encoder):
    """(number of the document, 8 tokens) of all 8-grams."""
    rows = [encoder.encode(by_hand(document)) for document in documents]
    return [(n, tuple(row[i : i + 8])) for n, row in enumerate(rows) for i in range(len(row) - 7)]


def as_list(batches):
    return [
        (owner, tuple(window))
        for batch in batches
        for owner, window in zip(batch.owners.tolist(), batch.windows.tolist(), strict=True)
    ]


@given(SOME_TEXT)
def test_a_text_is_its_words_in_lower_case(text):
    assert normalised(text) == by_hand(text)


@pytest.mark.parametrize(
    'text, words',
    [
        ('', ''),
        ('...', ''),
        ("  Don't  stop--\n\nNOW! ", 'don t stop now'),
        ('a_b 3.14 <unk> $ N', 'a b 3 14 unk n'),
        ('Ça coûte 5 €', 'ça coûte 5'),
        ('<|endoftext|>', 'endoftext'),
    ],
)
def test_some_texts(text, words):
    assert normalised(text) == words


@settings(deadline=None)
@given(st.lists(SOME_TEXT, max_size=6), st.integers(1, 60), st.sampled_from([1, 5, 2**18]))
def test_8_grams_are_those_of_each_document_by_itself(texts, batch, chunk):
    texts = [re.sub('[\ud800-\udfff]', '', text) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams_text, 'BATCH_CHARACTERS', batch)
        patch.setattr(encoder_module, 'CHUNK_CHARACTERS', chunk)
        batches = list(ngrams(texts, DEMO))
    assert as_list(batches) == windows_by_hand(texts, DEMO)
    assert sum(b.bytes for b in batches) == sum(len(text.encode('utf-8')) for text in texts)
    assert not texts or batches[-1].documents == len(texts)
    assert all(batch.owners.dtype == np.int64 for batch in batches)


def test_a_file_is_read_in_pieces_as_one_text(monkeypatch):
    expected = windows_by_hand([MOBY_DICK.read_text('utf-8')], DEMO)
    monkeypatch.setattr(documents_module, 'BLOCK_BYTES', 777)
    monkeypatch.setattr(ngrams_text, 'BATCH_CHARACTERS', 5000)
    done = []
    batches = list(read(str(MOBY_DICK), None, DEMO, done.append))
    assert as_list(batches) == expected and len(batches) > 20
    assert sum(done) == MOBY_DICK.stat().st_size and max(done) < 6000


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text(json.dumps({'id': 'x' * 100, 'text': 'é ' * 20}) + '\n\n', 'utf-8')
    done = []
    list(read(str(path), None, DEMO, done.append))
    assert sum(done) == path.stat().st_size


def test_a_separator_splits_a_text(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('abcdefghi|1234|klmnopqrs', 'utf-8')
    batches = list(read(str(path), Separator('|'), byte_encoder(), lambda n: None))
    expected = ['abcdefgh', 'bcdefghi', 'klmnopqr', 'lmnopqrs']
    assert [bytes(window).decode() for _, window in as_list(batches)] == expected
    assert [owner for owner, _ in as_list(batches)] == [0, 0, 2, 2]
    assert batches[-1].documents == 3


def test_the_end_token_that_is_spelled_is_counted(tmp_path):
    path = write_lines(tmp_path / 'a.jsonl', ['a <|endoftext|> b', '<|endoftext|>' * 2])
    assert sum(b.spelled_ends for b in read(str(path), None, DEMO, lambda n: None)) == 3


@pytest.mark.parametrize('length', [0, 7, 8])
def test_a_short_text_has_no_8_gram(length):
    batches = list(ngrams(['x' * length], byte_encoder()))
    assert sum(len(batch.windows) for batch in batches) == max(length - LENGTH + 1, 0)
    assert all(batch.windows.shape[1:] == (LENGTH,) for batch in batches)


@pytest.mark.parametrize('end, dtype', [(256, np.uint16), (70_000, np.uint32)])
def test_tokens_have_room_for_the_vocabulary(end, dtype):
    (batch,) = ngrams(['12345678'], byte_encoder(end))
    assert batch.windows.dtype == dtype
    assert batch.windows.tolist() == [list(b'12345678')]
