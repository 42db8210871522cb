#!/usr/bin/env python3
"""Make a data set of a model's samples, in the form of OpenAI's gpt-2-output-dataset."""

import os
import sys

from cluster.flags import Spread, takes_workers
from detection import making, making_parts
from detection.dataset_file import Splits
from detection.records import check_sizes, check_source
from detection.samplers import samplers_named
from fast import check_dtype, shards_of_file, takes_dtype
from generation.start import start_engine
from hparams import read_hparams
from loading.model_files import find_model, fingerprint, load_encoder_with_end
from support import command_line, stopping
from support.checks import check_batch_size, check_switch
from support.files import expand
from support.settings import check_fits

KEPT = 'what was written is kept: run the same command again to go on'


@takes_dtype
@takes_workers
def make_output_dataset(
    folder: str,
    *,
    model_name: str = '124M',
    models_dir: str = 'models',
    source: str = None,
    samplers: str = 't1,k40,nucleus',
    train: int = 250_000,
    valid: int = 5_000,
    test: int = 5_000,
    length: int = None,
    seed: int = 0,
    top_p_from: float = 0.8,
    top_p_to: float = 1,
    tokens: bool = False,
    batch_size: int = 16,
    dtype: str = 'float32',
    workers: int = None,
    scheduler: str = None,
    parts: str = None,
    part_size: int = None,
):
    """Write samples of a model to FOLDER/SOURCE.{train,valid,test}.jsonl, for each sampler.

    A record is {"id", "ended", "length", "text"}, as in OpenAI's data set, and says what made it.
    Run the same command again after an interruption and it continues where it stopped, with the
    samples it would have written.

    Args:
        folder: where the files go
        model_name: which model to use, a folder of models_dir
        models_dir: the folder of all models
        source: the name of the files; None is the model's. Samplers but t1 are added: demo-k40
        samplers: t1 (no truncation), k40 (top-k 40), nucleus (p drawn for each sample), p0.9 (a
            fixed p), or others like these, with commas between
        train: samples for training
        valid: samples for validation
        test: samples to test with
        length: tokens in each sample at most; None is the model's context
        seed: the same seed and id give the same sample
        top_p_from: the least p that is drawn for nucleus
        top_p_to: the largest p that is drawn for nucleus
        tokens: write the tokens of each sample, too
        batch_size: samples computed at a time; changes speed, never the samples
        <dtype>
        <workers>
    """
    spread = Spread(workers, scheduler, parts, part_size)
    spread.check()
    sizes = check_sizes(train, valid, test)
    check_batch_size(batch_size)
    check_dtype(dtype)
    check_switch('tokens', tokens)
    chosen = samplers_named(samplers, (top_p_from, top_p_to))
    models_dir = expand(models_dir)
    model_folder = find_model(model_name, models_dir)
    model_name = os.path.normpath(model_name)  # demo/ is demo, also in the records
    n_ctx = read_hparams(f'{model_folder}/hparams.json').n_ctx
    length = n_ctx if length is None else length
    settings = [s.settings(length=length, seed=seed, stop_at_end=True) for s in chosen]
    check_fits(1, length, n_ctx)
    encoder = load_encoder_with_end(model_name, models_dir)
    name = check_source(os.path.basename(model_name) if source is None else source)
    origin = {'model': model_name, 'weights': fingerprint(model_folder), 'dtype': dtype}
    shards, said = shards_of_file(None, dtype)
    origin |= said
    engine = None
    paths = [os.path.join(expand(folder), name + sampler.suffix) for sampler in chosen]
    for path in paths:
        spread.check_alone(path)
    for sampler, its, path in zip(chosen, settings, paths, strict=True):
        made_by = making.provenance(origin, sampler, its)
        with Splits(path, sizes, made_by, tokens) as splits:
            if not splits.missing() and not spread.is_begun(path):
                print(f'{path} is complete', file=sys.stderr)
                continue
            with stopping.keeping(KEPT):
                if spread.asked:
                    more = dict(models_dir=models_dir, batch_size=batch_size, shards=shards)
                    job = making_parts.job_of(origin, sampler, its, tokens, more)
                    making_parts.share_samples(spread, splits, path, sum(sizes), job)
                    continue
                if engine is None:
                    model = dict(encoder=encoder, dtype=dtype, n_shards=shards)
                    engine = start_engine(model_name, models_dir, **model)
                making.write_samples(engine, splits, sampler, its, batch_size)


if __name__ == '__main__':
    command_line.run(make_output_dataset)
