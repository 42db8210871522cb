#!/usr/bin/env python3
"""Decoding speed against other engines: CTranslate2, transformers, llama.cpp, a loop as in 2019.

Every engine runs in a process of its own on a random checkpoint of the same shape and samples from
the whole distribution. Rounds are interleaved, so that a busy machine slows all alike; the first
round warms up and is not counted. Speeds are medians of tokens per second; only their ratios, taken
in one run, mean anything.

    python benchmarks/decode.py                      # 124M shapes, three quarters of an hour
    python benchmarks/decode.py --quick              # three minutes, without first tokens
    python benchmarks/decode.py --profile int8       # where a token's time goes, by operation
    python benchmarks/decode.py --growth int8        # whether later tokens take longer
"""

import collections
import concurrent.futures
import functools
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

import decode_peers
import numpy as np
from decode_peers import read_sizes
from side_by_side import FLAG, Worker, make_model, measure, peak_memory, report, serve

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from fast import DTYPES  # noqa: E402
from loading.startup import quiet  # noqa: E402
from support import command_line  # noqa: E402

# A workload is BATCHxPROMPT+NEW; with it the engines for which it is worth the time.
OURS = ('ours', 'ours-int8')
XLA = 'ours.xla'  # by steps that XLA compiles
PEERS = ('ctranslate2', 'ctranslate2-int8')
LLAMA_CPP = ('llama.cpp', 'llama.cpp-int8') if decode_peers.has_llama_cpp() else ()
WORKLOADS = {
    '1x1+128': (*OURS, 'ours-bfloat16', *PEERS, *LLAMA_CPP, 'transformers', 'concat'),
    '1x100+900': (*OURS, *PEERS, *LLAMA_CPP, 'concat'),
    '8x1+128': (*OURS, XLA, *PEERS, 'transformers'),
    '8x1+512': (*OURS, XLA, *PEERS),
    '32x1+64': (*OURS, XLA, *PEERS),
    '64x1+32': (*OURS, XLA, *PEERS, 'transformers'),
    '1x1000+1': (*OURS, *PEERS, *LLAMA_CPP, 'transformers'),
}
QUICK = {
    '1x1+128': (*OURS, *PEERS, 'transformers'),
    '32x1+64': (*OURS, *PEERS),
    '1x1000+1': (*OURS, *PEERS, 'transformers'),
}
SCALES_OF_LLAMA_CPP = 2 / 32  # bytes a weight more in int8


