import json

import numpy as np
import pytest

from detection import judges, trials
from detection.records import path_of
from helpers.texts import byte_encoder

BYTES = byte_encoder()  # a token is a byte
RANDOM = np.random.default_rng(0)


def write_source(folder, source, texts, documents=None):
    """The files of a source: {split: texts}."""
    for split, its in texts.items():
        lines = []
        for number, text in enumerate(its):
            more = {'document': documents(number)} if documents else {}
            lines.append({'id': number, 'ended': True, 'length': len(text), 'text': text} | more)
        path = path_of(folder / source, split)
        with open(path, 'w', encoding='utf-8') as f:
            f.writelines(json.dumps(line) + '\n' for line in lines)
    return str(folder / source)


def judge_of(name, score, trained_on=()):
    def by_texts(texts, progress):
        progress(len(texts))
        return np.array([score(text) for text in texts], float)

    return judges.Judge(name, 'words', trained_on, by_texts=by_texts)


def texts_of(share, n, length=60):
    """Texts whose letters are b with this probability, else a."""
    return [''.join(RANDOM.choice(['a', 'b'], length, p=[1 - share, share])) for _ in range(n)]


def sources(folder, human=0.5, **machines):
    def texts(share):
        return {'valid': texts_of(share, 80), 'test': texts_of(share, 100)}

    own = write_source(folder, 'human', texts(human), documents=lambda n: n // 10)
    return own, [write_source(folder, name, texts(share)) for name, share in machines.items()]


def cells_of(folder, panel, human, machines, lengths=(60,)):
    done = [trials.Trial(panel, human, source, BYTES, lengths) for source in machines]
    return {
        (cell['judge'], cell['source'], cell['length']): cell
        for cell in trials.evaluate(panel, done)
    }


# Cutting


def test_texts_are_cut_to_a_length_and_shorter_ones_left_out(tmp_path):
    human = write_source(tmp_path, 'human', {'test': ['abcdef', 'abc', '  ', 'ab', 'abcd ']})
    texts = trials.read_texts(human, 'test', BYTES)
    assert len(texts) == 4  # nothing but white space is no text
    sides = trials.cut(texts, texts[:2], 3)
    assert [side.texts for side in sides] == [['abc', 'abc', 'abc'], ['abc', 'abc']]
    assert sides[0].documents == [0, 1, 4]


def test_or_in_pairs_to_the_length_of_the_other_class(tmp_path):
    human = write_source(tmp_path, 'human', {'test': ['abcdef', 'abc', 'ab']})
    machine = write_source(tmp_path, 'machine', {'test': ['xyz', 'xyzuvw', 'xyzuv', 'x' * 99]})
    sides = trials.cut(
        *(trials.read_texts(s, 'test', BYTES) for s in (human, machine)), length=trials.ALL
    )
    assert list(map(len, sides[0].texts)) == list(map(len, sides[1].texts))
    assert len(sides[0].texts) == 3


def test_at_most_so_many_texts_drawn_from_all(tmp_path):
    human = write_source(tmp_path, 'human', {'test': [str(n) for n in range(100, 200)]})
    some = [text.document for text in trials.read_texts(human, 'test', BYTES, most=20)]
    assert len(some) == len(set(some)) == 20 and some == sorted(some) and some[-1] > 60
    assert some == [text.document for text in trials.read_texts(human, 'test', BYTES, most=20)]


@pytest.mark.parametrize(
    'text, lengths', [('200,25,all', [25, 200, 'all']), ('50', [50]), (7, [7])]
)
def test_lengths(text, lengths):
    assert trials.lengths_named(text) == lengths


@pytest.mark.parametrize('text', ['', '0', 'some', '-5', '2.5'])
def test_what_is_no_length(text):
    with pytest.raises(ValueError, match='lengths must be numbers of tokens, or all'):
        trials.lengths_named(text)


# Figures


def count_b(text):
    return text.count('b')


def test_a_judge_is_better_with_longer_texts_and_says_how_many_there_were(tmp_path):
    human, machines = sources(tmp_path, much=0.75)
    panel = judges.Panel([judge_of('b', count_b)])
    cells = cells_of(tmp_path, panel, human, machines, (5, 20, 60, 61, trials.ALL))
    found = [cells['b', 'much', length] for length in (5, 20, 60)]
    assert 0.7 < found[0]['auroc'] < found[1]['auroc'] < found[2]['auroc']
    assert found[2]['auroc'] > 0.99 and found[2]['accuracy'] > 0.95 and found[2]['tpr_1'] > 0.7
    assert ('b', 'much', 61) not in cells  # no text is so long
    cell = cells['b', 'much', trials.ALL]
    assert (cell['n_human'], cell['n_human_documents'], cell['n_machine']) == (100, 10, 100)
    low, high = cell['auroc_interval']
    assert low <= cell['auroc'] <= high
    assert cell['tpr_0.1'] is None  # of 100 human texts


def test_the_threshold_is_chosen_on_validation_texts_of_what_the_judge_was_trained_on(tmp_path):
    """Trained on `much`, whose texts have many bs: of `few` it calls all human. That is the
    lesson of 2019, k40 and t1."""
    human, machines = sources(tmp_path, much=0.9, few=0.5)
    of_much = judge_of('b', count_b, trained_on=('much',))
    cells = cells_of(tmp_path, judges.Panel([of_much]), human, machines)
    assert cells['b', 'much', 60]['accuracy'] > 0.95
    assert cells['b', 'few', 60]['accuracy'] == pytest.approx(0.5, abs=0.05)
    assert cells['b', 'much', 60]['threshold'] == cells['b', 'few', 60]['threshold'] > 36
    other = judge_of('b', count_b, trained_on=('elsewhere',))
    cells = cells_of(tmp_path, judges.Panel([other]), human, machines)
    thresholds = [cells['b', name, 60]['threshold'] for name in ('much', 'few')]
    assert thresholds[0] != thresholds[1]  # each its own


def test_no_test_text_has_a_part_in_the_threshold(tmp_path):
    """It is in the middle between 10 and 20, though 40 would suit the test texts."""

    def written(source, valid, test):
        texts = {'valid': ['b' * valid + 'a' * (60 - valid)] * 2}
        texts['test'] = ['b' * test + 'a' * (60 - test)] * 2
        return write_source(tmp_path, source, texts)

    human, machine = written('human', 10, 30), written('machine', 20, 50)
    panel = judges.Panel([judge_of('b', count_b)])
    cell = cells_of(tmp_path, panel, human, [machine])['b', 'machine', 60]
    assert (cell['threshold'], cell['accuracy'], cell['auroc']) == (15, 0.5, 1)


def test_controls_come_out_as_nothing(tmp_path):
    """Human against human, a judge of nothing but length, and one that guesses."""
    human, machines = sources(tmp_path, human_too=0.5)
    texts = {'valid': texts_of(0.5, 80, 70), 'test': texts_of(0.5, 100, 70)}
    machines.append(write_source(tmp_path, 'longer', texts))
    guess = np.random.default_rng(1)
    panel = judges.Panel(
        [
            judge_of('b', count_b),
            judge_of('length', len),
            judge_of('guess', lambda t: guess.normal()),
        ]
    )
    cells = cells_of(tmp_path, panel, human, machines, (20, trials.ALL))
    for cell in cells.values():
        assert cell['auroc'] == pytest.approx(0.5, abs=0.14)  # three standard errors
        assert cell['accuracy'] == pytest.approx(0.5, abs=0.12)
        if cell['judge'] == 'length':  # though all of `longer` are longer
            assert cell['auroc'] == cell['accuracy'] == 0.5


def test_the_bar_ends_at_what_was_predicted(tmp_path):
    human, machines = sources(tmp_path, much=0.75, few=0.4)
    panel, done = judges.Panel([judge_of('b', count_b), judge_of('a', len)]), []
    lengths = (5, 61, trials.ALL)
    for source in machines:
        trials.Trial(panel, human, source, BYTES, lengths, progress=done.append)
    assert sum(done) == trials.passes(panel, human, machines, lengths) == 2 * 2 * 3 * 360
