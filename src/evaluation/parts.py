"""Runs of the evaluation in parts, which several processes make. No TensorFlow, but in workers.

What a run is made of, pieces of a task or prompts, is cut by each process for itself from the data
sets, and an item is no more than [name of the run, number of the piece or prompt]. A piece is what
one process scores between two savings, so that rows are the same, to the last bit.
"""

import contextlib
import itertools
import json
import os
import shutil
import time

from cluster.made import made_parts
from cluster.parts import Job, Worker
from evaluation.generating import Generated
from evaluation.generating_run import finish_texts, generate_some, opened_texts
from evaluation.runs import Run, finish, pieces, read_examples, read_pairs, rows_of, runs_of
from fast import shards_of_file
from generation.start import start_engine
from scoring.parts import model_of, model_settings, scorer_of
from scoring.windows import Cutter

PIECES = 4  # of a task, of runs.PIECE_TOKENS each, or less: a part at most
PROMPTS = 64  # of a part at most


def settings_of_job(runs, origin, models_dir):
    """What decides the rows and texts of runs, as settings of a job.

    origin: of their results, see zero_shot.py.
    """
    return {
        **model_settings(origin['model'], models_dir, origin['dtype']),
        'limit': origin['limit'],
        'any_size': origin['any_size'],
        'context': origin['settings']['context'],
        'strides': origin['settings']['stride'],
        'runs': [[run.name, run.data, run.choices] for run in runs],  # their order numbers items
    }


class RunsWorker(Worker):
    """What both kinds of workers have: the runs of a job, read from this machine's data sets.

    resources: data_dir, models_dir.  It keeps one run at a time, since items come run by run.
    """

    def __init__(self, job):
        super().__init__(job)
        self.kept = None, None  # the name of a run, and what made_of returns

    def made_of(self, name):
        """The run of a name, and what its items count."""
        if self.kept[0] != name:
            self.kept = None, None  # before another one is in memory, too
            run = self._run(name)
            self.kept = name, (run, self.cut(run))
        return self.kept[1]

    def _run(self, name):
        settings = self.job.settings
        [(data, choices)] = [more for its_name, *more in settings['runs'] if its_name == name]
        task, data_dir = name.partition('@')[0], self.job.resources['data_dir']
        complete = not settings['any_size']
        runs = runs_of(
            [task],
            read_examples([task], data_dir, complete),
            settings['context'],
            settings['strides'],
            settings['limit'],
            read_pairs([task], data_dir, complete),
            {task: choices},
        )
        [run] = [run for run in runs if run.name == name]
        if run.data != data:
            raise ValueError(f'{data_dir} has other examples of {task} than the job is for')
        return run


class ScoringWorker(RunsWorker):
    """Makes parts of pieces of runs that score: a line of JSON for each, its rows and seconds."""

    unit = 'pieces'

    def __init__(self, job):
        super().__init__(job)
        self.scorer = scorer_of(job)

    def cut(self, run):
        return list(pieces(run.parts(self.scorer)))

    def make(self, part, items, file):
        for name, number in items:
            run, of_run = self.made_of(name)
            start = time.perf_counter()
            rows = rows_of(run.task, self.scorer, of_run[number])
            seconds = time.perf_counter() - start
            file.write(json.dumps({'rows': rows, 'seconds': seconds}).encode('ascii') + b'\n')

    def close(self):
        self.scorer.close()


class GeneratingWorker(RunsWorker):
    """Makes parts of prompts of runs that generate: a line of JSON for each, its Generated.

    resources: batch_size, too.
    """

    unit = 'prompts'

    def __init__(self, job):
        super().__init__(job)
        dtype = job.settings['dtype']
        shards, _ = shards_of_file(None, dtype)
        self.engine = start_engine(*model_of(job), dtype=dtype, n_shards=shards)

    def cut(self, run):
        return run.prompts(self.engine.encoder)

    def make(self, part, items, file):
        rows = self.job.resources['batch_size']
        for name, some in itertools.groupby(items, key=lambda item: item[0]):
            run, prompts = self.made_of(name)
            todo = [(number, prompts[number]) for _, number in some]
            made = generate_some(self.engine, todo, run.choices, rows=rows)
            texts = {prompt.id: text for prompt, text in made}
            for _, prompt in todo:
                file.write(json.dumps(texts[prompt.id]._asdict()).encode('ascii') + b'\n')

    def close(self):
        self.engine.close()


def stem_of(results):
    """What the folder of parts is beside, of a ResultsFile."""
    return results.path.removesuffix('.json')