def decode_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    workloads: str = None,
    engines: str = None,
    repeats: int = 5,
    starts: int = 3,
    quick: bool = False,
    profile: str = None,
    growth: str = None,
    output: str = None,
):
    """Measure tokens per second for each workload and engine, and the time to a first token.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        workloads: BATCHxPROMPT+NEW, separated by commas; None takes all that this file names
        engines: ours, ours-bfloat16, ours-int8, ours.xla (--xla), ours.whole (without shards),
            ctranslate2, ctranslate2-int8, transformers, llama.cpp, llama.cpp-int8 (q8_0; batch 1),
            transformers-bfloat16, concat (the 2019 loop on today's TensorFlow); None takes what
            suits each workload, llama.cpp where its package is installed
        repeats: counted rounds
        starts: processes started to measure the time to a first token; 0 leaves that out
        quick: three workloads, two rounds and no start
        profile: measure no speed; print what one token takes by operation, in this dtype, alone or
            in each of the workloads
        growth: the same for what a token takes at position 10 and at position 1,000
        output: write the medians to NAME.json, and a plot of them to NAME.png
    """
    if quick:
        repeats, starts = min(repeats, 2), 0
    suited = WORKLOADS | QUICK if quick else WORKLOADS
    names = workloads.split(',') if workloads else list(QUICK if quick else WORKLOADS)
    asked = engines.split(',') if engines else []
    check(names, asked)
    chosen = {name: asked or suited.get(name, OURS + PEERS) for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        if models_dir is None:
            models_dir = scratch
            make_model(scratch, model_name)
        if profile:
            for workload in workloads.split(',') if workloads else ['1x1+64']:
                print_table('profile', parse(workload), models_dir, model_name, profile)
        if growth:
            print_table('growth', {}, models_dir, model_name, growth)
        if profile or growth:
            return
        bandwidth = read_bandwidth()
        print(f'memory is read at {bandwidth:.1f} GB/s')
        figures = {'bandwidth': bandwidth, 'speeds': {}}
        for engine in sorted(set().union(*chosen.values())):
            if engine.partition('-')[0] in decode_peers.WITH_FILES:
                # The first one writes its file, for which it takes memory that is not to count.
                Worker(__file__, engine, models_dir, model_name, scratch).close()
        for name in names:
            workers = start(chosen[name], models_dir, model_name, scratch)
            figures['speeds'][name] = compare(name, workers, repeats, bandwidth)
        if starts:
            starting = asked or WORKLOADS['1x1+128']
            figures['starts'] = report_starts(starting, models_dir, model_name, scratch, starts)
    print(f'\n{table(figures["speeds"])}')
    if output:
        write(figures, output)


def print_table(what, request, *model):
    """Print what a worker finds that measures no speed; model: where it is, its name, its dtype."""
    worker = Worker(__file__, what, *model)
    print(worker.measure(request)['table'])
    worker.close()


def check(workloads, engines):
    """Raise ValueError for names that mean nothing, before anything is started."""
    for workload in workloads:
        if not re.fullmatch(r'[1-9]\d*x[1-9]\d*\+[1-9]\d*', workload):
            raise ValueError(f'a workload is BATCHxPROMPT+NEW, such as 8x1+128, not {workload!r}')
    for engine in engines:
        name, dash, dtype = engine.partition('-')
        if name not in ENGINES or (dash and dtype not in DTYPES):
            raise ValueError(f'there is no engine {engine!r}: take some of {", ".join(ENGINES)}')
        if name == 'llama.cpp' and not LLAMA_CPP:
            raise ValueError('llama.cpp is not there: pip install gguf llama-cpp-python')


def start(engines, models_dir, model_name, scratch):
    return {name: Worker(__file__, name, models_dir, model_name, scratch) for name in engines}


def compare(name, workers, repeats, bandwidth):
    """Measure and print one workload; the medians in tokens per second by engine."""
    load = parse(name)
    print(f'\n{described(name)}', flush=True)
    answers = measure(workers, load, repeats)
    for worker in workers.values():
        worker.close()

    def note(answer):
        peak = f'  {answer["peak"] / 1e9:4.1f} GB'
        if load['batch'] > 1 or load['new'] == 1:
            return peak
        read = answer['weights'] * load['new'] / answer['seconds'] / 1e9
        return f'{peak}  {read:5.1f} GB/s of weights, {read / bandwidth:4.0%}'

    tokens = load['batch'] * (load['new'] if load['new'] > 1 else load['prompt'])
    return report(tokens, answers, note, rival)


def parse(workload):
    batch, _, rest = workload.partition('x')
    prompt, _, new = rest.partition('+')
    return {'batch': int(batch), 'prompt': int(prompt), 'new': int(new)}


def read_bandwidth(gigabytes=1):
    """How fast all cores together read memory, in GB/s: the median of several sums of an array."""
    n = os.cpu_count()
    parts = np.array_split(np.ones(gigabytes * 2**28, np.float32), n)
    seconds = []
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        for _ in range(7):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            seconds.append(time.perf_counter() - start)
    return gigabytes * 2**30 / statistics.median(seconds) / 1e9


def report_starts(names, models_dir, model_name, scratch, starts):
    print('\nprocess start to first token')
    medians = {}
    for name in names:
        seconds = []
        for _ in range(starts + 1):
            begin = time.perf_counter()
            worker = Worker(__file__, name, models_dir, model_name, scratch)
            worker.measure({'batch': 1, 'prompt': 1, 'new': 1})
            seconds.append(time.perf_counter() - begin)
            worker.close()
        medians[name] = statistics.median(seconds[1:])
        print(f'  {name:16} {medians[name]:5.2f} s', flush=True)
    return medians


def table(speeds):
    """The medians in Markdown, with how many times as fast ours is in the dtype of each peer."""
    engines = list(dict.fromkeys(engine for medians in speeds.values() for engine in medians))
    lines = [['tokens/s', *engines], ['---'] * (1 + len(engines))]
    for workload, medians in speeds.items():
        cells = [described(workload)]
        for engine in engines:
            cell = f'{medians[engine]:,.1f}' if engine in medians else ''
            if cell and rival(engine) in medians and not engine.startswith('ours'):
                cell += f' ({medians[rival(engine)] / medians[engine]:.2f} ×)'
            cells.append(cell)
        lines.append(cells)
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def described(workload):
    load = parse(workload)
    if load['new'] == 1:
        return 'a prompt of {prompt:,} tokens'.format(**load)
    prompt = ', prompt of {prompt}'.format(**load) if load['prompt'] > 1 else ''
    return f'batch {load["batch"]}{prompt}, {load["new"]} new'


def rival(engine):
    """Which of ours an engine is compared with."""
    return 'ours-int8' if 'int8' in engine else 'ours'


def write(figures, name):
    """Write the figures as NAME.json, and a plot of the speeds as NAME.png."""
    import matplotlib

    matplotlib.use('agg')
    import matplotlib.pyplot as plt

    with open(f'{name}.json', 'w', encoding='utf-8') as file:
        json.dump(figures, file, indent=2)
    speeds = figures['speeds']
    plot, panels = plt.subplots(
        len(speeds), figsize=(7, 1.7 * len(speeds)), layout='constrained', squeeze=False
    )
    for panel, (workload, medians) in zip(panels[:, 0], speeds.items(), strict=True):
        engines = list(medians)[::-1]
        colors = ['#0b5394' if engine.startswith('ours') else '#b0b0b0' for engine in engines]
        bars = panel.barh(engines, [medians[engine] for engine in engines], color=colors)
        panel.bar_label(bars, fmt='%.0f', padding=3)
        panel.set_title(described(workload))
        panel.spines[['top', 'right']].set_visible(False)
        panel.margins(x=0.12)
    panels[-1, 0].set_xlabel('tokens per second')
    plot.savefig(f'{name}.png', dpi=120)


def work(name, models_dir, model_name, *more):
    """Answer workloads from standard input until it ends."""
    if name in ('profile', 'growth'):
        table_of = {'profile': profile_of, 'growth': growth_of}[name]
        serve(lambda **request: {'table': table_of(models_dir, model_name, *more, **request)})
        return
    engine, _, dtype = name.partition('-')
    dtype = dtype or 'float32'
    with quiet():
        generate = ENGINES[engine](models_dir, model_name, dtype, *more)
    scales = SCALES_OF_LLAMA_CPP if name == 'llama.cpp-int8' else 0
    weights = sizes_of(models_dir, model_name) * (bytes_a_weight(dtype) + scales)

    def answer(batch, prompt, new):
        prompts = [[1000 + i for i in range(prompt)]] * batch
        start = time.perf_counter()
        shape = generate(prompts, new)
        seconds = time.perf_counter() - start
        assert shape == (batch, new), shape
        return {'seconds': seconds, 'peak': peak_memory(), 'weights': weights}

    serve(answer)


def sizes_of(models_dir, model_name):
    """How many weights each token is multiplied with."""
    sizes = read_sizes(models_dir, model_name)
    return sizes['n_embd'] * (12 * sizes['n_layer'] * sizes['n_embd'] + sizes['n_vocab'])


def bytes_a_weight(dtype):
    """Of a name that ends in a number of bits."""
    return int(re.search(r'\d+$', dtype)[0]) // 8


def our_engine(models_dir, model_name, dtype, n_shards=None):
    from generation.start import start_engine
    from loading.model_files import load_encoder

    encoder = load_encoder(model_name, models_dir)
    return start_engine(  # as the scripts do
        model_name, models_dir, encoder=encoder, dtype=dtype, n_shards=n_shards
    )


def ours(models_dir, model_name, dtype, scratch, compiled=False, whole=False):
    from support.settings import Settings

    engine = our_engine(models_dir, model_name, dtype, n_shards=1 if compiled or whole else None)
    engine.compiled = compiled

    def generate(prompts, n):
        chunks = list(engine.stream(prompts, Settings(length=n, seed=0), chunk_seconds=1))
        return len(chunks[0]), sum(chunk.shape[1] for chunk in chunks)

    return generate


def growth_of(models_dir, model_name, dtype, near=10, far=1000, n=24, repeats=7):
    """How many times as long a token takes at position `far` as at `near`: a median."""
    from support.settings import Settings

    engine = our_engine(models_dir, model_name, dtype)

    def seconds(position):
        """What each of n tokens takes from `position` on, without the prompt before them."""
        stream = engine.stream([[1000] * (position - 1)], Settings(length=n + 1), chunk_seconds=100)
        next(stream)
        start = time.perf_counter()
        for _ in stream:
            pass
        return (time.perf_counter() - start) / n

    rounds = [(seconds(near), seconds(far)) for _ in range(repeats + 1)][1:]
    near_median, far_median = map(statistics.median, zip(*rounds, strict=True))
    return (
        f'a token takes {near_median * 1e3:.1f} ms at position {near} and '
        f'{far_median * 1e3:.1f} ms at position {far}: {far_median / near_median:.2f} x'
    )


def profile_of(models_dir, model_name, dtype, batch, prompt, new):
    """A table of a step's operations: how many, and milliseconds in all.

    Those that read the prompt count as of the first of `new` steps.
    """
    import tensorflow.compat.v1 as tf

    from support.settings import Settings

    engine = our_engine(models_dir, model_name, dtype)
    request = [[1000] * prompt] * batch, Settings(length=new)
    list(engine.stream(*request))
    run, counts, totals = engine.session.run, collections.Counter(), collections.Counter()

    def traced(fetches, feed):
        if fetches is not engine.decode(batch) and fetches is not vars(engine).get('prefill'):
            return run(fetches, feed)
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.SOFTWARE_TRACE)
        result = run(fetches, feed, options=options, run_metadata=metadata)
        for device in metadata.step_stats.dev_stats:
            for node in device.node_stats:
                kind = node.timeline_label.split(' = ')[-1].split('(')[0] or node.node_name
                counts[kind] += 1
                totals[kind] += node.op_end_rel_micros - node.op_start_rel_micros
        return result

    engine.session.run = traced
    list(engine.stream(*request, chunk_seconds=100))
    rows = [f'{"operation":32}{"a step":>8}{"ms":>9}']
    for kind, microseconds in totals.most_common(25):
        rows.append(f'{kind:32}{counts[kind] / new:8.1f}{microseconds / 1e3 / new:9.3f}')
    everything = sum(totals.values()) / 1e3 / new
    rows.append(f'{"all":32}{sum(counts.values()) / new:8.1f}{everything:9.3f}')
    return '\n'.join(rows)


