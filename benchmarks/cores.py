#!/usr/bin/env python3
"""How many tensor-parallel shards are fastest on so many cores: what the rule of fast/shards.py is
decided by.

For each number of cores, processes that are bound to so many of them generate in turn: one with
layers as a whole, the others in 2, 4, 8 and 16 shards. Speeds are medians of tokens per second; the
first round warms up. Linux only, where a process can be bound to cores.

    python benchmarks/cores.py                       # 1, 2, 4, 8, 16 cores, as far as there are any
    python benchmarks/cores.py --cores 8 --dtypes int8 --batches 1
"""

import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
sys.path.insert(0, str(ROOT / 'benchmarks'))

from side_by_side import FLAG, Worker, make_model, measure, report, serve  # noqa: E402

from fast import check_dtype  # noqa: E402
from hparams import read_hparams  # noqa: E402
from loading.model_files import find_model  # noqa: E402
from loading.startup import quiet  # noqa: E402
from support import command_line  # noqa: E402
from support.checks import check_whole  # noqa: E402

NUMBERS = 1, 2, 4, 8, 16  # of cores and of shards
NEW = {1: 64, 8: 32}  # tokens of each text for batches of up to so many texts
FEW_NEW = 16  # for larger batches


def cores_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    cores: str = None,
    dtypes: str = 'float32,int8',
    batches: str = '1,32',
    repeats: int = 3,
):
    """Measure tokens per second by cores and shards.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        cores: numbers of cores, with commas between; None takes 1, 2, 4, 8 and 16 as far as there
            are any
        dtypes: of the weights
        batches: texts at a time
        repeats: counted rounds
    """
    if not hasattr(os, 'sched_setaffinity'):
        raise ValueError('this system cannot bind a process to some of its cores')
    available = sorted(os.sched_getaffinity(0))
    numbers = [n for n in NUMBERS if n <= len(available)] if cores is None else wholes(cores)
    if max(numbers) > len(available):
        raise ValueError(f'there are {len(available)} cores here, not {max(numbers)}')
    sizes, dtypes = wholes(batches), dtypes.split(',')
    for dtype in dtypes:
        check_dtype(dtype)
    check_whole('repeats', repeats, least=1)
    with tempfile.TemporaryDirectory() as folder:
        if models_dir is None:
            models_dir = os.path.join(folder, 'models')
            make_model(models_dir, model_name)
        hparams = read_hparams(os.path.join(find_model(model_name, models_dir), 'hparams.json'))
        for n in numbers:
            some = ','.join(map(str, available[:n]))
            shards = [s for s in NUMBERS if s <= max(n, 2) and s <= hparams.n_head]
            for dtype in dtypes:
                compare(n, dtype, some, shards, sizes, repeats, models_dir, model_name)


def compare(n, dtype, some, shards, sizes, repeats, *model):
    """Print the speeds on n cores, whose numbers `some` tells, for each number of shards."""
    workers = {
        'whole' if s == 1 else f'{s} shards': Worker(__file__, some, dtype, str(s), *model)
        for s in shards
    }
    for batch in sizes:
        new = next((new for most, new in NEW.items() if batch <= most), FEW_NEW)
        print(f'\n{n} core{"s" * (n > 1)}, {dtype}, batch {batch}, {new} new', flush=True)
        answers = measure(workers, {'batch': batch, 'new': new}, repeats)
        speeds = report(batch * new, answers)
        best = max(speeds, key=speeds.get)
        print(f'  fastest: {best}, {speeds[best] / speeds["whole"]:.2f} x as fast as whole')
    for worker in workers.values():
        worker.close()


def wholes(text):
    """The whole numbers in a text such as '1,32'."""
    numbers = [int(word) if word.isdecimal() else word for word in str(text).split(',')]
    for number in numbers:
        check_whole('each number', number, least=1)
    return numbers


def work(some, dtype, n_shards, models_dir, model_name):
    """Answer requests on some cores alone, whose numbers have commas between."""
    os.sched_setaffinity(0, set(map(int, some.split(','))))
    with quiet():
        from generation.start import start_engine
        from support.settings import Settings

        engine = start_engine(model_name, models_dir, dtype=dtype, n_shards=int(n_shards))

    def answer(batch, new):
        start = time.perf_counter()
        list(engine.stream([[1000]] * batch, Settings(length=new, seed=0), chunk_seconds=1))
        return {'seconds': time.perf_counter() - start}

    serve(answer)


if __name__ == '__main__':
    if sys.argv[1:2] == [FLAG]:
        work(*sys.argv[2:])
    else:
        command_line.run(cores_benchmark)
