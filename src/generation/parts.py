"""Samples that several processes make, into one file of samples. No TensorFlow, but in the worker.

The file is the one that a single process writes, to the byte. It grows as parts are made, in the
order of the samples, and a part goes when its samples are in the file: so there are never two
copies of all, and workers go on with a file that one process has begun.
"""

import os

from cluster.parts import Job, PartsFolder, Worker
from generation.bulk import choose_steps, has_ended
from generation.sample_file import as_recorded, line_of
from generation.start import start_engine
from loading.model_files import BESIDE_WEIGHTS, check_model, digests_beside, find_model
from support.settings import Settings

TOKENS_A_PART = 2**16  # 64 samples of 1,024 tokens: a minute and a half of the 124M on two cores
ORIGIN = ('model', 'weights', 'dtype', 'shards')  # the last where the text depends on it
NO_SAMPLING = {*ORIGIN, *BESIDE_WEIGHTS, 'sources'}  # of a job's settings


def job_of(origin, settings, models_dir, batch_size, xla, steps, shards):
    """The Job of samples.

    origin: dict of ORIGIN.  settings: Settings.
    steps: about how many a worker will take, which decides whether compiling them pays.
    shards: of the engine, or None.
    """
    resources = dict(
        models_dir=os.path.abspath(models_dir),
        batch_size=batch_size,
        xla=xla,
        steps=steps,
        shards=shards,
    )
    asked = origin | digests_beside(find_model(origin['model'], models_dir)) | settings.values()
    return Job('generation.parts:SamplesWorker', asked, resources)


def share_samples(spread, sink, path, nsamples, job):
    """Have workers make the samples that a file lacks.

    spread: cluster.flags.Spread.  sink: SampleFile.  path: of its file.  job: from `job_of`.
    """
    at_most = max(1, TOKENS_A_PART // job.settings['length'])
    place = spread.folder(path)
    size = spread.size_of_parts(place, nsamples, at_most, job.resources['batch_size'])
    with PartsFolder(place, job, nsamples, size, done=sink.written) as folder:

        def take(part):
            sink.append(folder.path_of(part), *part)
            folder.drop(part)

        if spread.carry_out(folder, unit='samples', taken=take):
            folder.remove()


class SamplesWorker(Worker):
    """Makes parts of samples: the lines that SampleFile writes."""

    def __init__(self, job):
        super().__init__(job)
        origin = {name: job.settings[name] for name in ORIGIN if name in job.settings}
        settings = {n: v for n, v in job.settings.items() if n not in NO_SAMPLING}
        self.settings = Settings(**settings)
        self.recorded = as_recorded(origin, settings)
        model = job.settings['model'], job.resources['models_dir']
        check_model(find_model(*model), job.settings['weights'], job.settings)
        xla, shards = job.resources['xla'], job.resources['shards']
        self.engine = start_engine(*model, dtype=job.settings['dtype'], n_shards=shards)
        choose_steps(self.engine, xla, job.resources['batch_size'], job.resources['steps'])

    def make(self, part, items, file):
        start = self.engine.encoder.end_of_text
        batch_size = self.job.resources['batch_size']
        for first in range(part.first, part.end, batch_size):
            prompts = [[start]] * min(batch_size, part.end - first)
            samples = self.engine.generate(prompts, self.settings, first)
            for number, tokens in enumerate(samples, start=first + 1):
                text = self.engine.encoder.decode(tokens)
                ended = has_ended(tokens, self.settings, start)
                file.write(line_of(number, text, tokens, ended, *self.recorded))

    def close(self):
        self.engine.close()
