import json

import pytest

from detection.records import SPLITS, path_of, read_records
from helpers.paths import ROOT
from make_human_dataset import make_human_dataset
from training.corpus import is_held_out

pytestmark = pytest.mark.usefixtures('no_tensorflow')
DEMO = ('--model_name', 'demo', '--models_dir', ROOT / 'models')


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / 'text'
    folder.mkdir()
    for n in range(60):
        words = ' '.join(f'The president spoke {n} times of {word}.' for word in range(40))
        (folder / f'{n:02}.txt').write_text(words)
    return folder


def test_what_the_model_has_not_seen_is_for_validation_and_test(call, tmp_path, texts):
    """As train.py holds it out, so that a detector does not learn what the model has learnt."""
    sizes = ('--train', 50, '--valid', 1, '--test', 2)
    flags = (*DEMO, '--source', 'speeches', '--length', 50, '--windows', '--held_out', 0.3)
    status, output, errors = call(make_human_dataset, tmp_path / 'out', texts, *flags, *sizes)
    assert (status, errors) == (0, '')
    unseen = {n for n in range(60) if is_held_out(n, 0.3, 0)}
    found = {
        split: list(read_records(path_of(tmp_path / 'out' / 'speeches', split))) for split in SPLITS
    }
    documents = {split: {r.document for r in records} for split, records in found.items()}
    assert documents['valid'] | documents['test'] == unseen and len(unseen) > 9
    assert documents['train'] == set(range(60)) - unseen
    assert not documents['valid'] & documents['test']
    assert 1.5 < len(documents['test']) / len(documents['valid']) < 3
    for record in found['test']:
        assert 25 <= record.length <= 50 and record.more['file'] == f'{record.document:02}.txt'
    assert output.splitlines()[2] == (
        f'{tmp_path}/out/speeches.test.jsonl: {len(found["test"]):,} records of '
        f'{len(documents["test"])} documents'
    )


def test_documents_of_a_jsonl_file_are_cut_to_the_context_as_openai_s(call, tmp_path):
    lines = [{'text': f'Number {n}. ' + 'A word or two. ' * (n * 10)} for n in range(30)]
    file = tmp_path / 'web.jsonl'
    file.write_text('\n'.join(map(json.dumps, [*lines, lines[3]])))
    flags = (*DEMO, '--train', 8, '--valid', 1, '--test', 1)
    status, _, errors = call(make_human_dataset, tmp_path / 'out', file, *flags)
    assert (status, errors) == (0, 'documents left out, as there was one with the same text: 1\n')
    every = [
        r for split in SPLITS for r in read_records(path_of(tmp_path / 'out' / 'human', split))
    ]
    assert [r.id for r in every] == list(range(30))
    assert max(r.length for r in every) in range(250, 257)
    assert {r.document for r in every if not r.ended} == set(range(6, 30))  # 50 tokens for each n


@pytest.mark.parametrize(
    'wrong, message',
    [
        ([], 'name at least one text'),
        (['nowhere'], 'there is no file or folder nowhere'),
        (['-'], 'not standard input'),
        (['.', '--held_out', 1], 'held_out must be'),
        (['.', '--source', 'a/b'], 'source must be a name'),
        (['.', '--source', 'a.test'], 'source must be a name'),
        (['.', '--length', 0], 'length must be'),
        (['.', '--train', 0, '--valid', 0, '--test', 0], 'all 0'),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, tmp_path, texts, monkeypatch, wrong, message):
    monkeypatch.chdir(texts)
    status, output, errors = call(make_human_dataset, tmp_path / 'out', *wrong, *DEMO)
    assert (status, output) == (2, '') and message in errors and errors.count('\n') == 1
    assert not (tmp_path / 'out').exists()
