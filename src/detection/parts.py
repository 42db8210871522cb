"""What is told of documents, in parts, which several processes make. No TensorFlow, but in workers.

A document's record depends on its text and the models alone, so it is that of one process.
"""

import contextlib
import json
import os

import numpy as np

from cluster.made import made_parts
from cluster.parts import Job, Worker
from detection.detector import (
    DESCRIPTION,
    check_files,
    digest_of,
    open_detector,
    read_description,
)
from detection.findings import find
from scoring.parts import PART_BYTES, StoredDocuments, folder_of, save_scores, scorer_of
from scoring.windows import Scores


class DocumentsWorker(Worker):
    """Makes parts of documents, items [name, file, text, tokens] as documents.Document has them.

    A part has an array for each of settings['arrays'], of the Scores of all its documents, then a
    line of JSON for each document: the record of findings.find.
    """

    def __init__(self, job):
        super().__init__(job)
        self.scorer, self.detector = scorer_of(job), None
        if job.settings['detector'] is not None:
            try:
                self.detector = self._open_detector()
            except BaseException:
                self.close()
                raise

    def _open_detector(self):
        folder, models_dir = (self.job.resources[name] for name in ('detector', 'models_dir'))
        if detector_digest(folder) != self.job.settings['detector']:
            raise ValueError(f'the detector in {folder} is not the one that the job is for')
        return open_detector(folder, models_dir, self.scorer)

    def make(self, part, items, file):
        pairs = ((text, tokens) for _, _, text, tokens in items)
        found = list(find(self.scorer, self.detector, pairs))
        save_scores(file, [scores for scores, _ in found], self.job.settings['arrays'])
        for _, record in found:
            file.write(json.dumps(record).encode('ascii') + b'\n')

    def close(self):
        for each in (self.detector, self.scorer):
            if each is not None:
                each.close()


def detector_digest(folder):
    """What stands for a detector in a job's settings: the digest of what lists its files' digests.

    folder: of the detector, or None.  Raises ValueError if it is damaged.
    """
    if folder is None:
        return None
    check_files(folder, read_description(folder))
    return digest_of(os.path.join(folder, DESCRIPTION))


@contextlib.contextmanager
def found_in_parts(documents, settings, resources, spread, output=None):
    """Have workers tell of Documents; yields an iterator of (Document, (Scores, record)).

    settings, resources: of the job, see DocumentsWorker and scoring.parts.model_settings.
    spread: flags.Spread.  output: the file beside which the parts are; None has none.
    """
    with StoredDocuments(documents, folder_of(spread, output)) as stored:
        settings = settings | {'items': stored.digest}
        job = Job('detection.parts:DocumentsWorker', settings, resources)
        path = spread.folder(output or f'found-{stored.digest}')
        at_most = stored.of_size(PART_BYTES)
        with made_parts(spread, path, job, stored, at_most, 'scoring', 'documents') as folder:
            yield zip(stored, read_found(folder.joined(), settings['arrays']), strict=True)


def read_found(paths, arrays):
    """Yield (Scores, record) of documents from all parts, as findings.find does; see the worker.

    Scores are None where no arrays were asked for.
    """
    for path in paths:
        with open(path, 'rb') as file:
            columns, end = [np.load(file) for _ in arrays], 0
            for record in map(json.loads, file):
                start, end = end, end + record['all_tokens']
                some = dict(zip(arrays, (column[start:end] for column in columns), strict=True))
                yield (Scores(**some) if arrays else None), record
