"""How much memory the driver and two workers take for a large corpus: score.py and overlap.py.

    python benchmarks/parts_memory.py [--megabytes 20,200] [--scripts score,overlap] [--parts 4]

Writes records of text into a temporary folder and starts the script with `--workers 2`. score.py
is interrupted when some parts are there: until then the driver has read all of the corpus, and each
worker has made parts as large as all others. overlap.py runs to its end.
"""

import argparse
import json
import random
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    'score': ['--tokens', 'tokens.jsonl'],
    'overlap': ['test.jsonl', '--filter', 'filter'],
}
RECORD_WORDS = 400


def write_records(path, n_bytes):
    """Write a .jsonl file of about so many bytes: words in a row of this project's guides."""
    guides = [file.read_text('utf-8') for file in ROOT.rglob('README.md')]
    words = re.findall(r'\S+', ' '.join(sorted(guides)))
    draw = random.Random(0)
    with open(path, 'w', encoding='utf-8') as file:
        while file.tell() < n_bytes:
            first = draw.randrange(len(words) - RECORD_WORDS)
            text = ' '.join(words[first : first + RECORD_WORDS])
            file.write(json.dumps({'text': text}, ensure_ascii=False) + '\n')


def peak(pid):
    """The most memory that a process has had so far, in bytes; 0 if it has gone."""
    try:
        status = Path(f'/proc/{pid}/status').read_text(encoding='utf-8')
    except OSError:
        return 0
    found = re.search(r'^VmHWM:\s+(\d+)', status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def unnamed(pid):
    """The bytes of the files without a name that a process has open."""
    try:
        stats = [file.stat() for file in Path(f'/proc/{pid}/fd').iterdir() if file.exists()]
    except OSError:
        return 0
    return sum(each.st_size for each in stats if stat.S_ISREG(each.st_mode) and not each.st_nlink)


def workers_of(pid):
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in children if 'spawn_main' in ' '.join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def measure(script, folder, n_parts):
    """Run a script in a folder with corpus.jsonl.

    Returns a line: the peaks of the driver, of the largest worker and of the driver's files that
    have no name, the seconds until the first part was there, and how many parts there were at most.
    """
    command = [sys.executable, ROOT / 'src' / f'{script}.py', 'corpus.jsonl', *SCRIPTS[script]]
    command += ['--model_name', 'demo', '--models_dir', ROOT / 'models', '--workers', '2']
    start, first, most = time.perf_counter(), 0, 0
    driver, workers, disk = 0, {}, 0
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        driver, disk = max(driver, peak(process.pid)), max(disk, unnamed(process.pid))
        for pid in workers_of(process.pid):
            workers[pid] = max(workers.get(pid, 0), peak(pid))
        there = len(list(Path(folder).glob('*.parts/**/*.part')))
        most = max(most, there)
        if there and not first:
            first = time.perf_counter() - start
        if script == 'score' and there >= n_parts:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.05)
    process.wait()
    worker = max(workers.values(), default=0)
    return (
        f'driver {driver / 1e6:,.0f} MB, a worker {worker / 1e6:,.0f} MB, '
        f'on the disk {disk / 1e6:,.0f} MB; first part after {first:.0f} s, then {most} there'
    )


def main(megabytes, scripts, parts):
    for size in map(int, megabytes.split(',')):
        for script in scripts.split(','):
            with tempfile.TemporaryDirectory() as folder:
                write_records(Path(folder, 'corpus.jsonl'), size * 10**6)
                write_records(Path(folder, 'test.jsonl'), 10**5)
                line = measure(script, folder, parts)
            print(f'{script}.py, {size} MB: {line}', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--megabytes', default='20,200', help='sizes, with commas between')
    parser.add_argument('--scripts', default='score,overlap')
    parser.add_argument('--parts', type=int, default=4, help='of score.py, then it is interrupted')
    main(**vars(parser.parse_args()))
