import bz2
import gzip
import io
import json
import lzma
import os
import pathlib
import re
import sys
import tempfile
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder import END_OF_TEXT, get_encoder
from helpers.memory import peak_memory
from helpers.paths import ROOT
from helpers.texts import write_lines
from support import documents

DEMO = get_encoder('demo', ROOT / 'models')
property_test = settings(max_examples=100, deadline=None, database=None)


@pytest.fixture
def library(tmp_path):
    """A folder of texts, the documents of which are their own paths."""
    names = ['b.txt', 'a.txt', 'a/z.TXT', 'a/a.txt', 'a-b/c.txt', 'notes.md', '[x].txt']
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding='utf-8')
    write_lines(tmp_path / 'a' / 'm.jsonl', ['m1', 'm2'])
    return tmp_path


def texts_in(sources):
    return [''.join(documents.pieces(d)) for d in documents.read_documents(sources)]


@pytest.mark.parametrize(
    'sources, documents',
    [
        (['b.txt', 'a.txt'], ['b.txt', 'a.txt']),
        (['notes.md'], ['notes.md']),
        (['.'], '[x].txt a/a.txt m1 m2 a/z.TXT a-b/c.txt a.txt b.txt'.split()),
        (['a'], ['a/a.txt', 'm1', 'm2', 'a/z.TXT']),
        (['*.txt'], ['[x].txt', 'a.txt', 'b.txt']),
        (['**/?.txt'], ['a/a.txt', 'a-b/c.txt', 'a.txt', 'b.txt']),
        (['a*'], ['a/a.txt', 'm1', 'm2', 'a/z.TXT', 'a-b/c.txt', 'a.txt']),
        (['[x].txt'], ['[x].txt']),
        (['a.txt', 'a.txt'], ['a.txt', 'a.txt']),
        ([pathlib.Path('a') / 'm.jsonl'], ['m1', 'm2']),
    ],
)
def test_sources_are_files_folders_and_patterns(library, monkeypatch, sources, documents):
    monkeypatch.chdir(library)
    assert texts_in(sources) == documents


def test_standard_input_is_one_document(monkeypatch, tmp_path):
    (tmp_path / 'a.txt').write_text('first', encoding='utf-8')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO('a\r\né'.encode()), 'ascii'))
    assert texts_in([tmp_path / 'a.txt', '-']) == ['first', 'a\r\né']


@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl'])
def test_a_byte_order_mark_is_dropped_and_line_ends_stay(tmp_path, name):
    text = 'one\r\ntwo\n\rthree\x85\u2028 \ufeff'
    data = text if name == 'a.txt' else json.dumps({'text': text}, ensure_ascii=False)
    (tmp_path / name).write_bytes(b'\xef\xbb\xbf' + data.encode('utf-8'))
    assert texts_in([tmp_path / name]) == [text]


