#!/usr/bin/env python3
"""Training and scoring speed against Hugging Face transformers with PyTorch.

Every engine runs in a process of its own, from random weights, on the same random tokens, with
AdamW, clipping at 1 and no dropout; `score` is the loss alone. Rounds are interleaved, so that a
busy machine slows all alike; the first round warms up and is not counted. Speeds are medians of
tokens per second; only their ratios, taken in one run, mean anything. Peak memory is that of the
process until then, as the operating system counts it (Linux and macOS), or on the GPU.

    python benchmarks/train.py                      # 124M shapes, about ten minutes
    python benchmarks/train.py --shapes small --repeats 3
"""

import itertools
import math
import os
import pathlib
import sys
import time

import numpy as np
from side_by_side import FLAG, Worker, measure, peak_memory, report, serve, torch_device

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'src'))

from loading.startup import quiet  # noqa: E402
from support import command_line  # noqa: E402

SHAPES = {
    '124M': {'n_vocab': 50257, 'n_ctx': 1024, 'n_embd': 768, 'n_head': 12, 'n_layer': 12},
    'small': {'n_vocab': 8000, 'n_ctx': 256, 'n_embd': 128, 'n_head': 4, 'n_layer': 4},
}
RATE, DECAY, CLIP = 1e-4, 0.01, 1.0


def train_benchmark(
    shapes: str = '124M',
    dtypes: str = 'float32,bfloat16',
    workloads: str = 'score,train',
    engines: str = 'ours,transformers',
    batch_size=4,
    window=256,
    steps=2,
    repeats=5,
):
    """Measure tokens per second and peak memory for each dtype, workload and engine.

    Args:
        shapes: 124M or small
        dtypes: float32, bfloat16 (weights are float32 in any case; PyTorch: autocast)
        workloads: score (in float32), train; each process keeps the memory of those before
        engines: ours, transformers
        batch_size: windows read at once
        window: tokens
        steps: batches in a round
        repeats: counted rounds
    """
    if shapes not in SHAPES:
        raise ValueError(f'shapes must be {" or ".join(SHAPES)}, not {shapes!r}')
    for dtype in dtypes.split(','):
        arguments = (dtype, shapes, str(batch_size), str(window))
        workers = {name: Worker(__file__, name, *arguments) for name in engines.split(',')}
        for workload in workloads.split(','):
            if workload == 'score' and dtype != 'float32':
                continue  # validation stays in float32; benchmarks/score.py has the other
            print(f'\n{workload} in {dtype}, batches of {batch_size} x {window} tokens', flush=True)
            request = {'workload': workload, 'steps': steps}
            report(batch_size * window * steps, measure(workers, request, repeats), note)
        for worker in workers.values():
            worker.close()


def note(answer):
    return f'   peak {answer["peak"]:.2f} GB   loss {answer["loss"]:.3f}'


def work(engine, dtype, shapes, batch_size, window):
    """Answer requests from standard input until it ends."""
    sizes = SHAPES[shapes]
    with quiet():
        start = {'ours': ours, 'transformers': transformers}[engine]
        workloads = start(sizes, dtype, int(batch_size), int(window))
    shape = [int(batch_size), int(window) + 1]
    rows = np.random.default_rng(0).integers(sizes['n_vocab'], size=shape, dtype=np.int32)

    def answer(workload, steps):
        begin = time.perf_counter()
        losses = [workloads[workload](rows) for _ in range(steps)]
        seconds = time.perf_counter() - begin
        assert all(map(math.isfinite, losses)), losses
        return {'seconds': seconds, 'loss': losses[-1], 'peak': peak_memory() / 1e9}

    serve(answer)


def ours(sizes, dtype, batch_size, window):
    """Functions from rows [B, W + 1] to their mean loss, by the name of the workload."""
    from cluster.collective import Group
    from fast import session_config, tune_process
    from hparams import HParams
    from training.plan import TrainingPlan
    from training.trainer import Trainer

    tune_process(large_products=True)
    plan = TrainingPlan(
        steps=10**6,
        batch_size=batch_size,
        window=window,
        learning_rate=RATE,
        schedule='constant',
        weight_decay=DECAY,
        clip=CLIP,
        dropout=0.0,
        dtype=dtype,
    )
    group = Group(None, 0, session_config(large_products=True))
    trainer = Trainer(HParams(**sizes), plan, group, None)
    numbers = itertools.count(1)
    ones = np.ones([batch_size, window], np.float32)
    return {
        'score': lambda rows: trainer.validate([(rows, ones)]),
        'train': lambda rows: trainer.step(next(numbers), [(rows[:, :-1], rows[:, 1:])])['loss'],
    }


def transformers(sizes, dtype, batch_size, window):
    """The same by PyTorch."""
    os.environ['HF_HUB_OFFLINE'] = '1'
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=sizes['n_vocab'],
        n_positions=sizes['n_ctx'],
        **{name: sizes[name] for name in ('n_embd', 'n_head', 'n_layer')},
        **dict.fromkeys(['embd_pdrop', 'attn_pdrop', 'resid_pdrop'], 0.0),
        bos_token_id=None,
        eos_token_id=None,
    )
    device = torch_device()
    network = GPT2LMHeadModel(config).to(device)
    adam = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)

    def mean_loss(rows):
        tokens = torch.tensor(rows, dtype=torch.long, device=device)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == 'bfloat16'):
            logits = network(tokens[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), tokens[:, 1:].flatten()
        )

    def score(rows):
        with torch.inference_mode():
            return mean_loss(rows).item()

    def train(rows):
        loss = mean_loss(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        adam.step()
        adam.zero_grad()
        return loss.item()

    return {'score': score, 'train': train}


if __name__ == '__main__':
    if sys.argv[1:2] == [FLAG]:
        work(*sys.argv[2:])
    else:
        command_line.run(train_benchmark)
