"""The scores of documents in parts, which several processes make: a part holds those of windows.

On a CPU the scores of a window do not depend on what else is scored, nor where: so they are the
same as those of one process, to the last bit. No TensorFlow, but in the worker.
"""

import contextlib
import io
import itertools
import os

import numpy as np

from cluster.items import StoredItems
from cluster.made import made_parts
from cluster.parts import Job, Worker
from loading.model_files import check_model, digests_beside, find_model, fingerprint
from scoring.documents import Document
from scoring.start import start_scorer
from scoring.windows import Scores, Window

PART_BYTES = 2**19  # of a part's items: about 100,000 tokens as JSON
ARRAYS = ('logprobs', 'ranks', 'entropies')  # what `details` and `ranks` of a Scorer ask for


class WindowsWorker(Worker):
    """Makes parts of windows, items [first, *tokens].

    A part has an array for each of settings['arrays'], names of fields of Scores, with the values
    of all tokens that are scored in its windows, in their order.
    """

    def __init__(self, job):
        super().__init__(job)
        self.scorer = scorer_of(job)

    def make(self, part, items, file):
        arrays = self.job.settings['arrays']
        scores = self.scorer.score_windows(
            (Window(tokens, first) for first, *tokens in items),
            details='entropies' in arrays,
            ranks='ranks' in arrays,
            more=[name for name in arrays if name not in ARRAYS],
        )
        save_scores(file, list(scores), arrays)

    def close(self):
        self.scorer.close()


def scorer_of(job):
    """The Scorer that a job asks for, which `model_settings` names."""
    names = [name for name in ('tokens_at_once',) if name in job.resources]
    more = {name: job.resources[name] for name in names}
    return start_scorer(*model_of(job), dtype=job.settings['dtype'], **more)


def model_of(job):
    """(model_name, models_dir) of a job; ValueError if this machine has another model there."""
    model_name, models_dir = job.settings['model'], job.resources['models_dir']
    check_model(find_model(model_name, models_dir), job.settings['fingerprint'], job.settings)
    return model_name, models_dir


def save_scores(file, scores, arrays):
    """Write the arrays of these names, each of all Scores in a list, to a binary file."""
    for name in arrays:
        buffer = io.BytesIO()  # NumPy would say of a full disk only that it has not written all
        np.save(buffer, np.concatenate([getattr(each, name) for each in scores]))
        file.write(buffer.getbuffer())


def model_settings(model_name, models_dir, dtype):
    """What of a job's settings says which model scores."""
    folder = find_model(model_name, models_dir)
    its = {'model': model_name, 'fingerprint': fingerprint(folder), 'dtype': dtype}
    return its | digests_beside(folder)


class StoredDocuments(StoredItems):
    """Documents on the disk, read once: iterating gives them, and a slice their lists of fields."""

    def __iter__(self):
        return (Document(*each) for each in super().__iter__())


@contextlib.contextmanager
def scored_in_parts(documents, cut, settings, resources, spread, output=None):
    """Have workers score Documents; yields an iterator of pairs of Document and Scores.

    cut: Document -> its windows.
    settings, resources: of the job, see WindowsWorker and model_settings.
    spread: flags.Spread.  output: the file beside which the parts are; None has none.
    """
    with (
        StoredDocuments(documents, folder_of(spread, output)) as stored,
        StoredItems(items_of(stored, cut), folder_of(spread, output)) as windows,
    ):
        settings = settings | {'items': windows.digest}
        job = Job('scoring.parts:WindowsWorker', settings, resources)
        path = spread.folder(output or f'scores-{windows.digest}')
        at_most = windows.of_size(PART_BYTES)
        with made_parts(spread, path, job, windows, at_most, 'scoring', 'windows') as folder:
            to_count, to_show = itertools.tee(stored)
            counts = (len(document.tokens) for document in to_count)
            scores = read_scores(folder.joined(), settings['arrays'], counts)
            yield zip(to_show, scores, strict=True)


def folder_of(spread, output):
    """The folder that holds the folder of parts: there is room."""
    return os.path.dirname(spread.folder(output or 'scores'))


def output_of(outputs):
    """The first of the outputs of a script that has a folder for parts beside it, or None."""
    files = (path for path in outputs if os.path.isfile(path) or not os.path.exists(path))
    return next(files, None)


def items_of(documents, cut):
    """Yield the windows of Documents, as items of parts."""
    for document in documents:
        for window in cut(document):
            yield [int(window.first), *window.tokens.tolist()]


def read_scores(paths, arrays, counts):
    """Yield the Scores of documents of so many tokens each, from parts.

    paths: of all parts, in their order.  arrays: names, as the worker has them.
    counts: iterable of int, read as it goes.
    """
    parts = (load_scores(path, arrays) for path in paths)
    part = [np.zeros(0)] * len(arrays)
    for count in counts:
        taken = []
        while count:
            while not len(part[0]):
                part = next(parts)
            taken.append([column[:count] for column in part])
            count -= len(taken[-1][0])
            part = [column[len(taken[-1][0]) :] for column in part]
        columns = map(np.concatenate, zip(*taken, strict=True))
        yield Scores(**dict(zip(arrays, columns, strict=True)))


def load_scores(path, arrays):
    """What `save_scores` has written, a list of arrays."""
    with open(path, 'rb') as file:
        return [np.load(file) for _ in arrays]
