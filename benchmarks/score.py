#!/usr/bin/env python3
"""Scoring speed against Hugging Face transformers with PyTorch: the loss of every token.

Both engines run in processes of their own, from random weights, on the same random tokens; PyTorch
under inference_mode, in bfloat16 by autocast. Rounds are interleaved, so that a busy machine slows
all alike; the first round warms up and is not counted. Speeds are medians of tokens per second;
only their ratios, taken in one run, mean anything. `details` are log-probability, rank and entropy
of every token, which PyTorch takes from its log-softmax.

    python benchmarks/score.py                      # 124M shapes, a few minutes
    python benchmarks/score.py --engines ours,transformers,products    # and what bounds them all
    python benchmarks/score.py --model_name demo --models_dir models --workloads 4x256
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
from side_by_side import FLAG, Worker, make_model, measure, report, serve, torch_device

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from loading.startup import quiet  # noqa: E402
from support import command_line  # noqa: E402


def score_benchmark(
    models_dir: str = None,
    model_name: str = '124M',
    dtypes: str = 'float32',
    workloads: str = '4x256,1x1024',
    details: bool = False,
    engines: str = 'ours,transformers',
    repeats=5,
):
    """Measure tokens per second for each dtype, workload and engine.

    Args:
        models_dir: where the model is; None makes one of the 124M's shape with random weights
        model_name: its name
        dtypes: float32, bfloat16
        workloads: WINDOWSxTOKENS, separated by commas
        details: ranks and entropies, too
        engines: ours, transformers, products (the matmuls with the weights, and nothing else)
        repeats: counted rounds
    """
    if set(dtypes.split(',')) - {'float32', 'bfloat16'}:
        raise ValueError(f'dtypes must be float32 and bfloat16, not {dtypes}')
    with tempfile.TemporaryDirectory() as scratch:
        if models_dir is None:
            models_dir = scratch
            make_model(scratch, model_name)
        for dtype in dtypes.split(','):
            arguments = (models_dir, model_name, dtype)
            workers = {name: Worker(__file__, name, *arguments) for name in engines.split(',')}
            for workload in workloads.split(','):
                n, width = map(int, workload.split('x'))
                print(f'\n{n} windows of {width} tokens in {dtype}', flush=True)
                request = {'n': n, 'width': width, 'details': details}
                report(n * width, measure(workers, request, repeats), note)
            for worker in workers.values():
                worker.close()


def note(answer):
    return f'   loss {answer["loss"]:.3f}'


def work(engine, models_dir, model_name, dtype):
    """Answer requests from standard input until it ends."""
    with open(os.path.join(models_dir, model_name, 'hparams.json'), encoding='utf-8') as file:
        sizes = json.load(file)
    with quiet():
        start = {'ours': ours, 'transformers': transformers, 'products': products}[engine]
        score = start(models_dir, model_name, sizes, dtype)

    def answer(n, width, details):
        shape = [n, width + 1]
        rows = np.random.default_rng(0).integers(sizes['n_vocab'], size=shape)
        begin = time.perf_counter()
        loss = score(rows, details)
        return {'seconds': time.perf_counter() - begin, 'loss': loss}

    serve(answer)


def ours(models_dir, model_name, sizes, dtype):
    """A function from rows [B, W + 1] to the mean loss of their last W tokens."""
    from fast import tune_process
    from scoring.scorer import Scorer
    from scoring.windows import Window, joined

    tune_process(large_products=True)

    scorer = Scorer(model_name, models_dir, dtype=dtype)

    def score(rows, details):
        scores = scorer.score_windows((Window(row, 1) for row in rows), details, ranks=details)
        return -float(joined(list(scores)).logprobs.mean())

    return score


def transformers(models_dir, model_name, sizes, dtype):
    """The same by PyTorch."""
    os.environ['HF_HUB_OFFLINE'] = '1'
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    others = {name: value for name, value in sizes.items() if name not in ('n_vocab', 'n_ctx')}
    network = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=sizes['n_vocab'],
            n_positions=sizes['n_ctx'],
            bos_token_id=None,
            eos_token_id=None,
            **others,
        )
    ).eval()
    device = torch_device()
    network.to(device)

    def score(rows, details):
        tokens = torch.tensor(rows, device=device)
        targets = tokens[:, 1:].flatten()
        with torch.inference_mode():
            with torch.autocast(device, torch.bfloat16, enabled=dtype == 'bfloat16'):
                logits = network(tokens[:, :-1], use_cache=False).logits
            logits = logits.flatten(0, 1).float()
            if not details:
                return torch.nn.functional.cross_entropy(logits, targets).item()
            logprobs = logits.log_softmax(-1)
            chosen = logprobs.gather(1, targets[:, None])
            (logprobs > chosen).sum(-1).cpu(), -(logprobs.exp() * logprobs).sum(-1).cpu()
            return -chosen.mean().item()

    return score


def products(models_dir, model_name, sizes, dtype):
    """The time of the matmuls with the weights alone, in TensorFlow."""
    import tensorflow.compat.v1 as tf

    from fast import session_config
    from scoring.scorer import POSITIONS_AT_ONCE

    tf.disable_v2_behavior()
    width, n_vocab = sizes['n_embd'], sizes['n_vocab']
    rows_of_all = tf.placeholder(dtype, [None, width])
    rows_of_some = tf.placeholder(dtype, [None, width])

    def times(x, n):
        weights = tf.Variable(tf.random_normal([x.shape[-1].value, n], stddev=0.02))
        return tf.matmul(x, tf.cast(weights, dtype))

    x = rows_of_all
    for _ in range(sizes['n_layer']):
        qkv = times(x, 3 * width)
        x = times(times(times(qkv[:, :width], width), 4 * width), width)
    embedding = tf.Variable(tf.random_normal([n_vocab, width], stddev=0.02))
    logits = tf.matmul(rows_of_some, tf.cast(embedding, dtype), transpose_b=True)
    session = tf.Session(config=session_config(large_products=True))
    session.run(tf.global_variables_initializer())

    def score(rows, details):
        n = rows[:, 1:].size
        session.run(x.op, {rows_of_all: np.ones([n, width])})
        for start in range(0, n, POSITIONS_AT_ONCE):
            some = np.ones([min(POSITIONS_AT_ONCE, n - start), width])
            session.run(logits.op, {rows_of_some: some})
        return float('nan')

    return score


if __name__ == '__main__':
    if sys.argv[1:2] == [FLAG]:
        work(*sys.argv[2:])
    else:
        command_line.run(score_benchmark)
