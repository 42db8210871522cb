"""What one worker costs beside a process alone, in samples of the demo model.

    python benchmarks/one_worker.py [--nsamples 896] [--part_size 896] [--rounds 1]

Both commands run from their start to their end, one after the other, and must write the same file;
so the overhead has the start of Dask and of the worker in it. The best of all rounds is compared.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16


def seconds_of(path, nsamples, *flags):
    """Run the script with its own output; returns seconds."""
    command = [sys.executable, 'src/generate_unconditional_samples.py', '--model_name', 'demo']
    command += ['--seed', 1, '--batch_size', BATCH, '--nsamples', nsamples, '--output', path]
    start = time.perf_counter()
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([*map(str, command), *map(str, flags)], cwd=ROOT, check=True, **silent)
    return time.perf_counter() - start


def main(nsamples, part_size, rounds):
    alone, shared = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            paths = Path(folder, 'alone.jsonl'), Path(folder, 'shared.jsonl')
            alone.append(seconds_of(paths[0], nsamples))
            shared.append(seconds_of(paths[1], nsamples, '--workers', 1, '--part_size', part_size))
            if paths[0].read_bytes() != paths[1].read_bytes():
                raise SystemExit('the files differ')
    n_parts = -(-nsamples // part_size)
    print(
        f'{nsamples} samples: alone {min(alone):.1f} s; one worker, in {n_parts} part(s), '
        f'{min(shared):.1f} s: {min(shared) / min(alone) - 1:+.1%}'
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--nsamples', type=int, default=896)
    parser.add_argument('--part_size', type=int, default=896)
    parser.add_argument('--rounds', type=int, default=1)
    main(**vars(parser.parse_args()))
