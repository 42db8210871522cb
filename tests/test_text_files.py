import io
import json
import os
import pathlib
import sys
from collections import deque

import pytest
from conftest import peak_memory, write_lines
from hypothesis import settings

import text_files

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
    assert list(text_files.read_documents(sources)) == documents


def test_standard_input_is_one_document(monkeypatch, tmp_path):
    (tmp_path / 'a.txt').write_text('first', encoding='utf-8')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO('a\r\né'.encode()), 'ascii'))
    assert list(text_files.read_documents([tmp_path / 'a.txt', '-'])) == ['first', 'a\r\né']


@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl'])
def test_a_byte_order_mark_is_dropped_and_line_ends_stay(tmp_path, name):
    text = 'one\r\ntwo\n\rthree\x85\u2028 \ufeff'
    data = text if name == 'a.txt' else json.dumps({'text': text}, ensure_ascii=False)
    (tmp_path / name).write_bytes(b'\xef\xbb\xbf' + data.encode('utf-8'))
    assert list(text_files.read_documents([tmp_path / name])) == [text]


def test_a_line_of_a_jsonl_file_is_a_document(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes(
        b'{"id": 1, "text": "one\\ntwo"}\r\n\n  \n{"text": ""}\n{"text": "\xc3\xa9 \\ud83e\\udd16"}'
    )
    assert list(text_files.read_documents([tmp_path / 'a.jsonl'])) == ['one\ntwo', 'é 🤖']


def test_empty_documents_are_skipped_and_nothing_else_is_an_error(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'')
    (tmp_path / 'b.txt').write_bytes(b'\xef\xbb\xbf')
    write_lines(tmp_path / 'c.jsonl', ['', ''])
    with pytest.raises(ValueError, match=r'there is no text in .*a\.txt, .*b\.txt, .*c\.jsonl'):
        list(text_files.read_documents([tmp_path]))
    with pytest.raises(ValueError, match='there is no text in nothing'):
        list(text_files.read_documents([]))
    (tmp_path / 'd.txt').write_bytes(b'\n')
    assert list(text_files.read_documents([tmp_path])) == ['\n']


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
        text_files.read_documents([source])


@pytest.mark.parametrize(
    'name, data, message',
    [
        ('a.txt', b'abc\xff', r'a\.txt: byte 3 is not UTF-8'),
        ('a.txt', b'\xef\xbb\xbfab\xc3', r'a\.txt: byte 5 is not UTF-8'),
        ('a.txt', 'abc'.encode('utf-16'), r'a\.txt: byte 0 is not UTF-8'),
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
        list(text_files.read_documents([tmp_path / name]))
    assert '\n' not in str(caught.value)


def test_a_folder_that_may_not_be_read_is_an_error(library, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if pathlib.Path(path).name == 'a':
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(PermissionError):
        text_files.find_files([library])


def test_one_document_is_held_at_a_time(tmp_path):
    size = 2**21
    for number in range(4):
        (tmp_path / f'{number}.txt').write_bytes(b'a' * size)
    documents = text_files.read_documents([tmp_path])
    # While it is decoded, a document is there as bytes and as str.
    assert peak_memory(lambda: deque(documents, maxlen=0)) < 2.5 * size
