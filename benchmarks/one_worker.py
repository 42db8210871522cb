"""What one worker costs beside a process alone, in samples of the demo model.

    python benchmarks/one_worker.py [--parts 4] [--part_size 768] [--length 256] [--rounds 1]

Both commands run in turn, from their start to their end, and must write the same file. It grows as
samples are made: until it has the first part is the start, with TensorFlow, the model and a first
batch, to which a worker adds the start of Dask and of its own process. What follows are parts one
after the other. The best of all rounds is compared.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16
LOOK_SECONDS = 0.02  # between two looks at the file


def times_of(path, nsamples, part_size, length, *flags):
    """Run the script with its own output.

    Returns seconds until the file has the first part, from then until it has the last one, and from
    then until the command has ended.
    """
    command = [sys.executable, 'src/generate_unconditional_samples.py', '--model_name', 'demo']
    command += ['--seed', 1, '--batch_size', BATCH, '--nsamples', nsamples, '--length', length]
    command += ['--output', path, *flags]
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times = [time.perf_counter()]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, **silent)
    for count in (part_size, nsamples):
        wait_for_lines(path, count, process)
        times.append(time.perf_counter())
    if process.wait():
        raise SystemExit('the command has failed')
    times.append(time.perf_counter())
    return [later - earlier for earlier, later in zip(times, times[1:], strict=False)]


def wait_for_lines(path, count, process):
    """Wait until a file has so many lines, or the process that writes it has ended."""
    while not path.exists() and process.poll() is None:
        time.sleep(LOOK_SECONDS)
    lines = 0
    with open(path, 'rb') as file:
        while lines < count:
            if new := file.read(2**20):
                lines += new.count(b'\n')
            elif process.poll() is None:
                time.sleep(LOOK_SECONDS)
            else:
                raise SystemExit(f'the command has ended with {lines} of {count} samples')


def main(parts, part_size, length, rounds):
    nsamples, found = parts * part_size, {'alone': [], 'one worker': []}
    workers = ['--workers', 1, '--part_size', part_size]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f'{number}.jsonl') for number in range(2)]
            for path, name, flags in zip(paths, found, ([], workers), strict=True):
                found[name].append(times_of(path, nsamples, part_size, length, *flags))
            if paths[0].read_bytes() != paths[1].read_bytes():
                raise SystemExit('the files differ')
    report(found, parts)


def report(found, parts):
    """Print the best times of all rounds: {name: a list of what `times_of` has returned}."""
    rest = {name: min(times[1] for times in rounds) / (parts - 1) for name, rounds in found.items()}
    whole = {name: min(map(sum, rounds)) for name, rounds in found.items()}
    for name, rounds in found.items():
        first, end = (min(times[place] for times in rounds) for place in (0, 2))
        print(
            f'{name}: {first:.1f} s until the first of {parts} parts is there, then '
            f'{rest[name]:.2f} s a part, {end:.1f} s to end; {whole[name]:.1f} s in all'
        )
    per_part, in_all = (each['one worker'] / each['alone'] - 1 for each in (rest, whole))
    more = whole['one worker'] - whole['alone'] - parts * (rest['one worker'] - rest['alone'])
    print(
        f'one worker costs {per_part:+.1%} of a part, and {more:.1f} s to start and end; '
        f'in all {in_all:+.1%}'
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--parts', type=int, default=4, help='two or more')
    parser.add_argument('--part_size', type=int, default=768, help=f'best a multiple of {BATCH}')
    parser.add_argument('--length', type=int, default=256)
    parser.add_argument('--rounds', type=int, default=1)
    main(**vars(parser.parse_args()))
