#!/usr/bin/env python3
"""Say how much texts look like a model's own: its scores, and what a detector makes of them."""

import contextlib
import itertools
import os
import sys

from tqdm import tqdm

from cluster.flags import Spread, takes_workers
from cluster.made import Prepared
from detection.detector import open_detector
from detection.findings import CAUTION, find
from detection.outputs import open_sinks, report
from detection.parts import detector_digest, found_in_parts
from detection.start import scoring_model
from fast import check_dtype, takes_dtype
from loading.model_files import load_encoder_with_end
from scoring.documents import begun, read
from scoring.outputs import files_to_score, print_all
from scoring.parts import ARRAYS, model_settings, output_of
from scoring.start import start_scorer
from support import command_line, stopping
from support.checks import check_whole
from support.files import expand


@takes_workers
@takes_dtype
def detect(
    *sources: str,
    model_name: str = None,
    models_dir: str = 'models',
    detector: str = None,
    output: str = None,
    html: str = None,
    dtype: str = 'float32',
    tokens_at_once: int = 1024,
    separator: str = None,
    workers: int = None,
    scheduler: str = None,
    parts: str = None,
    part_size: int = None,
):
    """Print how much each of the texts of SOURCES looks like what a model writes.

    A source is a text file in UTF-8, a .jsonl file with a document in the field "text" of each
    line, a folder, whose .txt and .jsonl files are taken, a pattern like 'books/*.txt', or - for
    standard input. Each document gets a line: tokens, means of log-probability and log-rank, their
    ratio LRR, z (Fast-DetectGPT's curvature), the shares of tokens that top-k 40 and nucleus 0.9
    would not have drawn, GLTR's counts of ranks up to 10, 100, 1,000 and more; with a detector also
    the probability that it is the machine's, and how many human texts score higher. These are
    rates, not verdicts. Texts under 50 tokens are too short.

    Args:
        sources: one or more files, folders or patterns, or -
        model_name: the model that scores, a folder of models_dir; None is the detector's, or 124M
        models_dir: the folder of all models
        detector: a folder that train_detector.py made
        output: write a JSON record for each document to this file
        html: write a page that colours each token by its rank to this file
        <dtype>
        tokens_at_once: tokens read together; changes speed and memory, never the results
        separator: what stands between the documents of a text, such as '<|endoftext|>'
        <workers>
    """
    check_whole('tokens_at_once', tokens_at_once, least=1)
    check_dtype(dtype)
    spread = Spread(workers, scheduler, parts, part_size)
    spread.check()
    outputs = [path for path in (output, html) if path is not None]
    files, separator = files_to_score(sources, separator, outputs)
    spread.check_alone(output_of(outputs))
    models_dir = expand(models_dir)
    detector = None if detector is None else expand(detector)
    model_name = scoring_model(model_name, models_dir, detector)
    encoder = load_encoder_with_end(model_name, models_dir)

    lost = None
    with contextlib.suppress(Prepared), contextlib.ExitStack() as stack:
        quiet = spread.asked or None  # then parts have a bar
        bar = stack.enter_context(tqdm(total=0, unit=' tokens', unit_scale=True, disable=quiet))
        documents = begun(read(files, encoder, bar, separator))
        if spread.asked:
            settings = model_settings(model_name, models_dir, dtype)
            settings |= {
                'arrays': [] if html is None else ARRAYS,
                'detector': detector_digest(detector),
            }
            resources = {
                'models_dir': os.path.abspath(models_dir),
                'detector': None if detector is None else os.path.abspath(detector),
                'tokens_at_once': tokens_at_once,
            }
            found = found_in_parts(documents, settings, resources, spread, output_of(outputs))
            found = stack.enter_context(found)
        sinks = [stack.enter_context(sink) for sink in open_sinks(output, html, model_name)]
        if not spread.asked:
            model = dict(encoder=encoder, dtype=dtype, tokens_at_once=tokens_at_once)
            scorer = stack.enter_context(start_scorer(model_name, models_dir, **model))
            if detector is not None:
                detector = stack.enter_context(open_detector(detector, models_dir, scorer))
            to_find, to_show = itertools.tee(documents)
            pairs = ((document.text, document.tokens) for document in to_find)
            found = zip(to_show, find(scorer, detector, pairs, bar.update), strict=True)
        lost = print_all(report(found, sinks, encoder), go_on=bool(sinks))
    if lost:
        with stopping.keeping(f'{" and ".join(outputs)} written all the same'):
            raise lost
    if detector is not None:
        print(f'note: {CAUTION}', file=sys.stderr)


if __name__ == '__main__':
    command_line.run(detect)
