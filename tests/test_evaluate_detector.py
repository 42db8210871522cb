import contextlib
import json

import numpy as np
import pytest

import evaluate_detector
from detection import features, judges
from helpers.paths import ROOT

DEMO = ('--model_name', 'demo', '--models_dir', ROOT / 'models')
HUMAN = 'The people of the united nation met again. '
MACHINE = 'The state of state of the state of the. '


@pytest.fixture
def data(tmp_path):
    """human, demo and demo-k40, 40 texts a split, and where they are."""
    for source, text in [('human', HUMAN), ('demo', MACHINE), ('demo-k40', MACHINE)]:
        for split in ('valid', 'test'):
            lines = [
                {'id': n, 'ended': True, 'length': 1, 'text': f'{n} ' + text * (n % 7 + 3)}
                for n in range(120)
            ]
            path = tmp_path / f'{source}.{split}.jsonl'
            path.write_text('\n'.join(map(json.dumps, lines)))
    return tmp_path


@pytest.fixture
def scored(monkeypatch):
    """A scorer for which every "state of" is likely; returns the texts that it has read."""
    read = []

    def features_of_texts(scorer, texts, progress):
        read.extend(texts)
        progress(len(texts))
        values = np.zeros([len(texts), len(features.NAMES)])
        values[:, features.NAMES.index('z')] = [text.count('state') for text in texts]
        return values

    monkeypatch.setattr(judges, 'features_of_texts', features_of_texts)
    opened = contextlib.nullcontext('the scorer')
    monkeypatch.setattr(evaluate_detector, 'start_scorer', lambda *_, **__: opened)
    return read


def test_tables_results_and_figure(call, data, scored):
    pytest.importorskip('matplotlib')
    machine = f'{data}/demo,{data}/demo-k40'
    where = ('--output', data / 'out.json', '--figure', data / 'out.png')
    status, out, errors = call(
        evaluate_detector.evaluate_detector,
        *(data / 'human', machine, *DEMO, '--scores', 'z', '--lengths', '20,all', *where),
    )
    assert (status, errors) == (0, '')
    assert '| z (zero-shot) | 100.0 (100.0–100.0) | 100.0 (100.0–100.0) |' in out
    content = json.loads((data / 'out.json').read_text())
    assert content['model'] == 'demo' and len(content['weights']) == 16
    assert [(c['source'], c['length']) for c in content['cells']] == [
        ('demo', 20),
        ('demo', 'all'),
        ('demo-k40', 20),
        ('demo-k40', 'all'),
    ]
    assert content['cells'][0]['accuracy'] == 1 and content['cells'][0]['n_human'] == 120
    assert (data / 'out.png').stat().st_size > 5000
    assert len(scored) == len(set(scored))  # demo-k40 has demo's texts: each is read once


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['human', 'gone'], 'there is no file gone.valid.jsonl'),
        (['human', 'demo,demo'], 'each once'),
        (['human', 'demo', 'gone'], 'gone is no detector'),
        (['human', 'demo', '--scores', 'none'], 'name a detector, or --scores'),
        (['human', 'demo', '--scores', 'gltr'], "unknown score 'gltr'"),
        (['human', 'demo', '--lengths', 'long'], 'lengths must be'),
        (['human', ','], 'name one or more sources'),
        (['human', 'demo', '--texts', 0], 'texts must be'),
        (['human', 'demo', '--figure', 'x.pdf'], 'must end in .png or .svg'),
        (['human', 'demo', '--output', 'gone/x.json'], 'no folder gone to write x.json to'),
        (['human', 'demo', 'a', 'a'], 'name each detector once'),
        (['human', 'demo', '--models_dir', 'gone'], 'demo'),
    ],
)
def test_bad_input_is_one_line_before_tensorflow(
    call, data, no_tensorflow, monkeypatch, arguments, message
):
    monkeypatch.chdir(data)
    flags = () if '--models_dir' in arguments else DEMO[2:]
    status, out, errors = call(
        evaluate_detector.evaluate_detector, *arguments, '--model_name', 'demo', *flags
    )
    assert (status, out) == (2, '') and message in errors and errors.count('\n') == 1


def test_where_all_texts_are_too_short_that_is_told(call, data, scored):
    sources = f'{data}/human', f'{data}/demo'
    status, out, errors = call(
        evaluate_detector.evaluate_detector, *sources, *DEMO, '--scores', 'z', '--lengths', 999
    )
    assert (status, out) == (2, '') and 'give smaller --lengths' in errors
