import json

import pytest

from detection.records import Record, path_of, read_records, texts_of

# As OpenAI's files have them: an empty text, one cut at the context, one that ended by itself.
LINES = [
    '{"id": 255000, "ended": true, "length": 0, "text": ""}',
    '{"id": 255001, "ended": false, "length": 1024, "text": "A caf\\u00e9\\u2028in\\nParis"}',
    '{"id": 255002, "ended": true, "length": 3, "text": "Yes.", "p": 0.91}',
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'small-117M-nucleus.test.jsonl'
    path.write_text('\n'.join(LINES) + '\n', encoding='utf-8')
    return str(path)


def test_records_of_the_published_format(file):
    assert list(read_records(file)) == [
        Record(255000, True, 0, '', {}),
        Record(255001, False, 1024, 'A café\u2028in\nParis', {}),
        Record(255002, True, 3, 'Yes.', {'p': 0.91}),
    ]


def test_the_file_of_a_split(tmp_path, file):
    assert path_of(tmp_path / 'small-117M-nucleus', 'test') == file


def test_other_shapes_have_ids_by_their_place(tmp_path):
    lines = [{'text': 'a', 'url': 'b'}, {'text': 'c', 'length': 1}]
    other = tmp_path / 'other.jsonl'
    other.write_text('\n\n'.join(map(json.dumps, lines)))
    text = tmp_path / 'one.txt'
    text.write_text('one\ntext')
    assert list(read_records(str(other))) == [
        Record(0, None, None, 'a', {'url': 'b'}),
        Record(1, None, 1, 'c', {}),
    ]
    assert list(read_records(str(text))) == [Record(0, None, None, 'one\ntext', {})]


def test_texts_of_a_folder_without_the_empty_ones(tmp_path, file):
    (tmp_path / 'a.txt').write_text('first')
    (tmp_path / 'b.txt').write_text('')
    assert texts_of([tmp_path]) == ['first', 'A café\u2028in\nParis', 'Yes.']


def test_a_record_knows_its_document():
    assert Record(5, True, 1, 'a', {}).document == 5
    assert Record(5, True, 1, 'a', {'document': 'Lincoln.txt'}).document == 'Lincoln.txt'


@pytest.mark.parametrize('line', ['{"id": 1}', '{"text": 5}', '[]', 'x', '{"text": "\\ud800"}'])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / 'x.jsonl'
    path.write_text('{"text": "a"}\n' + line)
    with pytest.raises(ValueError, match='x.jsonl line 2'):
        list(read_records(str(path)))
