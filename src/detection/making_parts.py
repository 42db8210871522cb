"""Samples of a data set that several processes make. No TensorFlow, but in the worker.

The files are those that one process writes, to the byte: see generation/parts.py.
"""

import functools
import os

from tqdm import tqdm

from cluster.parts import Job, PartsFolder, Worker
from detection.dataset_file import line_of
from detection.making import provenance, write_samples
from detection.samplers import Sampler
from generation.parts import NO_SAMPLING, ORIGIN, TOKENS_A_PART
from generation.start import start_engine
from loading.model_files import check_model, digests_beside, find_model
from support.settings import Settings


def job_of(origin, sampler, settings, tokens, resources):
    """The Job of a sampler's records.

    origin: dict of ORIGIN.  settings: Settings, for all samples but their p.
    tokens: whether records hold them.  resources: dict of models_dir, batch_size and
      shards, of the engine.
    """
    files = digests_beside(find_model(origin['model'], resources['models_dir']))
    asked = origin | files | settings.values()
    asked |= {'sampler': sampler.name, 'top_p': sampler.top_p, 'with_tokens': tokens}
    resources = resources | {'models_dir': os.path.abspath(resources['models_dir'])}
    return Job('detection.making_parts:RecordsWorker', asked, resources)


def share_samples(spread, splits, source, n_items, job):
    """Have workers make the records that the files of a source lack.

    spread: cluster.flags.Spread.  splits: dataset_file.Splits.  source: FOLDER/SOURCE.
    n_items: how many records there are to be.  job: from `job_of`.
    """
    at_most = max(1, TOKENS_A_PART // job.settings['length'])
    place = spread.folder(source)
    size = spread.size_of_parts(place, n_items, at_most, job.resources['batch_size'])
    done = min(splits.missing(), default=n_items)
    with PartsFolder(place, job, n_items, size, done=done) as folder:

        def take(part):
            splits.append(folder.path_of(part), *part)
            folder.drop(part)

        if spread.carry_out(folder, job.settings['sampler'], 'samples', take):
            folder.remove()


class RecordsWorker(Worker):
    """Makes parts of records: the lines that Splits writes."""

    def __init__(self, job):
        super().__init__(job)
        asked = dict(job.settings)
        self.with_tokens = asked.pop('with_tokens')
        name, top_p = asked.pop('sampler'), tuple(asked.pop('top_p'))
        self.sampler = Sampler(name, asked['temperature'], asked['top_k'], top_p)
        origin = {name: asked[name] for name in ORIGIN if name in asked}
        self.settings = Settings(**{n: v for n, v in asked.items() if n not in NO_SAMPLING})
        self.made_by = provenance(origin, self.sampler, self.settings)
        model = origin['model'], job.resources['models_dir']
        check_model(find_model(*model), origin['weights'], job.settings)
        how = dict(dtype=origin['dtype'], n_shards=job.resources['shards'])
        self.engine = start_engine(*model, **how)

    def make(self, part, items, file):
        self.part, self.file = part, file
        silent = functools.partial(tqdm, disable=True)
        rows = self.job.resources['batch_size']
        write_samples(self.engine, self, self.sampler, self.settings, rows, silent)

    # As Splits has them, for write_samples:

    def missing(self):
        return list(range(self.part.first, self.part.end))

    def write(self, number, text, tokens, ended):
        made_by = self.made_by(number)
        self.file.write(line_of(number, text, tokens, ended, made_by, self.with_tokens))

    def close(self):
        self.engine.close()
