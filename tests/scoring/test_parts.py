import shutil

import pytest

from cluster.items import StoredItems
from cluster.parts import Job
from helpers.made_parts import made
from scoring import parts
from scoring.documents import Document
from scoring.scorer import Scorer
from scoring.windows import Cutter

CONTEXT, STRIDE = 24, 7
ARRAYS = ['logprobs', 'ranks', 'entropies', 'second_moments', 'mass_before']


@pytest.fixture(scope='module')
def scorer(models_dir):
    with Scorer('demo', str(models_dir)) as scorer:
        yield scorer


@pytest.fixture
def documents(scorer):
    """Documents of one token, of a few, and of many windows."""
    text = 'Fellow citizens of the naïve 日本 Senate: I have the honor to report. '
    texts = ['a', text * 9, text, 'The', text * 3]
    return [Document(f'{n}', 0, t, scorer.encoder.encode(t)) for n, t in enumerate(texts)]


@pytest.fixture
def job(models_dir, scorer, monkeypatch):
    """(arrays) -> Job, whose worker has the scorer that is there."""
    monkeypatch.setattr(parts, 'start_scorer', lambda *model, **more: scorer)
    monkeypatch.setattr(scorer, 'close', lambda: None)
    settings = parts.model_settings('demo', str(models_dir), 'float32')
    resources = {'models_dir': str(models_dir), 'tokens_at_once': 512}
    return lambda arrays: Job(
        'scoring.parts:WindowsWorker', settings | {'arrays': arrays}, resources
    )


def check_equal(found, expected):
    for scores, of_one_process in zip(found, expected, strict=True):
        for array, other in zip(scores, of_one_process, strict=True):
            assert (array is None) == (other is None)
            assert array is None or (array.dtype, array.tobytes()) == (other.dtype, other.tobytes())
        assert scores.total == of_one_process.total


@pytest.mark.parametrize('size', [1, 4, 1000])
@pytest.mark.parametrize('n_arrays', [1, 5])
def test_scores_are_those_of_one_process_to_the_bit(
    tmp_path, scorer, documents, job, size, n_arrays
):
    arrays, tokens = ARRAYS[:n_arrays], [document.tokens for document in documents]
    cutter = Cutter(scorer.encoder, scorer.hparams)

    def cut(document):
        return cutter.document_windows(document.tokens, CONTEXT, STRIDE)

    with (
        StoredItems(parts.items_of(documents, cut)) as items,
        made(tmp_path / 'p', job(arrays), items, size) as folder,
    ):
        assert len(items) > 30
        found = list(parts.read_scores(folder.joined(), arrays, map(len, tokens)))
    all_of_them = n_arrays == 5
    more = ARRAYS[3:] if all_of_them else ()
    expected = scorer.score_documents(
        tokens, CONTEXT, STRIDE, details=all_of_them, ranks=all_of_them, more=more
    )
    check_equal(found, expected)


def test_documents_are_stored_as_they_are(documents, tmp_path):
    with parts.StoredDocuments(iter(documents), tmp_path) as stored:
        assert list(stored) == documents == list(stored)


def test_other_weights_are_refused(job, models_dir):
    job = job(['logprobs'])
    job = job._replace(settings=job.settings | {'fingerprint': 'another'})
    with pytest.raises(ValueError, match='are .*, not another'):
        parts.WindowsWorker(job)


@pytest.mark.parametrize('name', ['hparams.json', 'encoder.json', 'vocab.bpe'])
def test_a_model_with_the_same_weights_that_reads_otherwise_is_refused(
    models_dir, tmp_path, job, name
):
    shutil.copytree(models_dir / 'demo', tmp_path / 'demo')
    its = job(ARRAYS)._replace(resources={'models_dir': str(tmp_path)})
    parts.WindowsWorker(its)
    file = tmp_path / 'demo' / name
    file.write_bytes(file.read_bytes() + b'\n')
    with pytest.raises(ValueError, match=f'{name} in .* is .*, not {its.settings[name]}'):
        parts.WindowsWorker(its)
    assert parts.model_settings('demo', str(tmp_path), 'float32') != parts.model_settings(
        'demo', str(models_dir), 'float32'
    )
