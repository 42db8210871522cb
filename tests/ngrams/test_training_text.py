import json
import os

import numpy as np
import pytest

from helpers.texts import byte_encoder, write_lines
from ngrams import training_text
from ngrams.exact_set import ExactSet
from ngrams.training_text import TrainingText, begin, memory_of, read_all
from support.documents import Separator

ENCODER = byte_encoder()


def nothing(n_bytes):
    pass


@pytest.fixture
def files(tmp_path):
    """Three texts of 100 8-grams each."""
    paths = []
    for number in range(3):
        random = np.random.default_rng(number)
        text = ''.join(random.choice(list('abcdefgh'), 107))
        paths.append(str(tmp_path / f'{number}.txt'))
        (tmp_path / f'{number}.txt').write_text(text, 'utf-8')
    return paths


def filter_of(files, path=None, **settings):
    """The TrainingText of files after a whole run."""
    text, to_read = begin(files, 'v', path, **settings)
    read_all(text, to_read, None, ENCODER, path, nothing)
    return text


def words_of(path):
    return TrainingText.load(path, 'v').ngrams.words


def test_all_files_are_read(files):
    text, exact = filter_of(files), filter_of(files, exact=True)
    assert text.ngrams.added == exact.ngrams.added == 300
    assert text.ngrams.capacity == 3 * 107 // 4
    assert exact.ngrams.distinct() == 300 and isinstance(exact.ngrams, ExactSet)
    windows = np.array([list(key) for key in exact.ngrams.ngrams], np.uint8)
    assert text.ngrams.contains(windows.view(np.uint16)).all()


def test_a_saved_filter_goes_on_with_what_it_lacks(files, tmp_path, monkeypatch):
    path, whole = str(tmp_path / 'a.filter'), str(tmp_path / 'whole.filter')
    filter_of(files, whole, capacity=1000)
    filter_of(files[:2], path, capacity=1000)
    read = []
    monkeypatch.setattr(TrainingText, 'read', recording(TrainingText.read, read))
    text = filter_of(files, path)
    assert read == files[2:]
    assert np.array_equal(words_of(path), words_of(whole)) and text.ngrams.added == 300
    before = os.stat(path)
    filter_of(files, path)
    assert read == files[2:] and os.stat(path) == before  # nothing is new, nothing is written


def recording(method, read):
    def recorded(self, path, *rest):
        read.append(path)
        return method(self, path, *rest)

    return recorded


def test_an_interrupted_run_goes_on_after_the_last_saved_file(files, tmp_path, monkeypatch):
    path, whole = str(tmp_path / 'a.filter'), str(tmp_path / 'whole.filter')
    filter_of(files, whole, capacity=1000)
    monkeypatch.setattr(training_text, 'SAVE_SECONDS', -1)
    monkeypatch.setattr(training_text, 'SAVING_SHARE', 0)
    monkeypatch.setattr(TrainingText, 'read', stopping(TrainingText.read, files[2]))
    with pytest.raises(KeyboardInterrupt):
        filter_of(files, path, capacity=1000)
    monkeypatch.undo()
    text, to_read = begin(files, 'v', path)
    assert [os.path.basename(name) for name in text.files] == ['0.txt', '1.txt']
    assert text.n_saved == 2
    done = []
    read_all(text, to_read, None, ENCODER, path, done.append)
    assert np.array_equal(words_of(path), words_of(whole))
    assert sum(done) == 3 * 107


def stopping(method, file):
    def stopped(self, path, *rest):
        if path == file:
            raise KeyboardInterrupt
        return method(self, path, *rest)

    return stopped


