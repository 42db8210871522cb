#!/usr/bin/env python3
"""A running batch: what a step costs, how much more is generated together, who waits how long.

python benchmarks/batch.py                       # 124M shapes with random weights, a minute
python benchmarks/batch.py --models_dir models --model_name 124M --rows 32
"""

import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
sys.path.insert(0, str(ROOT / 'benchmarks'))

from side_by_side import make_model  # noqa: E402

from generation.continuous import Batch, Request  # noqa: E402
from generation.start import start_engine  # noqa: E402
from support import command_line  # noqa: E402
from support.checks import check_whole  # noqa: E402
from support.settings import Settings  # noqa: E402

PROMPT, LENGTH = 10, 48  # tokens
PROMPTS = 10, 500  # tokens of those who come while others run


def batch_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    rows: int = 16,
    temperature: float = 1,
    dtype: str = 'float32',
):
    """Print times of steps, tokens per second, and times to the first token.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        rows: texts at a time
        temperature: of all texts
        dtype: of the weights
    """
    check_whole('rows', rows, least=2)
    with tempfile.TemporaryDirectory() as folder:
        if models_dir is None:
            models_dir = os.path.join(folder, 'models')
            make_model(models_dir, model_name)
        with start_engine(model_name, models_dir, dtype=dtype) as engine:
            measure(engine, rows, temperature)


def measure(engine, rows, temperature):
    random = np.random.default_rng(0)

    def request(n_prompt=PROMPT, length=LENGTH):
        prompt = random.integers(engine.hparams.n_vocab, size=n_prompt).tolist()
        return Request(prompt, settings=Settings(length, temperature=temperature, seed=1))

    batch = Batch(engine, rows)
    run(batch, [request(64, 4) for _ in range(rows)])  # the first runs are slower
    for n in sorted({1, 4, rows}):
        seconds, inside = steps(engine, batch, [request() for _ in range(n)])
        print(
            f'a step of {n} of {rows} rows: {1e3 * seconds:.1f} ms, of which '
            f'{1e3 * (seconds - inside):.2f} ms outside of TensorFlow',
            flush=True,
        )
    alone = sum(run(batch, [request()]) for _ in range(rows))
    together = run(batch, [request() for _ in range(rows)])
    n = rows * LENGTH
    print(
        f'{rows} requests of {LENGTH} tokens one after the other {n / alone:.1f} tokens/s, '
        f'together {n / together:.1f}: {alone / together:.1f} x',
        flush=True,
    )
    for n_prompt in PROMPTS:
        alone = statistics.median(first_token(batch, request(n_prompt)) for _ in range(5))
        beside = []
        for _ in range(5):
            numbers = [batch.add(request(PROMPT, 400)) for _ in range(rows - 1)]
            for _ in range(10):
                batch.step()
            beside.append(first_token(batch, request(n_prompt)))
            for number in numbers:
                batch.remove(number)
        beside = statistics.median(beside)
        print(
            f'the first token after {n_prompt} tokens: alone {alone:.3f} s, beside {rows - 1} '
            f'texts {beside:.3f} s: {beside / alone:.2f} x',
            flush=True,
        )


def run(batch, requests):
    """The seconds that requests take together."""
    start = time.perf_counter()
    for request in requests:
        batch.add(request)
    while batch.n_running or batch.n_waiting:
        batch.step()
    return time.perf_counter() - start


def steps(engine, batch, requests):
    """The median seconds of a step, and of TensorFlow's run in it."""
    session_run, inside, whole = type(engine.session).run, [], []

    def timed(*arguments):
        start = time.perf_counter()
        result = session_run(engine.session, *arguments)
        inside.append(time.perf_counter() - start)
        return result

    engine.session.run = timed
    for request in requests:
        batch.add(request)
    while batch.n_running or batch.n_waiting:
        before, start = len(inside), time.perf_counter()
        batch.step()
        if len(inside) == before + 1:  # nothing but a step
            whole.append((time.perf_counter() - start, inside[-1]))
    del engine.session.run
    return [statistics.median(times) for times in zip(*whole, strict=True)]


def first_token(batch, request):
    """The seconds from a request to its first token."""
    start = time.perf_counter()
    number = batch.add(request)
    while number not in batch.step():
        pass
    seconds = time.perf_counter() - start
    batch.remove(number)
    return seconds


if __name__ == '__main__':
    command_line.run(batch_benchmark)
