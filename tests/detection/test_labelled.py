import json

import pytest

from detection.labelled import labelled, people_in, read_pairs
from encoder import get_encoder


@pytest.fixture
def data(tmp_path):
    def write(source, texts, split='train'):
        lines = [json.dumps({'id': n, 'text': text}) for n, text in enumerate(texts)]
        (tmp_path / f'{source}.{split}.jsonl').write_text('\n'.join(lines) + '\n')
        return str(tmp_path / source)

    return write


def test_human_texts_are_dealt_out_to_the_sources(data):
    human = data('human', [f'person {n}' for n in range(5)])
    first = data('m', ['one', '', 'two'])
    second = data('m-k40', ['three', 'four', 'five'])
    pairs = read_pairs(human, [first, second], 'train')
    assert [pair.source for pair in pairs] == ['m', 'm-k40']
    assert [pair.machine for pair in pairs] == [['one', 'two'], ['three', 'four', 'five']]
    dealt = pairs[0].human + pairs[1].human
    assert sorted(dealt) == [f'person {n}' for n in range(5)] == sorted(people_in(pairs))
    assert dealt != sorted(dealt)  # in an order of its own, the same each time
    assert read_pairs(human, [first, second], 'train') == pairs
    assert read_pairs(human, [first, second], 'train', seed=1) != pairs


def test_few_human_texts_are_dealt_out_again(data):
    human, machine = data('human', ['a', 'b']), data('m', list('vwxyz'))
    (pair,) = read_pairs(human, [machine], 'train')
    assert sorted(pair.human) in (['a', 'a', 'a', 'b', 'b'], ['a', 'a', 'b', 'b', 'b'])
    assert sorted(people_in([pair])) == ['a', 'b']
    texts, labels = labelled([pair])
    assert texts == pair.human + pair.machine and list(labels) == [0] * 5 + [1] * 5


def test_both_texts_of_a_pair_have_equal_lengths(data, byte_models):
    encoder = get_encoder('bytes', str(byte_models))
    human, machine = data('human', ['a' * 50, 'b' * 9]), data('m', ['c' * 20, 'd' * 30])
    (pair,) = read_pairs(human, [machine], 'train', encoder)
    lengths = [[len(encoder.encode(text)) for text in texts] for texts in pair[1:]]
    assert lengths[0] == lengths[1] == [8, 29]


def test_a_split_without_text_is_refused(data):
    human, machine = data('human', ['', '']), data('m', ['x'])
    with pytest.raises(ValueError, match='there is no text in .*human.train.jsonl'):
        read_pairs(human, [machine], 'train')


def test_texts_that_leave_nothing_when_they_are_cut_are_refused(data, byte_models):
    encoder = get_encoder('bytes', str(byte_models))
    human, machine = data('human', ['a', 'b']), data('m', ['cd', 'ef'])
    with pytest.raises(ValueError, match=r'human and .*m have two tokens each \(train\)'):
        read_pairs(human, [machine], 'train', encoder)
