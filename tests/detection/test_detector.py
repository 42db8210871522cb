import json
import os
import shutil

import numpy as np
import pytest

from detection import detector as module
from detection.detector import open_detector, save_detector
from detection.labelled import Pairs
from detection.words_detector import WordsDetector
from helpers.paths import ROOT

PEOPLE = ['the sea', 'a deep sea', 'deep', 'unheard', '']


def made():
    return WordsDetector(['sea', 'deep'], np.array([1.0, 1]), np.array([-2.0, 1]), 0.5)


@pytest.fixture
def saved(tmp_path):
    pairs = [Pairs('m', ['the sea', 'unheard', ''], ['deep', 'deep deep', 'sea'])]
    description = {'model': None, 'fingerprint': None, 'trained': {'human': 'h', 'machine': ['m']}}
    save_detector(made(), str(tmp_path / 'out'), PEOPLE, pairs, description)
    return tmp_path / 'out'


def test_a_detector_that_was_written_is_the_same_again(saved):
    detector = open_detector(str(saved))
    assert list(detector.scores(PEOPLE)[:4]) == list(made().scores(PEOPLE)[:4])
    assert detector.kind == 'words' and detector.info['trained']['machine'] == ['m']
    assert detector.info['model'] is None


def test_the_threshold_is_that_of_human_texts(saved):
    detector = open_detector(str(saved))
    both = (-2 + 1) / np.sqrt(2) + 0.5
    assert detector.human_scores == pytest.approx([-1.5, both, 0.5, 1.5])  # not of the empty text
    assert detector.threshold == 1.5  # 1 % of four is none
    shares = detector.share_of_humans_above([-2, -1.5, 0.5, 1.6, np.nan])
    assert list(shares[:4]) == [1, 0.75, 0.25, 0] and np.isnan(shares[4])
    assert list(detector.probabilities([0, np.log(3)])) == pytest.approx([0.5, 0.75])


def test_the_test_table_counts_texts(saved):
    (row,) = open_detector(str(saved)).info['test']
    # Human scores: -1.5 and .5; of the machine: 1.5, 1.5 and -1.5.
    assert (row['source'], row['human'], row['machine']) == ('m', 2, 3)
    assert row['accuracy'] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert row['auroc'] == pytest.approx(4.5 / 6)
    assert row['true_positives_1'] == row['true_positives_0.1'] == pytest.approx(2 / 3)
    assert row['machine_above'] == row['human_above'] == 0


def test_the_folder_holds_no_pickle(saved):
    names = sorted(path.name for path in saved.iterdir())
    assert names == ['detector.json', 'human_scores.npy', 'terms.json', 'weights.npz']
    np.load(saved / 'human_scores.npy', allow_pickle=False)


@pytest.mark.parametrize('name', ['human_scores.npy', 'terms.json', 'weights.npz'])
@pytest.mark.parametrize('how', ['missing', 'changed', 'cut'])
def test_a_damaged_file_is_refused_in_a_line(saved, name, how):
    path = saved / name
    content = bytearray(path.read_bytes())
    if how == 'missing':
        path.unlink()
    elif how == 'cut':
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f'out is damaged .{name} is .*: train it again') as caught:
        open_detector(str(saved))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda info: info.pop('kind'), "lacks 'kind'"),
        (lambda info: info.pop('fingerprint'), "lacks 'fingerprint'"),
        (lambda info: info.update(kind='guess'), 'kind must be scores, words, network'),
        (lambda info: info.update(format=2), 'its format is 2, and this code knows 1'),
        (lambda info: info.update(threshold='high'), 'threshold is not what it should be'),
        (lambda info: info.update(files=[]), 'damaged'),
        (lambda info: info['files'].pop('human_scores.npy'), 'does not name human_scores.npy'),
    ],
)
def test_a_description_that_says_something_else_is_refused(saved, change, message):
    path = saved / 'detector.json'
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match=message):
        open_detector(str(saved))


@pytest.mark.parametrize('content', ['', '{"format": 1', '[]', '7', '\xff', '[' * 100_000])
def test_a_description_that_is_none_is_refused(saved, content):
    (saved / 'detector.json').write_bytes(content.encode('latin-1'))
    with pytest.raises(ValueError, match='out is damaged .detector.json'):
        open_detector(str(saved))


def test_a_folder_without_a_detector_is_refused(tmp_path):
    with pytest.raises(ValueError, match='is no detector: there is no detector.json in it'):
        open_detector(str(tmp_path))


def test_nothing_is_replaced_and_nothing_half_written_stays(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    description = {'model': None, 'fingerprint': None, 'trained': {}}
    pairs = [Pairs('m', ['the sea'], ['deep'])]
    with pytest.raises(ValueError, match='out holds a detector already'):
        save_detector(made(), str(saved), PEOPLE, pairs, description)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(WordsDetector, 'save', full)
    with pytest.raises(OSError, match='No space left'):
        save_detector(made(), str(saved.parent / 'new'), PEOPLE, pairs, description)
    assert os.listdir(saved.parent) == ['out']


def test_another_model_under_the_name_is_refused(tmp_path):
    shutil.copytree(ROOT / 'models' / 'demo', tmp_path / 'demo')
    info = {'model': 'demo', 'fingerprint': module.fingerprint(str(tmp_path / 'demo'))}
    module.check_model('out', info, str(tmp_path))
    index = tmp_path / 'demo' / 'model.ckpt.index'
    index.write_bytes(index.read_bytes()[:-1] + b'?')
    with pytest.raises(ValueError, match="out was trained with another model 'demo' than that in"):
        module.check_model('out', info, str(tmp_path))
