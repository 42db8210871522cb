#!/usr/bin/env python3
"""Generate samples from nothing but the start token, to the terminal or to a JSONL file."""

import math
import os
import sys

from cluster.flags import Spread, takes_workers
from fast import check_dtype, number_of_shards, shards_of_file, takes_dtype, takes_shards
from generation.bulk import Terminal, choose_steps, write_samples
from generation.parts import job_of, share_samples
from generation.sample_file import SampleFile, seed_of
from generation.start import start_engine
from hparams import read_hparams
from loading.model_files import find_model, fingerprint, load_encoder_with_end
from support import command_line, stopping
from support.checks import check_batch_size, check_whole
from support.files import expand
from support.settings import (
    Settings,
    check_fits,
    check_xla,
    takes_sampling_parameters,
)


@takes_sampling_parameters
@takes_dtype
@takes_shards
@takes_workers
def sample_model(
    model_name: str = '124M',
    seed: int = None,
    nsamples: int = 0,
    batch_size: int = 1,
    length: int = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    models_dir: str = 'models',
    output: str = None,
    stop_at_end: bool = False,
    dtype: str = 'float32',
    xla: bool = None,
    shards: int = None,
    workers: int = None,
    scheduler: str = None,
    parts: str = None,
    part_size: int = None,
    **more,
):
    """Generate text with a GPT-2 model from nothing.

    With --output, run the same command again after an interruption and it continues where it
    stopped, with the samples it would have written.

    Args:
        model_name: which model to use, a folder of models_dir
        seed: a whole number for reproducible samples; None draws one
        nsamples: samples in all; 0 goes on without end
        batch_size: samples computed at a time; changes speed, never the samples
        length: tokens in each sample; None is the model's context
        <sampling parameters>
        models_dir: the folder of all models
        output: write a JSON record for each sample to this file instead of printing it
        stop_at_end: end a sample where the model ends the text
        <dtype>
        xla: compile each step, which takes seconds at first; None does so where it pays: for 5,000
            steps or more of the 124M or a larger model, in float32 with a batch_size of 4 to 16
            without shards, or on a GPU
        <shards>
        <workers>
    """
    check_whole('nsamples', nsamples, least=0, remark='0 goes on without end')
    check_batch_size(batch_size)
    check_dtype(dtype)
    check_xla(xla)
    shards = number_of_shards(shards, xla)
    spread = Spread(workers, scheduler, parts, part_size)
    spread.check()
    if spread.asked and (not nsamples or output is None):
        raise ValueError('--workers and --scheduler need --output and --nsamples')
    spread.check_alone(output)
    models_dir = expand(models_dir)
    folder = find_model(model_name, models_dir)
    n_ctx = read_hparams(f'{folder}/hparams.json').n_ctx
    if seed is None and output is not None:
        seed = seed_of(output)
        if seed is None and spread.asked:
            seed = spread.begun_with('seed', output)
    settings = Settings(
        length=n_ctx if length is None else length,
        seed=seed,
        stop_at_end=stop_at_end,
        **dict(temperature=temperature, top_k=top_k, top_p=top_p, **more),
    )
    check_fits(1, settings.length, n_ctx)
    model_name = os.path.normpath(model_name)  # demo/ is demo, also in what a file goes on with
    encoder = load_encoder_with_end(model_name, models_dir)
    origin = {'model': model_name, 'weights': fingerprint(folder), 'dtype': dtype}
    if output is not None:
        shards, said = shards_of_file(shards, dtype)
        origin |= said
    sink = Terminal() if output is None else SampleFile(output, origin, settings.values())
    kept = output and f'{output} keeps its samples: run the same command again to go on'
    with sink, stopping.keeping(kept):
        if nsamples and sink.written >= nsamples and not spread.is_begun(output):
            print(f'{output} holds {sink.written} samples already', file=sys.stderr)
            return
        batches = -(-(nsamples - sink.written) // batch_size) if nsamples else math.inf
        steps = batches * settings.length
        if spread.asked:
            steps //= workers or 1
            job = job_of(origin, settings, models_dir, batch_size, xla, steps, shards)
            share_samples(spread, sink, output, nsamples, job)
            return
        model = dict(encoder=encoder, dtype=dtype, n_shards=shards)
        with start_engine(model_name, models_dir, **model) as engine:
            choose_steps(engine, xla, batch_size, steps)
            write_samples(engine, sink, settings, nsamples, batch_size)


if __name__ == '__main__':
    command_line.run(sample_model)
