import collections
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.human_text import Document, Documents, Records, deal, end_of_window, windows, write
from encoder import get_encoder
from helpers.paths import ROOT, TESTDATA
from helpers.texts import byte_encoder, write_lines

BYTES = byte_encoder()
MOBY_DICK = (TESTDATA / 'moby_dick_chapters_1_to_19.txt').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def demo_encoder():
    return get_encoder('demo', str(ROOT / 'models'))


def documents(n):
    return [Document(number, 'a.txt', f'text {number}') for number in range(n)]


# Dealing


def dealt(n, sizes, held_out=None):
    found = collections.defaultdict(list)
    for split, document in deal(documents(n), sizes, held_out):
        found[split].append(document.number)
    return found


@pytest.mark.parametrize('n, sizes', [(10, (0, 3, 7)), (2600, (2500, 50, 50)), (30, (1, 1, 1))])
def test_documents_are_dealt_in_proportion_each_once_and_evenly(n, sizes):
    found = dealt(n, sizes)
    assert sorted(sum(found.values(), [])) == list(range(n))
    for split, size in zip(('train', 'valid', 'test'), sizes, strict=True):
        numbers = found[split]
        assert len(numbers) == pytest.approx(n * size / sum(sizes), abs=1.5)
        if size:  # none of them has but the first or the last ones
            assert np.diff([-1, *numbers, n]).max() < 4 * sum(sizes) / size


def test_only_what_the_model_has_not_seen_is_for_validation_and_test():
    unseen = {1, 8, 9, 15, 22, 40, 41, 42, 60, 77}
    found = dealt(80, (9000, 3, 7), unseen.__contains__)
    assert set(found['valid']) | set(found['test']) == unseen
    assert (len(found['valid']), len(found['test'])) == (3, 7)
    assert set(found['train']) == set(range(80)) - unseen


# Windows


@given(st.text(max_size=60), st.integers(1, 12))
def test_windows_are_the_text(text, length):
    found = list(windows(text, BYTES, length))
    assert ''.join(piece for piece, _, _ in found) == text
    assert [ended for _, _, ended in found] == [False] * (len(found) - 1) + [True] * bool(found)
    for piece, tokens, _ in found:
        assert tokens == BYTES.encode(piece)
        assert 0 < len(tokens) <= max(length, 4)  # a character has up to four bytes


@pytest.mark.parametrize('length', [64, 250])
def test_windows_end_before_a_word_and_keep_their_tokens(demo_encoder, length):
    found = list(windows(MOBY_DICK, demo_encoder, length))
    assert ''.join(piece for piece, _, _ in found) == MOBY_DICK
    for piece, tokens, _ in found:
        assert demo_encoder.encode(piece) == tokens and len(tokens) <= length
    assert np.mean([len(tokens) for _, tokens, _ in found]) > length - 3
    starts = [piece[0] for piece, _, _ in found[1:]]
    assert set(starts) == {' '}


class Endless:
    """The parts of a text that is too long to look at all of it."""

    def __len__(self):
        return sys.maxsize

    def __getitem__(self, n):
        return b' word'


def test_the_time_of_a_window_does_not_depend_on_what_follows_it():
    assert end_of_window(Endless(), 1000, 250) == 1250


def test_the_first_window_is_the_document_as_far_as_a_model_could_write(demo_encoder):
    ((piece, tokens, ended),) = windows(MOBY_DICK, demo_encoder, 256, only_first=True)
    assert MOBY_DICK.startswith(piece) and not ended and 250 < len(tokens) <= 256
    assert list(windows('Call me.', demo_encoder, 256, only_first=True))[0][2]
    assert list(windows(MOBY_DICK, demo_encoder, None))[0][0] == MOBY_DICK


# Files


@pytest.fixture
def folder(tmp_path):
    """Nine documents of 25 bytes in two files; number 4 has the text of number 1."""
    texts = [f'document {n} is of 25 bytes' for n in range(9)]
    texts[4] = texts[1]
    (tmp_path / 'text').mkdir()
    write_lines(tmp_path / 'text' / 'a.jsonl', [*texts[:3], '', *texts[3:8]])
    (tmp_path / 'text' / 'b.txt').write_text(texts[8])
    return tmp_path


def records_of(folder, sizes=(1, 1, 1), length=10, only_first=False, held_out=None):
    texts = Documents([folder / 'text'])
    return Records(texts, BYTES, sizes, length, only_first, held_out)


def lines_of(folder, split):
    text = (folder / f'out/moby.{split}.jsonl').read_text(encoding='utf-8')
    return [json.loads(line) for line in text.split('\n')[:-1]]


def test_ids_run_through_the_splits_and_no_document_is_in_two(folder):
    records = records_of(folder)
    counts = write(f'{folder}/out/moby', records)
    splits = [lines_of(folder, split) for split in ('train', 'valid', 'test')]
    every = sum(splits, [])
    assert [record['id'] for record in every] == list(range(len(every)))
    owners = [{record['document'] for record in split} for split in splits]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 8 and 4 not in set.union(*owners)
    assert records.documents.repeated == 1
    assert counts == {
        split: (len(owner), len(lines))
        for split, owner, lines in zip(('train', 'valid', 'test'), owners, splits, strict=True)
    }
    by_document = collections.defaultdict(str)
    for record in every:
        by_document[record['document']] += record['text']
        assert record['length'] == len(record['text']) <= 10
        assert record['file'] == ('b.txt' if record['document'] == 8 else 'a.jsonl')
    texts = {text.text for text in records.documents}
    for document in by_document.values():  # what is left of 25 bytes may be too short
        assert any(text.startswith(document) and len(document) > 18 for text in texts)


def test_of_a_document_the_first_window_alone(folder):
    write(f'{folder}/out/moby', records_of(folder, length=100, only_first=True))
    every = sum((lines_of(folder, split) for split in ('train', 'valid', 'test')), [])
    assert len(every) == 8
    assert all(r['ended'] and r['text'].endswith('bytes') and r['window'] == 0 for r in every)


def test_a_document_counts_as_train_py_counts_it(folder):
    """Empty ones do not, those that were there before do."""
    assert [d.number for d in Documents([folder / 'text'])] == [0, 1, 2, 3, 5, 6, 7, 8]


def test_nothing_is_replaced_and_nothing_appears_by_half(folder):
    (folder / 'out').mkdir()
    (folder / 'out' / 'moby.valid.jsonl').write_text('mine')
    with pytest.raises(ValueError, match='moby.valid.jsonl is there already'):
        write(f'{folder}/out/moby', records_of(folder))
    assert [path.name for path in (folder / 'out').iterdir()] == ['moby.valid.jsonl']
    with pytest.raises(ValueError, match='no document is for test'):
        write(f'{folder}/out/other', records_of(folder, (9, 1, 1), held_out=lambda n: n == 0))
    assert [path.name for path in (folder / 'out').iterdir()] == ['moby.valid.jsonl']


def test_standard_input_cannot_be_read_again():
    with pytest.raises(ValueError, match='not standard input'):
        Documents(['-'])
