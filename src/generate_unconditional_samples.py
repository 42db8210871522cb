#!/usr/bin/env python3
"""Generate samples from nothing but the start token, to the terminal or to a JSONL file."""

import math
import sys

from tqdm import tqdm

import command_line
from hparams import read_hparams
from model_files import expand, find_model, fingerprint, load_encoder_with_end
from sample_file import SampleFile, seed_of
from settings import Settings, check_dtype, check_fits, check_whole, check_xla


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
        temperature: divides the logits: lower is less random, 0 always takes the likeliest token
        top_k: sample among the k likeliest tokens only; 0 does not restrict, 40 is a good value
        top_p: sample from the fewest tokens that hold this probability; 1 does not restrict
        models_dir: the folder of all models
        output: write a JSON record for each sample to this file instead of printing it
        stop_at_end: end a sample where the model ends the text
        dtype: of the weights: float32 is exact; int8 takes half the memory and is about twice as
            fast on x86 processors with VNNI (Intel since 2019, AMD since Zen 4), slower on others;
            bfloat16 is for processors with instructions for it
        xla: compile each step, which takes seconds at first; None does so where it pays: for 5,000
            steps or more of the 124M or a larger model, in float32 with a batch_size of 4 to 16
            unless there are two cores, or on a GPU
    """
    check_whole('nsamples', nsamples, least=0, remark='0 goes on without end')
    check_whole('batch_size', batch_size, least=1)
    check_dtype(dtype)
    check_xla(xla)
    knobs = dict(temperature=temperature, top_k=top_k, top_p=top_p, stop_at_end=stop_at_end)
    Settings(length=1 if length is None else length, seed=seed, **knobs)
    models_dir = expand(models_dir)
    folder = find_model(model_name, models_dir)
    n_ctx = read_hparams(f'{folder}/hparams.json').n_ctx
    length = n_ctx if length is None else length
    check_fits(1, length, n_ctx)
    encoder = load_encoder_with_end(model_name, models_dir)
    if output is not None and seed is None:
        seed = seed_of(output)
    settings = Settings(length=length, seed=seed, **knobs)
    origin = {'model': model_name, 'weights': fingerprint(folder), 'dtype': dtype}
    sink = Terminal() if output is None else SampleFile(output, origin, settings.values())
    with sink:
        if nsamples and sink.written >= nsamples:
            print(f'{output} holds {sink.written} samples already', file=sys.stderr)
            return
        shards = 1 if xla else None  # XLA shares its programs among cores itself
        model = model_name, models_dir, encoder, dtype
        with command_line.start_engine(*model, n_shards=shards) as engine:
            engine.compiled = xla
            if xla is None:
                batches = -(-(nsamples - sink.written) // batch_size) if nsamples else math.inf
                engine.compiled = engine.compiling_pays(batch_size, batches * length)
            generate(engine, sink, settings, nsamples, batch_size)


class Terminal:
    """Prints samples in the format of 2019."""

    written = tokens = 0

    def write(self, text, tokens, ended):
        self.written += 1
        tqdm.write('=' * 40 + f' SAMPLE {self.written} ' + '=' * 40)  # print, above a bar if any
        tqdm.write(text)
        sys.stdout.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def generate(engine, sink, settings, nsamples, batch_size):
    """Write the samples that the sink lacks, with a progress bar if a terminal looks on."""
    start = engine.encoder.end_of_text
    done = sink.tokens
    total = done + (nsamples - sink.written) * settings.length if nsamples else None
    with tqdm(total=total, initial=done, unit=' tokens', unit_scale=True, disable=None) as bar:
        while nsamples == 0 or sink.written < nsamples:
            rows = batch_size if nsamples == 0 else min(batch_size, nsamples - sink.written)
            prompts = [[start]] * rows
            for tokens in engine.generate(prompts, settings, sink.written, bar.update):
                ended = len(tokens) < settings.length or start in tokens
                sink.write(engine.encoder.decode(tokens), tokens, ended)
                if total:  # a sample that ended early makes the whole shorter
                    bar.total -= settings.length - len(tokens)


if __name__ == '__main__':
    command_line.run(sample_model)