def concat(models_dir, model_name, dtype, scratch):
    """The sampling loop of 2019: a past that tf.concat makes longer by a token at a time."""
    import tensorflow.compat.v1 as tf
    from model_2019 import forward

    import model  # sets the behaviour of TensorFlow
    from hparams import read_hparams
    from loading import checkpoint
    from loading.model_files import weights

    folder = os.path.join(models_dir, model_name)
    hparams = read_hparams(os.path.join(folder, 'hparams.json'))
    context, n = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.int32, [])
    past_shape = model.past_shape(hparams=hparams)

    def body(past, previous, output):
        logits, present = forward(hparams, previous[:, None], past)
        token = tf.random.categorical(logits[:, -1], num_samples=1, dtype=tf.int32)
        past = tf.concat([past, tf.ensure_shape(present, past_shape)], axis=-2)
        return past, token[:, 0], tf.concat([output, token], axis=1)

    _, past = forward(hparams, context[:, :-1], None)
    *_, output = tf.while_loop(
        lambda past, previous, output: tf.shape(output)[1] < n,
        body,
        [past, context[:, -1], context[:, :0]],
        shape_invariants=[tf.TensorShape(s) for s in (past_shape, [None], [None, None])],
        back_prop=False,
    )
    session = tf.Session()
    checkpoint.restore(session, weights(folder), tf.trainable_variables())
    return lambda prompts, length: session.run(output, {context: prompts, n: length}).shape


ENGINES = {
    'ours': ours,
    XLA: functools.partial(ours, compiled=True),
    'ours.whole': functools.partial(ours, whole=True),
    'concat': concat,
    'transformers': decode_peers.transformers,
    'ctranslate2': decode_peers.ctranslate2,
    'llama.cpp': decode_peers.llama_cpp,
}

if __name__ == '__main__':
    if sys.argv[1:2] == [FLAG]:
        work(*sys.argv[2:])
    else:
        command_line.run(decode_benchmark)
