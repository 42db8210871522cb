import json

import pytest

from detection.dataset_file import Splits
from detection.records import read_records

SIZES = 3, 2, 1
SAMPLES = [(f'text {n}\n"日本"', [n, n + 1], n % 2 == 0) for n in range(6)]


def made_by(number, **changes):
    return {'model': 'demo', 'weights': '1a', 'seed': 7, 'top_p': 0.8 + number / 100} | changes


def open_splits(folder, sizes=SIZES, tokens=False, **changes):
    made = (lambda number: made_by(number, **changes)) if changes else made_by
    return Splits(f'{folder}/demo-nucleus', sizes, made, tokens)


def write_all(folder, **options):
    with open_splits(folder, **options) as splits:
        for number in splits.missing():
            splits.write(number, *SAMPLES[number])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_ids_run_through_the_splits_and_records_are_openai_s_with_more(tmp_path):
    assert list(write_all(tmp_path)) and sorted(p.name for p in tmp_path.iterdir()) == [
        'demo-nucleus.test.jsonl',
        'demo-nucleus.train.jsonl',
        'demo-nucleus.valid.jsonl',
    ]
    files = [tmp_path / f'demo-nucleus.{split}.jsonl' for split in ('train', 'valid', 'test')]
    records = [json.loads(line) for f in files for line in f.read_text('utf-8').split('\n')[:-1]]
    assert records == [
        {'id': n, 'ended': ended, 'length': 2, 'text': text, **made_by(n)}
        for n, (text, _, ended) in enumerate(SAMPLES)
    ]
    assert list(records[0])[:4] == ['id', 'ended', 'length', 'text']
    assert [record.id for record in read_records(str(files[1]))] == [3, 4]


def test_tokens_are_written_if_asked_for(tmp_path):
    write_all(tmp_path, tokens=True)
    (record,) = read_records(str(tmp_path / 'demo-nucleus.test.jsonl'))
    assert record.more['tokens'] == [5, 6]


@pytest.mark.parametrize('lost', [b'', b'\0' * 5000], ids=['', 'NULs'])
def test_files_cut_off_anywhere_are_continued_to_the_same_bytes(tmp_path, lost):
    whole = write_all(tmp_path)
    for name, content in whole.items():
        for size in {*range(0, len(content), 7), *range(len(content) - 30, len(content) + 1)}:
            (tmp_path / name).write_bytes(content[:size] + lost)
            with open_splits(tmp_path) as splits:
                assert len(splits.missing()) == (content[size:]).count(b'\n')
            assert write_all(tmp_path) == whole


def test_a_split_without_samples_has_no_file(tmp_path):
    assert list(write_all(tmp_path, sizes=(0, 2, 0))) == ['demo-nucleus.valid.jsonl']


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'seed': 8}, 'seed 7, not 8'),
        ({'shards': 2}, 'shards 1, not 2'),
        ({'weights': '1b'}, "weights '1a', not '1b'"),
        ({'top_p': 0.8}, 'top_p 0.81, not 0.8'),
        ({'sizes': (2, 3, 1)}, 'holds more than 2 records'),
        ({'sizes': (4, 2, 1)}, 'valid.jsonl has a record with id 3, not 4'),
        ({'tokens': True}, 'has records with no tokens'),
    ],
)
def test_files_made_otherwise_are_not_continued(tmp_path, changes, message):
    before = write_all(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_splits(tmp_path, **changes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_records_that_name_no_shards_are_of_one(tmp_path):
    write_all(tmp_path)
    with open_splits(tmp_path, shards=1) as splits:
        assert splits.missing() == []


def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path):
    path = tmp_path / 'demo-nucleus.valid.jsonl'
    for content in (b'my thesis\n', b'{"id": "mine"}', b'{"id": 3, "ended": true}\n'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='valid.jsonl line 1 is no record'):
            open_splits(tmp_path)
        assert path.read_bytes() == content


def test_one_process_writes_at_a_time(tmp_path):
    with open_splits(tmp_path):
        with pytest.raises(ValueError, match='another process is writing'):
            open_splits(tmp_path)
    open_splits(tmp_path).close()
