import json
import sys
import types

import numpy as np
import pytest

from detection.detector import open_detector
from train_detector import train_detector

PEOPLE = 'whale ship sea captain harpoon sailor wave deck storm mate'.split()
MACHINE = 'ship wave model token sample captain machine sea text storm'.split()


def write(folder, source, words, n, seed=0):
    random = np.random.default_rng(seed)
    for split, size in [('train', n), ('valid', 10), ('test', 8)]:
        texts = [' '.join(random.choice(words, 30)) for _ in range(size)]
        lines = [json.dumps({'id': i, 'text': text}) for i, text in enumerate(texts)]
        (folder / f'{source}.{split}.jsonl').write_text('\n'.join(lines) + '\n')
    return str(folder / source)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Sources `human`, `m` and `m-k40`: FOLDER/human, and the others with a comma between."""
    folder = tmp_path_factory.mktemp('data')
    human = write(folder, 'human', PEOPLE, 40)
    machine = [write(folder, 'm', MACHINE, 30, 1), write(folder, 'm-k40', MACHINE[:6], 30, 2)]
    return human, ','.join(machine)


@pytest.mark.parametrize(
    'kind, flags, auroc',
    [
        ('words', [], 0.99),
        ('words', ['--nocut', '--model_name', 'none'], 0.99),  # reads no model
        ('scores', [], 0.6),  # an untrained model knows little
        ('network', ['--epochs', 2, '--learning_rate', 1e-3, '--batch_size', 8], 0),
    ],
)
def test_a_detector_is_trained_and_tested(call, data, byte_models, tmp_path, kind, flags, auroc):
    if kind == 'words':
        pytest.importorskip('sklearn')
    model = [
        '--models_dir',
        byte_models,
        *([] if '--model_name' in flags else ['--model_name', 'bytes']),
    ]
    out = tmp_path / 'out'
    status, output, _ = call(train_detector, *data, out, '--kind', kind, *model, *flags)
    assert status == 0
    assert [line.split(' | ')[0] for line in output.splitlines()[2:]] == ['| m', '| m-k40']
    with open_detector(str(out), str(byte_models)) as detector:
        info = detector.info
        assert detector.kind == kind == info['kind']
        assert min(row['auroc'] for row in info['test']) > auroc
        trained = info['trained']
        assert (trained['human'], trained['machine']) == ('human', ['m', 'm-k40'])
        assert (info['model'], trained['pairs']) == (None if kind == 'words' else 'bytes', 60)
        assert np.isfinite(detector.scores(['a whale and a ship'])).all()
        if kind == 'network':
            assert [record['epoch'] for record in trained['course']] == [1, 2]


def test_a_detector_of_scores_refuses_another_model(call, data, byte_models, tmp_path):
    out = tmp_path / 'out'
    flags = ['--models_dir', byte_models, '--model_name', 'bytes']
    assert call(train_detector, *data, out, *flags)[0] == 0
    info = json.loads((out / 'detector.json').read_text())
    (out / 'detector.json').write_text(json.dumps(info | {'model': 'long'}))
    with pytest.raises(ValueError, match="out was trained with another model 'long' than that in"):
        open_detector(str(out), str(byte_models))
    other = types.SimpleNamespace(loaded=types.SimpleNamespace(folder=str(byte_models / 'long')))
    with pytest.raises(ValueError, match='not with that in .*long'):
        open_detector(str(out), str(byte_models), scorer=other)


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--kind', 'guess'], "kind must be scores, words, network, not 'guess'"),
        (['--kind', 'words', '--epochs', 2], '--epochs is of --kind network, not of words'),
        (['--kind', 'network', '--epochs', 0], 'epochs must be a whole number of at least 1'),
        (['--kind', 'network', '--batch_size', 'x'], 'batch_size must be a whole number'),
        (['--seed', -1], 'seed must be a whole number'),
        (['--model_name', 'none'], "there is no model 'none'"),
        (['--machine', 'nowhere/m'], 'there is no file nowhere/m.train.jsonl'),
        (['--machine', 'nowhere/m,m'], 'name one or more sources of machine texts, each once'),
        (['--out', __file__], 'is there already, and no folder'),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(
    call, data, byte_models, tmp_path, no_tensorflow, flags, message
):
    human, machine = data
    given = {'--human': human, '--machine': machine, '--out': tmp_path / 'out'}
    given |= {'--models_dir': byte_models, '--model_name': 'bytes'}
    given |= dict(zip(flags[::2], flags[1::2], strict=True))
    arguments = [word for pair in given.items() for word in pair]
    status, output, errors = call(train_detector, *arguments)
    assert (status, output) == (2, '') and message in errors and errors.count('\n') == 1
    assert list(tmp_path.iterdir()) == []


def test_scikit_learn_is_asked_for_and_no_detector_replaced(call, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    flags = ['--kind', 'words', '--nocut']
    status, _, errors = call(train_detector, *data, tmp_path / 'out', *flags)
    assert status == 2 and 'pip install -r requirements-detection.txt' in errors
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'detector.json').write_text('{}')
    status, _, errors = call(train_detector, *data, tmp_path / 'out')
    assert status == 2 and 'holds a detector already: choose another folder' in errors
