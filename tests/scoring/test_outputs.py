import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.texts import byte_encoder
from scoring import outputs
from scoring.documents import Document
from scoring.windows import Scores

BYTES = byte_encoder()


def scored(*texts):
    """(Document, Scores) of (file, text), a bit a token."""
    for file, text in texts:
        tokens = BYTES.encode(text)
        logprobs = np.full(len(tokens), -math.log(2), np.float32)
        yield Document(f'text of {file}', file, text, tokens), Scores(logprobs, None)


def lines_of(texts, files, width=None):
    return list(outputs.report(scored(*texts), [], BYTES, files, width))


def test_documents_of_a_file_are_summed_and_equal_names_are_not():
    files = ['a.jsonl', '-', '-']
    texts = [(0, 'abc'), (0, 'de'), (1, 'x'), (2, 'yz')]
    *table, empty = lines_of(texts, files)[:-10]
    assert empty == ''
    assert [row.split() for row in table[1:]] == [
        ['a.jsonl', '5', '2.0000', '1.0000'],
        ['standard', 'input', '1', '2.0000', '1.0000'],
        ['standard', 'input', '2', '2.0000', '1.0000'],
        ['total', '8', '2.0000', '1.0000'],
    ]


@pytest.mark.parametrize('width', [80, 60, None])
def test_a_table_fits_the_terminal_and_names_keep_their_ends(width):
    files = ['short.txt', 'a/very/long/path/' * 6 + 'chapter.txt']
    table = lines_of([(0, 'abc'), (1, 'de')], files, width)[:4]
    assert len({len(line) for line in table}) == 1
    assert width is None or len(table[0]) == width
    assert table[1].startswith('short.txt ')
    name = table[2].split()[0]
    if width is None:
        assert name == files[1]
    else:
        assert name[0] == '…' and files[1].endswith(name[1:]) and name.endswith('chapter.txt')
    assert [line.split()[-2:] for line in table[1:]] == [['2.0000', '1.0000']] * 3


def test_lines_come_as_soon_as_they_are_known():
    taken = []

    def watched():
        for pair in scored((0, 'abc'), (1, 'de'), (2, 'f')):
            taken.append(pair[0].file)
            yield pair

    lines = outputs.report(watched(), [], BYTES, ['a', 'b', 'c'])
    assert next(lines).startswith('file') and taken == []
    assert next(lines).startswith('a ') and taken == [0, 1]


@pytest.mark.skipif(not os.path.exists('/dev/null'), reason='there is no /dev/null here')
def test_both_outputs_may_be_thrown_away():
    outputs.check_outputs(['/dev/null', '/dev/null'], ['-'])


def test_two_runs_that_write_one_file_do_not_mix(tmp_path):
    path = str(tmp_path / 'tokens.jsonl')
    with outputs.TokenFile(path) as mine, outputs.TokenFile(path) as theirs:
        for file in range(9):
            for name, sink in ('mine', mine), ('theirs', theirs):
                sink.write(Document(name, file, 'text', [1]), [{'id': 1}] * 99, None)
                sink.file.flush()
    lines = (tmp_path / 'tokens.jsonl').read_text('utf-8').splitlines()
    assert len(lines) == 9 * 99 and all(line.startswith('{"document": "mine"') for line in lines)


@settings(deadline=None)
@given(st.text())
def test_the_texts_of_tokens_are_the_document_and_their_bytes_its_bytes(text):
    tokens = BYTES.encode(text)
    numbers = np.zeros(len(tokens), np.float32)
    scores = Scores(numbers, numbers.astype(np.int32), numbers)
    records = list(outputs.token_records(BYTES, tokens, scores))
    assert ''.join(record['text'] for record in records) == text
    data = b''.join(bytes.fromhex(r.get('bytes', r['text'].encode().hex())) for r in records)
    assert data == text.encode()
    assert all(('bytes' in r) == (ord(r['text'] or 'é') > 127) for r in records)


def test_a_perplexity_beyond_floating_point_is_written_as_a_power():
    assert outputs.perplexity(7200.0, 10) == 'e^720.0'
    assert outputs.perplexity(0.0, 0) == 'none'
    assert outputs.perplexity(math.log(8) * 3, 3) == '8.0000'
