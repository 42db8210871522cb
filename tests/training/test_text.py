import json
import os
import shutil

import numpy as np
import pytest

import encode_corpus
from support import documents
from training import corpus, windows
from training.origin import find_origin, write_json
from training.text import Text, remove_corpus


@pytest.fixture
def models(byte_models, tmp_path):
    """A models folder of the test's own, with the model `bytes`."""
    shutil.copytree(byte_models / 'bytes', tmp_path / 'bytes')
    return tmp_path


@pytest.fixture
def text(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_bytes(b'A page of text. ' * 20)
    return path


@pytest.fixture
def origin(models):
    return find_origin('run', str(models), start='bytes')


def opened(data, origin, validation=0.25, validation_data=None, seed=0):
    """The text that is trained on and the one held out, decoded."""
    text = Text(list(map(str, data)), validation, validation_data, seed)
    if not origin.step:
        text.check()
    *found, bytes_per_token = text.tokens(origin)
    texts = [None if tokens is None else origin.encoder.decode(tokens.tolist()) for tokens in found]
    if texts[1] is None:
        assert bytes_per_token is None
    else:
        text = texts[1].replace('<|endoftext|>', '')
        assert bytes_per_token == pytest.approx(len(text.encode('utf-8')) / len(found[1]))
    return texts


def test_a_text_that_is_not_there_is_refused_before_anything_is_made(origin, models):
    with pytest.raises(ValueError, match='there is no file or folder .*nowhere.txt'):
        Text([str(models / 'nowhere.txt')]).check()
    assert not os.path.exists(origin.folder)


@pytest.mark.parametrize('with_validation', [False, True])
def test_each_source_is_looked_up_once(origin, text, monkeypatch, with_validation):
    looked_up = []

    def find(names):
        looked_up.extend(names)
        return documents.find_files(names)

    monkeypatch.setattr(corpus, 'find_files', find)
    other = text.parent / 'other.txt'
    other.write_text('Another text.', encoding='utf-8')
    named = [str(text), *([str(other)] if with_validation else [])]
    opened([text], origin, validation_data=str(other) if with_validation else None)
    assert looked_up == named


def test_text_is_encoded_into_the_folder_of_the_run_and_split(origin, text):
    train, held_out = opened([text], origin)
    whole = train.removesuffix('<|endoftext|>') + held_out.removesuffix('<|endoftext|>')
    assert whole == text.read_text(encoding='utf-8')
    assert 0.15 < len(held_out) / len(whole) < 0.35
    assert sorted(os.listdir(os.path.join(origin.folder, 'corpus'))) == [
        'corpus.json',
        'train.npy',
        'validation.npy',
    ]


def test_nothing_or_another_text_may_be_held_out(origin, models, text):
    train, held_out = opened([text], origin, validation=0)
    assert (train, held_out) == (text.read_text(encoding='utf-8') + '<|endoftext|>', None)
    other = models / 'other.jsonl'
    other.write_text('{"text": "One."}\n{"text": "Two."}\n', encoding='utf-8')
    train, held_out = opened([text], origin, validation_data=str(other))
    assert train == text.read_text(encoding='utf-8') + '<|endoftext|>'
    assert held_out == 'One.<|endoftext|>Two.<|endoftext|>'


def test_a_text_that_was_corrected_after_a_failed_start_is_read_anew(origin, text):
    opened([text], origin)
    text.write_text('Another text.', encoding='utf-8')
    leftover = text.parent / 'run' / 'corpus' / 'unfinished-0'
    leftover.mkdir()
    assert opened([text], origin, validation=0) == ['Another text.<|endoftext|>', None]
    assert not leftover.exists()


def test_a_run_goes_on_with_the_text_it_began_with(origin, text):
    before = opened([text], origin)
    text.unlink()
    origin.step = 5
    assert opened([text], origin) == before


def test_a_corpus_that_is_removed_spares_the_files_of_others(tmp_path):
    for name in ('mine.txt', 'train.npy', 'corpus.json'):
        (tmp_path / name).write_text('text', encoding='utf-8')
    remove_corpus(str(tmp_path))
    remove_corpus(str(tmp_path / 'nowhere'))
    assert os.listdir(tmp_path) == ['mine.txt']


@pytest.fixture
def encoded(models, text):
    folder = str(models / 'encoded')
    encode_corpus.encode_corpus(folder, str(text), model_name='bytes', models_dir=str(models))
    return folder


def test_a_folder_from_encode_corpus_is_read_in_place(origin, encoded, text):
    train, held_out = opened([encoded], origin)
    whole = train.removesuffix('<|endoftext|>') + held_out.removesuffix('<|endoftext|>')
    assert whole == text.read_text(encoding='utf-8')
    assert not os.path.exists(origin.folder)


def test_tokens_of_another_vocabulary_are_refused(origin, encoded):
    path = os.path.join(encoded, 'corpus.json')
    with open(path, encoding='utf-8') as file:
        description = json.load(file)
    write_json(path, description | {'vocabulary_sha256': '0' * 64})
    with pytest.raises(ValueError, match="the tokens in .*encoded are not of this model's vocab"):
        opened([encoded], origin)


@pytest.mark.parametrize(
    'damage',
    [
        lambda d: ['not', 'a', 'description'],
        lambda d: {k: v for k, v in d.items() if k != 'vocabulary_sha256'},
        lambda d: d | {'validation': True},
        lambda d: d | {'validation': {'tokens': 3}},
        lambda d: d | {'validation': {'bytes': 'many'}},
        lambda d: d | {'validation': {'bytes': float('nan')}},
        lambda d: d | {'validation': {'bytes': 0}},
        None,
    ],
)
def test_a_damaged_description_is_refused(origin, encoded, damage):
    path = os.path.join(encoded, 'corpus.json')
    with open(path, encoding='utf-8') as file:
        description = json.load(file)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(json.dumps(damage(description)) if damage else '[' * 200_000)
    with pytest.raises(ValueError, match='cannot read .*corpus.json: .'):
        opened([encoded], origin)


def test_tokens_that_were_cut_off_are_refused(origin, encoded):
    path = os.path.join(encoded, 'train.npy')
    os.truncate(path, os.path.getsize(path) - 10)
    with pytest.raises(ValueError, match='cannot read tokens from .*train.npy'):
        opened([encoded], origin)


def test_what_was_split_as_it_was_encoded_is_not_split_again(origin, encoded, text):
    with pytest.raises(ValueError, match='was split as it was encoded: leave --validation_data'):
        opened([encoded], origin, validation_data=str(text))


def test_nor_can_a_separator_split_it(origin, encoded):
    with pytest.raises(ValueError, match='was split as it was encoded: leave --separator out'):
        Text([encoded], separator='***').check()


def test_a_separator_splits_text_sources(origin, text):
    text.write_text('One.***Two.***\nThree.', encoding='utf-8')
    separated = Text([str(text)], validation=0, separator='***')
    train, *_ = separated.tokens(origin)
    assert origin.encoder.decode(train) == 'One.<|endoftext|>Two.<|endoftext|>Three.<|endoftext|>'
    assert separated.settings()['separator'] == '***'
    assert Text([str(text)]).settings()['separator'] is None


def test_a_corpus_in_the_current_folder_is_not_taken_for_several_texts(
    origin, encoded, text, monkeypatch
):
    monkeypatch.chdir(encoded)
    train, _ = opened([text, text], origin, validation=0)
    assert train == 2 * (text.read_text(encoding='utf-8') + '<|endoftext|>')


def test_tokens_are_read_from_disk_as_they_are_needed(origin, text):
    tokens, held_out, _ = Text([str(text)], 0.25).tokens(origin)
    assert isinstance(tokens, np.memmap) and isinstance(held_out, np.memmap)
    assert tokens.dtype == np.uint16 and windows.Windows(tokens, 16).rows(0, 2).shape == (
        2,
        17,
    )
