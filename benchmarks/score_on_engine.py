#!/usr/bin/env python3
"""Scoring with an engine's weights against a Scorer with its own: memory, speed, and both at once.

Each kind runs in a process of its own, from random weights, on the same random tokens: an engine
alone, an engine with Scorer.on(engine), and an engine with another Scorer beside it. Rounds are
interleaved; the first warms up and is not counted. Memory is that of the process.

    python benchmarks/score_on_engine.py            # 124M shapes, two minutes
"""

import pathlib
import statistics
import sys
import tempfile
import threading
import time

import numpy as np
from side_by_side import FLAG, Worker, make_model, measure, serve

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from generation.start import start_engine  # noqa: E402
from support import command_line  # noqa: E402
from support.settings import Settings  # noqa: E402

KINDS = {'alone': 'an engine alone', 'on': 'Scorer.on(engine)', 'own': 'a Scorer of its own'}
NEW = 40  # tokens that are generated


def score_on_engine_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    dtype: str = 'float32',
    n_shards: int = None,
    workloads: str = '2x1000,10x60',
    repeats: int = 2,
):
    """Print memory in MB, and tokens per second that are scored and generated.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        dtype: of the weights
        n_shards: of the engine; None takes as many as are fastest
        workloads: TEXTSxTOKENS, separated by commas; texts are scored one after the other
        repeats: counted rounds
    """
    with tempfile.TemporaryDirectory() as scratch:
        if models_dir is None:
            models_dir = scratch
            make_model(scratch, model_name)
        arguments = (models_dir, model_name, dtype, str(n_shards or ''))
        workers = {kind: Worker(__file__, kind, *arguments) for kind in KINDS}
        for workload in workloads.split(','):
            n, length = map(int, workload.split('x'))
            print(f'{n} texts of {length} tokens', flush=True)
            for kind, answers in measure(workers, {'n': n, 'length': length}, repeats).items():
                print(f'  {KINDS[kind]:20} {line_of(answers)}', flush=True)
        for worker in workers.values():
            worker.close()


def line_of(answers):
    """What was measured of a kind: medians of all rounds but the first, the last one's memory."""
    parts = [f'{answers[0]["loaded"]:,.0f} MB loaded, {answers[-1]["memory"]:,.0f} MB now']
    for name in answers[0]:
        if name not in ('loaded', 'memory'):
            parts.append(f'{name} {statistics.median(each[name] for each in answers[1:]):.1f}')
    return '; '.join(parts)


def memory():
    """Megabytes of this process, on Linux."""
    pages = int(pathlib.Path('/proc/self/statm').read_text('ascii').split()[1])
    return pages * 4096 / 2**20


def work(kind, models_dir, model_name, dtype, n_shards):
    """Answer requests from standard input until it ends."""
    engine = start_engine(model_name, models_dir, dtype=dtype, n_shards=int(n_shards or 0) or None)
    scorer = None
    if kind != 'alone':
        from scoring.scorer import Scorer

        scorer = Scorer.on(engine) if kind == 'on' else Scorer(model_name, models_dir, dtype=dtype)
    loaded = memory()

    def answer(n, length):
        texts = np.random.default_rng(0).integers(engine.hparams.n_vocab, size=[n, length]).tolist()
        told = {'loaded': loaded, 'generated': generated(engine)}
        if scorer is not None:
            told['scored'] = scored(scorer, texts, lambda number: number < n)
            told |= both(engine, scorer, texts)
        return told | {'memory': memory()}

    serve(answer)


def generated(engine):
    """Tokens per second of one text."""
    begin = time.perf_counter()
    engine.generate([[0]], Settings(length=NEW))
    return NEW / (time.perf_counter() - begin)


def scored(scorer, texts, go_on):
    """Tokens per second of texts, again and again, as long as go_on(number of texts)."""
    begin, number, tokens = time.perf_counter(), 0, 0
    while go_on(number):
        text = texts[number % len(texts)]
        scorer.score_document(text)
        number, tokens = number + 1, tokens + len(text)
    return tokens / (time.perf_counter() - begin)


def both(engine, scorer, texts):
    """Tokens per second while a thread scores and this one generates."""
    over, told = threading.Event(), {}

    def score():
        told['scored meanwhile'] = scored(scorer, texts, lambda _: not over.is_set())

    thread = threading.Thread(target=score)
    thread.start()
    told['generated meanwhile'] = generated(engine)
    over.set()
    thread.join()
    return told


if __name__ == '__main__':
    if sys.argv[1:2] == [FLAG]:
        work(*sys.argv[2:])
    else:
        command_line.run(score_on_engine_benchmark)
