import json

import numpy as np
import pytest

from cluster.parts import Job
from detection import parts
from detection.findings import find
from helpers.made_parts import made
from helpers.stub_detector import StubDetector
from helpers.stub_scorer import StubScorer
from scoring.documents import Document

TEXTS = ['One.', 'And another one: ' * 9, 'naïve', 'A third text, of some tokens. ' * 5]
ARRAYS = ['logprobs', 'ranks', 'entropies']


@pytest.fixture(params=[None, 'scores', 'words'])
def detector(request, monkeypatch):
    """A detector of any kind, or None; the worker opens it and the scorer."""
    scorer, detector = StubScorer(), request.param and StubDetector(request.param)
    scorer.close = lambda: None
    monkeypatch.setattr(parts, 'scorer_of', lambda job: scorer)
    monkeypatch.setattr(parts, 'detector_digest', lambda folder: folder and 'digest')
    monkeypatch.setattr(parts, 'open_detector', lambda folder, models_dir, scorer: detector)
    return detector


def job_of(detector, arrays):
    settings = {'arrays': arrays, 'detector': detector and 'digest'}
    return Job(
        'detection.parts:DocumentsWorker', settings, {'detector': 'folder', 'models_dir': 'models'}
    )


@pytest.mark.parametrize('arrays', [[], ARRAYS])
@pytest.mark.parametrize('size', [1, 3])
def test_what_is_told_is_that_of_one_process(tmp_path, detector, arrays, size):
    encoder = StubScorer().encoder
    documents = [Document(text[:3], 0, text, encoder.encode(text)) for text in TEXTS]
    with parts.StoredDocuments(documents) as items:
        with made(tmp_path, job_of(detector, arrays), items, size) as folder:
            found = list(parts.read_found(folder.joined(), arrays))
    pairs = ((document.text, document.tokens) for document in documents)
    expected = list(find(StubScorer(), detector, pairs, lambda n: None))
    assert json.dumps([record for _, record in found]) == json.dumps([r for _, r in expected])
    for (scores, _), (others, _) in zip(found, expected, strict=True):
        assert (scores is None) == (not arrays)
        for name in arrays:
            array, other = getattr(scores, name), getattr(others, name)
            np.testing.assert_array_equal(array, other)
            assert array.dtype == other.dtype


def test_another_detector_is_refused(monkeypatch):
    monkeypatch.setattr(parts, 'scorer_of', lambda job: closing)
    monkeypatch.setattr(parts, 'detector_digest', lambda folder: 'another')
    closing = StubScorer()
    closed = []
    closing.close = lambda: closed.append(True)
    with pytest.raises(ValueError, match='folder is not the one that the job is for'):
        parts.DocumentsWorker(job_of('some', []))
    assert closed
