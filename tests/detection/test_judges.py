import contextlib

import numpy as np
import pytest

from detection import features, judges


def counting(name, seen, factor=1.0):
    """A judge that scores texts by their lengths, and notes what it reads."""

    def by_texts(texts, progress):
        seen.extend(texts)
        progress(len(texts))
        return np.array([factor * len(text) for text in texts])

    return judges.Judge(name, 'words', ('demo',), by_texts=by_texts)


def test_each_text_is_judged_once_and_scores_keep_their_places():
    seen, done = [], []
    panel = judges.Panel([counting('a', seen), counting('b', [], -1.0)])
    first = panel.scores(['xxx', 'y', 'xxx'], done.append)
    np.testing.assert_array_equal(first, [[3, -3], [1, -1], [3, -3]])
    second = panel.scores(['y', 'zz'], done.append)
    np.testing.assert_array_equal(second, [[1, -1], [2, -2]])
    assert sorted(seen) == ['xxx', 'y', 'zz']
    assert panel.passes == 2 and sum(done) == 2 * 5


def test_a_text_in_which_a_detector_finds_nothing_is_undecided():
    judge = judges.Judge('w', 'words', by_texts=lambda texts, progress: np.array([np.nan, -2.0]))
    assert judges.Panel([judge]).scores(['T', 'The end']).tolist() == [[0], [-2]]


def test_scores_without_training_are_features_with_the_sign_of_a_truncated_machine(monkeypatch):
    """Higher is more machine: more likely, of lower rank, fewer tokens outside."""
    names = list(judges.ZERO_SHOT)
    human, machine = np.zeros([2, len(features.NAMES)])
    for name, of_human, of_machine in [
        ('mean_logprob', -4.0, -2.0),
        ('mean_log_rank', 3.0, 1.0),
        ('lrr', 1.3, 2.1),
        ('z', -0.3, 3.0),
        ('outside_top_40', 0.3, 0.0),
        ('outside_nucleus_0.9', 0.1, 0.0),
    ]:
        human[features.NAMES.index(name)] = of_human
        machine[features.NAMES.index(name)] = of_machine
    values = np.stack([human, machine])
    monkeypatch.setattr(judges, 'features_of_texts', lambda scorer, texts, progress: values)
    panel = judges.Panel([judges.zero_shot(name) for name in names], scorer='one')
    scores = panel.scores(['human', 'machine'])
    assert scores.shape == (2, 6) and (scores[1] > scores[0]).all() and panel.passes == 1
    assert scores[1, 0] == -2.0 and scores[0, 1] == -3.0


def test_names_of_scores():
    assert judges.zero_shot_names('all') == list(judges.ZERO_SHOT)
    assert judges.zero_shot_names('none') == []
    assert judges.zero_shot_names('z, lrr') == ['z', 'lrr']
    with pytest.raises(ValueError, match="unknown score 'gltr' .there are: mean_logprob"):
        judges.zero_shot_names('gltr')


class Detector(contextlib.nullcontext):
    kind, info = 'scores', {'trained': {'machine': ['demo', 'demo-k40']}}

    def __enter__(self):
        return self

    def log_odds(self, values):
        return values[:, 0]

    def scores(self, texts, progress):
        return np.array([float(len(text)) for text in texts])


def test_a_detector_shares_the_features_of_its_model_or_reads_texts_itself(monkeypatch):
    monkeypatch.setattr(judges, 'open_detector', lambda *_: Detector())
    with contextlib.ExitStack() as stack:
        shared = judges.trained('one', 'some/folder', 'models', 'a scorer', stack)
        alone = judges.trained('one', 'some/folder', 'models', None, stack)
    assert shared.name == 'one' and shared.trained_on == ('demo', 'demo-k40')
    assert shared.by_texts is None and shared.by_features(np.ones([2, 3])).tolist() == [1, 1]
    assert alone.by_features is None and alone.by_texts(['abc'], None).tolist() == [3]


def test_two_detectors_never_have_one_name():
    assert judges.names_of(['a/words/', 'b/scores']) == ['words', 'scores']
    assert judges.names_of(['a/words', 'b/words']) == ['a/words', 'b/words']
