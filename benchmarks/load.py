#!/usr/bin/env python3
"""Time and memory to load a model and to generate with it, each model in a process of its own.

    python benchmarks/load.py 124M 1558M --models_dir models

Models of any size can be made at random with src/make_random_model.py. Peak memory is that of the
whole process, TensorFlow included, as the operating system counts it (Linux and macOS).
"""

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

import command_line  # noqa: E402

ROW = '{:>8} {:>9} {:>8} {:>8} {:>14} {:>8} {:>12} {:>9}'


def load_benchmark(*models: str, models_dir: str = 'models', new=32):
    """Print a row for each model.

    Args:
        models: names of models
        models_dir: where they are
        new: tokens to generate, one at a time
    """
    if not models:
        raise ValueError('name at least one model')
    print(
        ROW.format(
            '', 'weights', 'import', 'load', 'process start', 'steady', 'peak memory', 'over'
        )
    )
    print(ROW.format('model', 'GB', 's', 's', 'to token, s', 'tok/s', 'GB', 'weights'))
    for model in models:
        command = [sys.executable, __file__, '--worker', model, models_dir, str(new)]
        subprocess.run(command, check=True, env=os.environ | {'STARTED': str(time.time())})


def work(model, models_dir, new):
    """Load a model, generate, print the row."""
    import resource

    start = time.time()
    with command_line.quiet(), command_line.no_garbage_collection():  # as the scripts do
        from engine import Engine
        from settings import Settings

        imported = time.time()
        engine = Engine(model, models_dir)
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
    times = (imported - start, loaded - imported, first - float(os.environ['STARTED']), speed)
    figures = [
        f'{weights:.2f}',
        *(f'{x:.1f}' for x in times),
        f'{peak:.2f}',
        f'{peak / weights:.2f} x',
    ]
    print(ROW.format(model, *figures), flush=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--worker']:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        command_line.run(load_benchmark)