def forget_parts(results, spread):
    """Remove what earlier runs have made in parts."""
    folder = spread.folder(stem_of(results))
    for worker in (ScoringWorker, GeneratingWorker):
        shutil.rmtree(os.path.join(folder, worker.unit), ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not there, or holds something else
        os.rmdir(folder)


def run_all_in_parts(runs, encoder, hparams, results, origin, resources, spread):
    """Do what runs.run_all does, with rows and texts that workers make.

    runs: all that are wanted, also those that are finished: they belong to the job from its start.
    results: ResultsFile.  origin: of it.  resources: of the jobs, see the workers.
    spread: flags.Spread.
    """

    @contextlib.contextmanager
    def made(worker, of_kind, items, done, at_most):
        """{(name, number): what its line holds} of all items but the first `done`."""
        settings = settings_of_job(of_kind, origin, resources['models_dir'])
        job = Job(f'{__name__}:{worker.__name__}', settings, resources)
        path = os.path.join(spread.folder(stem_of(results)), worker.unit)
        with made_parts(spread, path, job, items, at_most, None, worker.unit, done) as folder:
            yield lines_of(folder, items)
        with contextlib.suppress(OSError):  # the other kind's parts are there, too
            os.rmdir(os.path.dirname(path))

    scoring = [run for run in runs if isinstance(run, Run)]
    generating = finished_first([run for run in runs if run not in scoring], results)
    to_generate = [run for run in generating if run.name not in results.tasks]
    with opened_texts(to_generate, encoder, results) as work:  # refused before hours of scoring
        if any(run.name not in results.tasks for run in scoring):
            score_in_parts(scoring, Cutter(encoder, hparams), results, made)
        if work:
            generate_in_parts(generating, work, encoder, results, made)


def score_in_parts(runs, cutter, results, made):
    """Score what is not scored yet, and write the figures of each task."""
    runs = finished_first(runs, results)
    cut = {run.name: list(pieces(run.parts(cutter))) for run in runs}
    todo = [run for run in runs if run.name not in results.tasks]
    items = [[run.name, number] for run in runs for number in range(len(cut[run.name]))]
    done = len(items) - sum(len(cut[run.name]) for run in todo)
    with opened_progress(todo[0], cut[todo[0].name], results) as progress:
        done += n_pieces(cut[todo[0].name], progress)
    with made(ScoringWorker, runs, items, done, at_most=PIECES) as found:
        for run in todo:
            of_run = cut[run.name]
            with opened_progress(run, of_run, results) as progress:
                for number in range(n_pieces(of_run, progress), len(of_run)):
                    piece = found[run.name, number]
                    progress.add(piece['rows'], piece['seconds'])
            finish(run, progress, results)


def opened_progress(run, of_run, results):
    return results.progress(run.name, run.data, len(run.task.columns), sum(map(len, of_run)))


def n_pieces(of_run, progress):
    """How many of a run's pieces have their rows in its Progress."""
    ends = itertools.accumulate(map(len, of_run))
    return sum(end <= len(progress.rows) for end in ends)


def generate_in_parts(runs, work, encoder, results, made):
    """Generate what is not there yet, and write the figures of each task.

    runs: those that are finished first.  work: the Work of all others.
    """
    n_prompts = {one.run.name: len(one.prompts) for one in work}
    for run in runs[: len(runs) - len(work)]:
        n_prompts[run.name] = len(run.prompts(encoder))
    items = [[run.name, number] for run in runs for number in range(n_prompts[run.name])]
    done = len(items) - sum(n_prompts[one.run.name] for one in work)
    nothing = contextlib.nullcontext({})  # baselines have no prompts
    with made(GeneratingWorker, runs, items, done, PROMPTS) if items else nothing as found:
        for one in work:
            if one.texts is not None:
                one.texts.start()
                for number, _ in one.todo:
                    one.texts.add(Generated(**found[one.run.name, number]))
            finish_texts(one, results)


def finished_first(runs, results):
    """Runs in the order in which they are or will be finished: it stays that of the job's start."""
    places = {name: place for place, name in enumerate(results.tasks)}
    return sorted(runs, key=lambda run: places.get(run.name, len(places)))


def lines_of(folder, items):
    """{item, a tuple: what its line holds} of all parts of a PartsFolder that are needed."""
    found = {}
    for part in folder.parts():
        if part.end > folder.done:
            with open(folder.path_of(part), encoding='ascii') as file:
                pairs = zip(items[part.first : part.end], file, strict=True)
                found |= {tuple(item): json.loads(line) for item, line in pairs}
    return found
