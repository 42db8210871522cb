#!/usr/bin/env python3
"""Time and memory to load a model and to generate with it, each model in a process of its own.

    python benchmarks/load.py 124M 1558M --models_dir models
    python benchmarks/load.py 124M --dtypes float32,bfloat16,int8

A row tells where the seconds from the start of a process to its first token go: to Python and
importing TensorFlow, the tokenizer and the graph, loading the weights, and the first step.

Models of any size can be made at random with src/make_random_model.py. Peak memory is that of the
whole process, TensorFlow included, as the operating system counts it (Linux and macOS).
"""

import itertools
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from fast import check_dtype  # noqa: E402
from loading.model_files import find_model  # noqa: E402
from loading.startup import no_garbage_collection, quiet  # noqa: E402
from support import command_line  # noqa: E402
from support.checks import check_whole  # noqa: E402

ROW = '{:>8} {:>9} {:>10} {:>7} {:>6} {:>6} {:>8} {:>6} {:>7} {:>7} {:>11}'


def load_benchmark(
    *models: str, models_dir: str = 'models', dtypes: str = 'float32', new: int = 32
):
    """Print a row for each model and dtype.

    Args:
        models: names of models
        models_dir: where they are
        dtypes: float32, bfloat16, int8; if no int8 weights are cached beside the checkpoint yet,
            the first process makes them, too
        new: tokens to generate, one at a time
    """
    if not models:
        raise ValueError('name at least one model')
    check_whole('new', new, least=1)
    for model in models:
        find_model(model, models_dir)
    for dtype in dtypes.split(','):
        check_dtype(dtype)
    head = ['', '', 'checkpoint', 'import', 'graph', 'load', '1st step', 'all', 'speed', 'memory']
    print(ROW.format(*head, 'over'))
    print(ROW.format('model', 'dtype', 'GB', *['s'] * 5, 'tok/s', 'GB', 'checkpoint'))
    for model in models:
        for dtype in dtypes.split(','):
            command = [sys.executable, __file__, '--worker', model, models_dir, dtype, str(new)]
            ended = subprocess.run(command, env=os.environ | {'STARTED': str(time.time())})
            if ended.returncode:
                raise ValueError(f'the process of {model} ended with status {ended.returncode}')


def work(model, models_dir, dtype, new):
    """Load a model, generate, print the row."""
    import resource

    with quiet(), no_garbage_collection():  # as the scripts do
        from fast import tune_process
        from generation.engine import Engine
        from support.settings import Settings

        class TimedEngine(Engine):
            def _build(self):
                super()._build()
                self.built = time.time()

        tune_process(large_products=False)
        imported = time.time()
        engine = TimedEngine(model, models_dir, dtype=dtype)
    loaded = time.time()
    engine.generate([[0]], Settings(length=1))
    first = time.time()
    engine.generate([[0]], Settings(length=new))  # prepares what the first token did not need
    begin = time.time()
    engine.generate([[0]], Settings(length=new))
    speed = new / (time.time() - begin)
    unit = 1 if sys.platform == 'darwin' else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    data = pathlib.Path(models_dir, model).glob('*.data-00000-of-00001')
    weights = sum(path.stat().st_size for path in data) / 1e9
    ends = [float(os.environ['STARTED']), imported, engine.built, loaded, first]
    seconds = [end - start for start, end in itertools.pairwise(ends)] + [first - ends[0]]
    figures = [
        f'{weights:.2f}',
        *(f'{x:.1f}' for x in (*seconds, speed)),
        f'{peak:.2f}',
        f'{peak / weights:.2f} x',
    ]
    print(ROW.format(model, dtype, *figures), flush=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--worker']:
        work(*sys.argv[2:5], int(sys.argv[5]))
    else:
        command_line.run(load_benchmark)