def test_it_is_not_saved_after_each_small_file(files, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(TrainingText, 'save', lambda self, path: saved.append(path))
    filter_of(files, str(tmp_path / 'a.filter'))
    assert len(saved) == 1


def test_filters_are_merged_and_texts_added(files, tmp_path):
    parts = [str(tmp_path / f'{n}.filter') for n in range(2)]
    for part, file in zip(parts, files, strict=False):
        filter_of([file], part, capacity=1000)
    whole = filter_of(files, capacity=1000)
    path = str(tmp_path / 'all.filter')
    text = filter_of([*parts, files[2]], path)
    assert np.array_equal(text.ngrams.words, whole.ngrams.words)
    assert text.files == whole.files and text.ngrams.added == 300
    assert np.array_equal(words_of(path), whole.ngrams.words)


def test_a_merge_of_filters_alone_is_saved(files, tmp_path):
    parts = [str(tmp_path / f'{n}.filter') for n in range(2)]
    for part, file in zip(parts, files, strict=False):
        filter_of([file], part, capacity=1000)
    filter_of([parts[1]], parts[0])
    assert np.array_equal(words_of(parts[0]), filter_of(files[:2], capacity=1000).ngrams.words)


@pytest.mark.parametrize('change', ['text', 'separator'])
def test_a_file_that_has_changed_is_refused(files, tmp_path, change):
    path = str(tmp_path / 'a.filter')
    filter_of(files, path)
    separator = None
    if change == 'text':
        with open(files[1], 'a') as file:
            file.write('!')
    else:
        separator = Separator('|')
    text, to_read = begin(files, 'v', path)
    with pytest.raises(ValueError, match='txt was read into the filter before, and is another'):
        read_all(text, to_read, separator, ENCODER, path, nothing)


def test_another_vocabulary_is_refused(files, tmp_path):
    path = str(tmp_path / 'a.filter')
    filter_of(files, path)
    with pytest.raises(ValueError, match='a.filter was made with another vocabulary'):
        begin(files, 'w', path)
    with pytest.raises(ValueError, match='a.filter was made with another vocabulary'):
        begin([path], 'w')


def test_another_capacity_is_refused(files, tmp_path):
    path = str(tmp_path / 'a.filter')
    filter_of(files, path, capacity=1000)
    with pytest.raises(ValueError, match='a.filter was made with --capacity 1000, not 999'):
        begin(files, 'v', path, capacity=999)


def test_a_filter_of_unknown_origin_is_refused(files, tmp_path):
    path = str(tmp_path / 'a.filter')
    text = filter_of(files)
    for origin in ({}, {'files': 3}, [], {'files': [{}], 'length': 8, 'vocabulary': 'v'}):
        training_text.save(path, text.ngrams, origin)
        with pytest.raises(ValueError, match='a.filter does not say what it was made of'):
            begin([path], 'v')


def test_something_else_in_its_place_is_refused(files):
    with pytest.raises(ValueError, match='2.txt is no filter that overlap.py has saved'):
        begin(files[:1], 'v', files[2])


@pytest.mark.parametrize('settings', [{'path': 'x'}, {'capacity': 9}])
def test_an_exact_set_takes_no_filter_and_no_capacity(files, settings):
    with pytest.raises(ValueError, match='--exact takes no filter and no --capacity'):
        begin(files, 'v', exact=True, **settings)


@pytest.mark.parametrize('name', ['-', os.devnull])
def test_text_of_unknown_size_needs_a_capacity(name):
    with pytest.raises(ValueError, match='is not known: give --capacity'):
        begin([name], 'v')
    assert begin([name], 'v', capacity=10)[0].ngrams.capacity == 10


def test_a_separator_that_is_nowhere_is_refused(files, tmp_path):
    text, to_read = begin(files, 'v')
    with pytest.raises(ValueError, match=r"the separator '\|' is nowhere in .*0.txt, .*2.txt"):
        read_all(text, to_read, Separator('|'), ENCODER, None, nothing)


def test_too_many_8_grams_for_a_filter_are_not_saved(tmp_path, monkeypatch):
    letters = np.random.default_rng(0).choice(list('abcdefghijklmnop'), 300_000)
    (tmp_path / 'a.txt').write_text(''.join(letters), 'utf-8')
    path = str(tmp_path / 'a.filter')
    with pytest.raises(ValueError, match=r'more than 75,000 different .* --capacity 150000'):
        filter_of([str(tmp_path / 'a.txt')], path)
    assert not os.path.exists(path)


def test_the_bound_is_checked_at_the_end_as_well(tmp_path):
    """The first file is just too long, the second ends before the next check of `add`."""
    random = np.random.default_rng(0)
    for name, size in (('a.txt', 100_010), ('b.txt', 6_000)):
        letters = random.choice(list('abcdefghijklmnop'), size)
        (tmp_path / name).write_text(''.join(letters), 'utf-8')
    text, to_read = begin([str(tmp_path / 'a.txt'), str(tmp_path / 'b.txt')], 'v', capacity=100_000)
    with pytest.raises(ValueError, match='more than 100,000 different'):
        read_all(text, to_read, None, ENCODER, None, nothing)
    assert text.ngrams.added == 100_010 + 6_000 - 14


def test_the_end_token_that_is_spelled_is_noted(tmp_path, capsys):
    path = write_lines(tmp_path / 'a.jsonl', ['a <|endoftext|> b'] * 3)
    filter_of([str(path)])
    assert '<|endoftext|> is in the text 3 times' in capsys.readouterr().err


def test_memory_is_said(files):
    assert memory_of(begin(files, 'v', capacity=10**6)[0]) == (
        'filter: room for 1,000,000 different 8-grams in 5.4 MB of memory; '
        'of others at most 1 in 100,000,000 is taken for one of them'
    )
    assert 'exact set: about 100 bytes' in memory_of(begin(files, 'v', exact=True)[0])


@pytest.mark.skipif(os.name == 'nt', reason='has no such pipes')
def test_a_pipe_is_read_again_each_time(tmp_path):
    pipe = str(tmp_path / 'pipe')
    os.mkfifo(pipe)
    text, _ = begin([pipe], 'v', capacity=100)
    assert not text.has(pipe, None)
    text.files[pipe] = training_text.entry_of(pipe, None)
    json.dumps(text.files)
    assert not text.has(pipe, None)