def test_a_line_of_a_jsonl_file_is_a_document(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes(
        b'{"id": 1, "text": "one\\ntwo"}\r\n\n  \n{"text": ""}\n{"text": "\xc3\xa9 \\ud83e\\udd16"}'
    )
    assert texts_in([tmp_path / 'a.jsonl']) == ['one\ntwo', 'é 🤖']


def test_empty_documents_are_skipped_and_nothing_else_is_an_error(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'')
    (tmp_path / 'b.txt').write_bytes(b'\xef\xbb\xbf')
    write_lines(tmp_path / 'c.jsonl', ['', ''])
    with pytest.raises(ValueError, match=r'there is no text in .*a\.txt, .*b\.txt, .*c\.jsonl'):
        texts_in([tmp_path])
    with pytest.raises(ValueError, match='there is no text in nothing'):
        texts_in([])
    (tmp_path / 'd.txt').write_bytes(b'\n')
    assert texts_in([tmp_path]) == ['\n']


@pytest.mark.parametrize(
    'source, message',
    [
        ('nowhere.txt', 'there is no file or folder nowhere.txt'),
        ('*.md', r'no file matches \*\.md'),
        ('empty', r'there is no \.txt or \.jsonl file in the folder empty'),
    ],
)
def test_a_source_that_is_not_there_is_an_error_at_once(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=message):
        documents.read_documents([source])


@pytest.mark.parametrize(
    'name, data, message',
    [
        ('a.txt', b'abc\xff', r'a\.txt: byte 3 is not UTF-8'),
        ('a.txt', b'\xef\xbb\xbfab\xc3', r'a\.txt: byte 5 is not UTF-8'),
        ('a.txt', 'abc'.encode('utf-16'), r'a\.txt is UTF-16: convert it with iconv -f UTF-16 -t '),
        ('a.jsonl', '{"text": 1}'.encode('utf-16'), r'a\.jsonl is UTF-16: convert it'),
        (
            'a.txt',
            'abc'.encode('utf-16-le'),
            r'a\.txt: byte 1 is NUL, .* iconv -f UTF-16LE -t UTF-8',
        ),
        ('a.txt', b'abc' * 2**20 + b'\0', r'a\.txt: byte 3145728 is NUL'),
        (
            'a.txt.gz',
            gzip.compress(b'abc', mtime=0),
            r'a\.txt\.gz is compressed: gunzip unpacks it',
        ),
        (
            'a.jsonl',
            gzip.compress(b'{"text": "a"}', mtime=0),
            r'a\.jsonl is compressed: gunzip unpacks it',
        ),
        ('a.bz2', bz2.compress(b'abc'), 'is compressed: bunzip2 unpacks it'),
        ('a.xz', lzma.compress(b'abc'), 'is compressed: unxz unpacks it'),
        ('a.zst', b'\x28\xb5\x2f\xfd$\x03', 'is compressed: unzstd unpacks it'),
        ('a.docx', b'PK\3\4\x14\0', 'is a ZIP archive or an office document'),
        ('a.pdf', b'%PDF-1.7\n%\xe2', 'is a PDF document: pdftotext makes text of it'),
        ('a.parquet', b'PAR1\x15\x04', r'is a table: make it a \.jsonl file'),
        ('a.jsonl', b'{"text": "a"}\n\n{"text": "\xff"}', r'a\.jsonl: byte 25 is not UTF-8'),
        ('a.jsonl', b'{"text": "a"}\n\n{"text": "', r'a\.jsonl line 3 is not JSON \(Unterminated'),
        ('a.jsonl', b'{"text": 1}\n', r'a\.jsonl line 1 holds no text in a field "text"'),
        ('a.jsonl', b'{"Text": "a"}\n', r'a\.jsonl line 1 holds no text'),
        ('a.jsonl', b'"text"\n', r'a\.jsonl line 1 holds no text'),
        ('a.jsonl', b'[' * 200000, r'a\.jsonl line 1 is not JSON'),
        ('a.jsonl', b'{"text": "a\\ud800"}', r'a\.jsonl line 1: character 1 .* surrogate U\+D800'),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        texts_in([tmp_path / name])
    assert '\n' not in str(caught.value)


def test_a_folder_that_may_not_be_read_is_an_error(library, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if pathlib.Path(path).name == 'a':
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(PermissionError):
        documents.find_files([library])


@pytest.mark.parametrize(
    'name, message',
    [
        ('train.npy', 'holds tokens, not text: name the folder that src/encode_corpus'),
        ('text.NPZ', 'holds tokens, as of nshepperd/gpt-2, not text: name the text'),
        ('train.bin', 'holds tokens, as of nanoGPT, not text: name the text'),
        ('a.csv', 'is a table: make it a .jsonl file'),
        ('a.tsv', 'is a table: make it a .jsonl file'),
        ('a.json', 'is JSON: make it a .jsonl file'),
        ('a.ndjson', 'is JSON: make it a .jsonl file'),
    ],
)
def test_what_is_no_text_by_its_ending_is_named_at_once(tmp_path, name, message):
    (tmp_path / name).write_bytes(b'abc')
    for source in (tmp_path / name, tmp_path / '*'):
        with pytest.raises(ValueError, match=re.escape(f'{name} {message}')):
            documents.read_documents([source])


@pytest.mark.skipif(not os.path.exists('/dev/zero'), reason='needs a file without an end')
@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl'])
def test_a_file_without_an_end_is_refused_at_its_beginning(tmp_path, name):
    os.symlink('/dev/zero', tmp_path / name)
    with pytest.raises(ValueError, match=r'byte 0 is NUL'):
        texts_in([tmp_path / name])


# Separators


def separated(sources, separator):
    found = documents.read_documents(sources, documents.Separator(separator))
    return [''.join(documents.pieces(d)) for d in found]


@pytest.mark.parametrize(
    'text, separator, expected',
    [
        ('a<|endoftext|>b', END_OF_TEXT, ['a', 'b']),
        ('a\n<|endoftext|>\nb\n<|endoftext|>\n', END_OF_TEXT, ['a\n', 'b\n']),
        ('a\r\n<|endoftext|>\r\nb', END_OF_TEXT, ['a\r\n', 'b']),
        ('<|endoftext|>a<|endoftext|><|endoftext|>\n\n\rb', END_OF_TEXT, ['a', '\n\rb']),
        ('a<|endoftext|>\rb <|endoftext|> ', END_OF_TEXT, ['a', '\rb ', ' ']),
        ('a\n\n\nb\n\nc', '\n\n', ['a', '\nb', 'c']),
        ('a\n---\n\nb', '\n---\n', ['a', '\nb']),
        ('aéxx.xé', 'é', ['a', 'xx.x']),
        ('a.*b.*', '.*', ['a', 'b']),
    ],
)
@pytest.mark.parametrize('kind', ['file', 'lines', 'pipe'])
@pytest.mark.parametrize('block_bytes', [1, 3, 2**18])
def test_a_separator_splits_a_text(
    tmp_path, monkeypatch, text, separator, expected, kind, block_bytes
):
    monkeypatch.setattr(documents, 'BLOCK_BYTES', block_bytes)
    source = tmp_path / 'a.txt'
    source.write_bytes(text.encode('utf-8'))
    if kind == 'lines':
        source = write_lines(tmp_path / 'a.jsonl', [text])
    elif kind == 'pipe':
        source = '-'
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(text.encode('utf-8'))))
    assert separated([source], separator) == expected


@property_test
@given(st.text('ab\n', max_size=30), st.text('ab\n', min_size=1, max_size=3), st.integers(1, 9))
def test_where_blocks_end_does_not_matter_to_a_separator(text, separator, size):
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    found = list(documents.Separator(separator).split(blocks))
    first, *others = text.split(separator)
    if not separator.endswith('\n'):
        others = [other.removeprefix('\n') for other in others]
    assert found == [first, *others]


def test_a_separator_that_is_nowhere_is_an_error(library):
    with pytest.raises(ValueError, match=r"the separator '\*\*\*' is nowhere in .*a/a\.txt, "):
        separated([library], '***')
    assert separated([library], 'z.')[:4] == ['[x].txt', 'a/a.txt', 'm1', 'm2']
    with pytest.raises(ValueError, match='an empty separator'):
        documents.Separator('')


def test_of_a_separated_text_a_document_is_held(tmp_path):
    document = 'The quick brown fox. ' * 2**12
    (tmp_path / 'a.txt').write_text('***'.join([document] * 200), encoding='utf-8')
    separator = documents.Separator('***')

    def read():
        deque(documents.read_documents([tmp_path], separator), maxlen=0)

    assert peak_memory(read) < 12 * documents.BLOCK_BYTES < 200 * len(document) / 5
    assert separator.found == 199


TEXT = st.text(st.sampled_from(" \n\r\t\xa0\u3000abé日🤖'.1\ufeff"), min_size=1, max_size=60)


@property_test
@given(TEXT, st.integers(1, 12), st.booleans())
def test_a_file_read_in_pieces_has_the_ids_of_its_whole_text(text, block_bytes, marked):
    """Also where a block ends inside a character, a run of whitespace or the byte-order mark."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, 'BLOCK_BYTES', block_bytes)
        path = os.path.join(folder, 'a.txt')
        with open(path, 'wb') as file:
            file.write(b'\xef\xbb\xbf' * marked + text.encode('utf-8'))
        if not marked:
            text = text.removeprefix('\ufeff')
        for _ in range(2):  # as often as one likes
            found = list(documents.pieces(documents.TextFile(path)))
            assert ''.join(found) == text
            assert [i for piece in found for i in DEMO.encode(piece)] == DEMO.encode(text)


def test_pieces_end_soon_behind_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, 'BLOCK_BYTES', 100)
    (tmp_path / 'a.txt').write_bytes(b'Some words\nin lines. ' * 100 + b'x' * 500)
    *found, last = map(len, documents.TextFile(tmp_path / 'a.txt'))
    assert max(found) < 120 and len(found) == 21 and last >= 500


@property_test
@given(TEXT, st.integers(0, 60), st.integers(0, 60), st.integers(1, 12))
def test_a_part_is_what_stands_between_two_places(text, start, stop, block_bytes):
    start, stop = sorted([start, stop])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, 'BLOCK_BYTES', block_bytes)
        path = os.path.join(folder, 'a.txt')
        with open(path, 'wb') as file:
            file.write(('a' + text).encode('utf-8'))
        for document in ('a' + text, documents.TextFile(path)):
            part = documents.Part(document, start, stop)
            assert ''.join(documents.pieces(part)) == ('a' + text)[start:stop]


def test_a_byte_that_is_not_utf8_is_named_behind_many_blocks(tmp_path):
    size = 3 * documents.BLOCK_BYTES + 17
    (tmp_path / 'a.txt').write_bytes(b'ab ' * size + b'\xff')
    with pytest.raises(ValueError, match=rf'a\.txt: byte {3 * size} is not UTF-8'):
        texts_in([tmp_path / 'a.txt'])


def test_a_pipe_is_read_once(tmp_path):
    """It cannot be read again, as a file can that is one document."""
    ours, theirs = os.pipe()
    os.write(theirs, b'from a pipe')
    os.close(theirs)
    source = f'/dev/fd/{ours}'
    if not os.path.exists(source):
        pytest.skip('pipes have no names here')
    (document,) = documents.read_documents([source])
    os.close(ours)
    assert document == 'from a pipe'


def test_one_line_of_a_file_is_held_at_a_time(tmp_path):
    size = 2**21
    write_lines(tmp_path / 'a.jsonl', ['a' * size] * 4)
    found = documents.read_documents([tmp_path])
    # While it is decoded, a line is there as bytes and as str, and so is the text in it.
    assert peak_memory(lambda: deque(found, maxlen=0)) < 4.5 * size


def test_of_a_text_file_a_piece_is_held(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'The quick brown fox. ' * 2**19)

    def read():
        for document in documents.read_documents([tmp_path]):
            deque(documents.pieces(document), maxlen=0)

    assert peak_memory(read) < 6 * documents.BLOCK_BYTES
