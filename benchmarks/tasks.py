#!/usr/bin/env python3
"""Generating for tasks: rows that are refilled, and what prompts share read once.

Prompts are of random tokens in the sizes of two tasks, and answers end where a letter comes up, for
the random model never writes a line end. Compared are `Engine.complete`; the same where no prompt
shares its first token with another, so that each is read whole; and batches one after the other,
each as long as its longest answer. Answers are the same in the first and the last.

    python benchmarks/tasks.py                       # 124M shapes, a few minutes
    python benchmarks/tasks.py --workloads nq --requests 64
"""

import os
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
sys.path.insert(0, str(ROOT / 'benchmarks'))

from side_by_side import make_model  # noqa: E402

from generation.continuous import Request  # noqa: E402
from generation.start import start_engine  # noqa: E402
from generation.text_stream import TextStream  # noqa: E402
from support import command_line  # noqa: E402
from support.settings import Settings  # noqa: E402

LENGTH = 50
STOPS = ['c']  # in every sixth token or so
N_EXAMPLES, N_QUESTION = 200, 12  # tokens of ten example pairs, and of a question
N_STORY, N_TURN, TURNS = 350, 20, 15  # tokens of a story, and of a question with its answer


def nq(n, random):
    """Questions after the same example pairs."""
    examples = random(N_EXAMPLES)
    return [examples + random(N_QUESTION) for _ in range(n)]


def coqa(n, random):
    """Turns of conversations about stories, each after those before it."""
    prompts = []
    while len(prompts) < n:
        text = random(N_STORY)
        for _ in range(TURNS):
            text = text + random(N_TURN)
            prompts.append(text)
    return prompts[:n]


WORKLOADS = {'nq': nq, 'coqa': coqa}


def tasks_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    workloads: str = 'nq,coqa',
    requests: int = 120,
    rows: int = 32,
    repeats: int = 1,
    dtype: str = 'float32',
):
    """Measure requests per second.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        workloads: nq, coqa
        requests: prompts of each
        rows: texts at a time
        repeats: rounds, of which the fastest counts
        dtype: of the weights
    """
    with tempfile.TemporaryDirectory() as folder:
        if models_dir is None:
            models_dir = os.path.join(folder, 'models')
            make_model(models_dir, model_name)
        with start_engine(model_name, models_dir, dtype=dtype) as engine:
            for name in workloads.split(','):
                compare(engine, name, WORKLOADS[name], requests, rows, repeats)


def compare(engine, name, workload, n, rows, repeats):
    generator = np.random.default_rng(0)
    shared = workload(n, lambda size: generator.integers(50000, size=size).tolist())
    apart = [[i, *prompt[1:]] for i, prompt in enumerate(shared)]
    ways = {
        'complete': (complete, shared),
        'complete, nothing shared': (complete, apart),
        'one batch after the other': (in_batches, shared),
    }
    complete(engine, shared[:2], rows)  # builds what runs
    in_batches(engine, shared[:2], rows)
    seconds, tokens = dict.fromkeys(ways, np.inf), {}
    for _ in range(repeats):
        for way, (generate, prompts) in ways.items():
            start = time.perf_counter()
            tokens[way] = generate(engine, prompts, rows)
            seconds[way] = min(seconds[way], time.perf_counter() - start)
    print(f'{name}: {n} prompts of {sum(map(len, shared)) / n:.0f} tokens, {rows} rows')
    for way, n_new in tokens.items():
        ratio = seconds[way] / seconds['complete']
        print(
            f'  {way:26} {n / seconds[way]:6.2f} prompts/s {n_new / seconds[way]:6.1f} new tokens/s'
            f'   complete is {ratio:.2f} x as fast',
            flush=True,
        )


def complete(engine, prompts, rows):
    """The number of new tokens."""
    requests = [Request(prompt, i) for i, prompt in enumerate(prompts)]
    settings = Settings(length=LENGTH, seed=0)
    completed = engine.complete(requests, settings, stops=STOPS, rows=rows)
    return sum(len(completion.tokens) for _, completion in completed)


def in_batches(engine, prompts, rows):
    """The number of new tokens, each batch until its last text has ended."""
    settings, n_new = Settings(length=LENGTH, seed=0), 0
    for first in range(0, len(prompts), rows):
        batch = prompts[first : first + rows]
        texts = [TextStream(engine.encoder, STOPS) for _ in batch]
        for chunk in engine.stream(batch, settings, first, chunk_seconds=0):
            for text, (token,) in zip(texts, chunk.tolist(), strict=True):
                n_new += not text.ended
                text.add([token])
            if all(text.ended for text in texts):
                break
    return n_new


if __name__ == '__main__':
    command_line.run(tasks_benchmark)
