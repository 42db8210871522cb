#!/usr/bin/env python3
"""A server's speed for clients that ask at the same time, against one request after another.

The server is src/serve.py in a process of its own; with --llama_server also llama.cpp's on a GGUF
file of the same weights, in turn with ours. Prompts are random tokens, no two alike; answers are
streamed and sampled from the 40 most likely tokens. Each number of clients sends the same requests,
one client one after another. Rounds are interleaved, so that a busy machine slows all alike; the
first of each server warms up and is not counted. Only ratios of one run mean anything.

    python benchmarks/serve.py                      # 124M shapes, random weights, some minutes
    python benchmarks/serve.py --llama_server ~/llama.cpp/build/bin/llama-server
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))
sys.path.insert(0, str(ROOT / 'benchmarks'))

from side_by_side import make_model  # noqa: E402

from hparams import read_hparams  # noqa: E402
from support import command_line  # noqa: E402

SAMPLING = {'temperature': 1, 'top_k': 40, 'top_p': 1, 'min_p': 0}
SECONDS = 300  # that a server may take to load
PROBES = 7  # requests whose first token is timed
RUNNING = re.compile(r'^gpt2_running (\S+)', re.MULTILINE)  # in /metrics


def serve_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    clients: str = '1,4,16',
    workloads: str = '10+64,512+32',
    requests: int = 32,
    repeats: int = 2,
    dtype: str = 'float32',
    llama_server: str = None,
):
    """Measure tokens per second and the time to the first token.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        clients: numbers of clients, separated by commas
        workloads: PROMPT+NEW tokens, separated by commas
        requests: that all clients together send
        repeats: counted rounds
        dtype: of the weights here
        llama_server: path of llama.cpp's server, to compare with; it gets float32 weights
    """
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        if models_dir is None:
            models_dir = scratch
            make_model(scratch, model_name)
        hparams = read_hparams(os.path.join(models_dir, model_name, 'hparams.json'))
        counts, rows = [int(n) for n in clients.split(',')], max(map(int, clients.split(',')))
        servers = {'ours': stack.enter_context(our_server(models_dir, model_name, dtype, rows))}
        if llama_server is not None:
            model = os.path.join(models_dir, model_name)
            peer = llama(llama_server, model, scratch, rows, hparams.n_ctx)
            servers['llama-server'] = stack.enter_context(peer)
        random = np.random.default_rng(0)

        def prompts(n, size):
            return random.integers(hparams.n_vocab - 1, size=(n, size)).tolist()

        for workload in workloads.split(','):
            size, new = map(int, workload.split('+'))
            print(f'\nprompts of {size} tokens, {new} new ones, {requests} requests', flush=True)
            compare(servers, counts, lambda n, size=size: prompts(n, size), new, requests, repeats)
            for name, address in servers.items():
                first_while_others_run(name, address, prompts, size, rows - 1, hparams.n_ctx)
        print()
        leaving(servers['ours'], prompts, rows, hparams.n_ctx)


def compare(servers, counts, prompts, new, n, repeats):
    """Print a line for each server and number of clients."""
    speeds, firsts = {}, {}
    for round_ in range(repeats + 1):
        for count in counts if round_ else counts[-1:]:
            for name, address in servers.items():
                speed, first = at_once(address, prompts(n), new, count)
                if round_:
                    speeds.setdefault((name, count), []).append(speed)
                    firsts.setdefault((name, count), []).extend(first)
    for (name, count), values in speeds.items():
        speed, first = statistics.median(values), sorted(firsts[name, count])
        line = f'  {count:3} clients  {name:12} {speed:7.1f} tok/s   first token '
        line += f'{statistics.median(first) * 1000:6.0f} ms (95 % within '
        line += f'{first[int(0.95 * (len(first) - 1))] * 1000:.0f})'
        if count != counts[0]:
            line += f'   {speed / statistics.median(speeds[name, counts[0]]):.2f} x {counts[0]}'
        if name != 'ours':
            line += f'   ours is {statistics.median(speeds["ours", count]) / speed:.2f} x as fast'
        print(line, flush=True)


def at_once(address, prompts, new, n_clients):
    """(tokens per second, seconds to each first token) of requests from so many clients."""
    with ThreadPoolExecutor(n_clients) as pool:
        begin = time.perf_counter()
        answers = list(pool.map(lambda prompt: ask(address, prompt, new), prompts))
        seconds = time.perf_counter() - begin
    return sum(a.tokens for a in answers) / seconds, [a.first for a in answers]


def first_while_others_run(name, address, prompts, size, n_others, n_ctx):
    """Print how long the first token of a request takes alone, and while others run."""

    def median(prompt_size):
        times = [ask(address, p, 1).first for p in prompts(PROBES, prompt_size)]
        return statistics.median(times[1:])

    shortest, alone = median(1), median(size)
    with others(address, prompts(n_others, 10), n_ctx - 10) as threads:
        busy = median(size)
        if not all(thread.is_alive() for thread in threads):
            print('  some of the others have ended early', flush=True)
    prefill = max(alone - shortest, 0)
    print(
        f'  first token  {name:12} alone {alone * 1000:.0f} ms, of them {prefill * 1000:.0f} '
        f'prefill; while {n_others} run {busy * 1000:.0f} ms: {busy / alone:.2f} x alone, '
        f'{busy / (alone + prefill):.2f} x alone and prefill',
        flush=True,
    )


def leaving(address, prompts, n, n_ctx):
    """Print how long the row of a client that hangs up stays taken."""
    times = []
    for _ in range(PROBES):
        with others(address, prompts(n - 1, 10), n_ctx - 10):
            with others(address, prompts(1, 10), n_ctx - 10):
                before, begin = running(address), time.perf_counter()
            while running(address) >= before:
                if time.perf_counter() - begin > 10:
                    raise ValueError('the row of a client that left is not free after 10 s')
            times.append(time.perf_counter() - begin)
        while running(address):
            time.sleep(0.01)
    print(
        f'of {n} clients one leaves: its row is free after {statistics.median(times) * 1000:.0f} '
        f'ms (at most {max(times) * 1000:.0f})',
        flush=True,
    )


def running(address):
    """Requests that run in our server."""
    with urllib.request.urlopen(f'{address}/metrics') as answer:
        return float(RUNNING.search(answer.read().decode())[1])


@contextlib.contextmanager
def others(address, prompts, new):
    """Threads of clients, each with a text that grows meanwhile; then they leave."""
    leave, begun = threading.Event(), [threading.Event() for _ in prompts]
    threads = [
        threading.Thread(target=ask, args=(address, prompt, new, leave, event))
        for prompt, event in zip(prompts, begun, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        for event in begun:
            event.wait(60)
        yield threads
    finally:
        leave.set()
        for thread in threads:
            thread.join()


class Answer(typing.NamedTuple):
    first: float  # seconds to the first text
    tokens: int


def ask(address, prompt, new, leave=None, begun=None):
    """Stream a completion. leave, begun: events, when to hang up and that it has begun."""
    body = {'prompt': prompt, 'max_tokens': new, 'seed': 0, 'stream': True}
    body |= SAMPLING | {'stream_options': {'include_usage': True}}
    first, tokens = None, 0
    connection = http.client.HTTPConnection(address.removeprefix('http://'), timeout=SECONDS)
    with contextlib.closing(connection):
        begin = time.perf_counter()
        headers = {'Content-Type': 'application/json'}
        connection.request('POST', '/v1/completions', json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f'{address} answers {response.status}: {response.read().decode()}')
        for line in response:
            if leave is not None and leave.is_set():
                break
            if line.startswith(b'data: {'):
                chunk = json.loads(line.removeprefix(b'data: '))
                if first is None:
                    first = time.perf_counter() - begin
                    if begun is not None:
                        begun.set()
                tokens = (chunk.get('usage') or {}).get('completion_tokens', tokens)
        response.close()
    return Answer(first, tokens)


@contextlib.contextmanager
def our_server(models_dir, model_name, dtype, rows):
    """The address of our server."""
    flags = ['--models_dir', models_dir, '--model_name', model_name, '--dtype', dtype]
    command = [sys.executable, ROOT / 'src' / 'serve.py', *flags, '--rows', str(rows), '--port']
    with started([*command, '0'], stdout=subprocess.PIPE, encoding='utf-8') as process:
        line = process.stdout.readline()
        if not line:
            raise ValueError('our server has not started')
        yield re.search(r'http://[^/]+', line)[0]


@contextlib.contextmanager
def llama(program, model, scratch, rows, n_ctx):
    """The address of llama.cpp's server on the same weights."""
    weights = os.path.join(scratch, 'model.gguf')
    convert = [sys.executable, ROOT / 'src' / 'convert.py', model, weights]
    subprocess.run(convert, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = str(free.getsockname()[1])
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1)
    flags = ['--parallel', str(rows), '--ctx-size', str(rows * n_ctx), '--threads', cores]
    command = [program, '--model', weights, '--port', port, *flags]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        address = f'http://127.0.0.1:{port}'
        wait_for(address, process)
        yield address


def wait_for(address, process):
    """Return once a server says that it has loaded."""
    for _ in range(10 * SECONDS):
        if process.poll() is not None:
            raise ValueError(f'{address} ended with status {process.returncode}')
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f'{address}/health') as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)
    raise ValueError(f'{address} has not loaded in {SECONDS} seconds')


@contextlib.contextmanager
def started(command, **pipes):
    process = subprocess.Popen(command, **pipes)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == '__main__':
    command_line.run(serve_benchmark)
