#!/usr/bin/env python3
"""Serve a page on this machine that says how much a text looks like a model's own."""

import contextlib

from detection.detector import open_detector
from detection.oracle import Oracle
from detection.server import Server
from detection.start import scoring_model
from fast import check_dtype, takes_dtype
from loading.model_files import load_encoder_with_end
from scoring.start import start_scorer
from support import command_line
from support.checks import check_whole
from support.files import expand


@takes_dtype
def serve_detector(
    model_name: str = None,
    models_dir: str = 'models',
    detector: str = None,
    host: str = '127.0.0.1',
    port: int = 8080,
    most_bytes: int = 1_000_000,
    dtype: str = 'float32',
):
    """Serve the page of the detector until Ctrl-C, by default to this machine alone.

    The page shows scores of a text and its tokens coloured by rank; with a detector also a bar of
    the probabilities that people or the machine wrote it. These are rates, not verdicts. Programs
    get JSON from POST /detect.

    Args:
        model_name: the model that scores, a folder of models_dir; None is the detector's, or 124M
        models_dir: the folder of all models
        detector: a folder that train_detector.py made; None shows scores only
        host: the address to listen at; 0.0.0.0 lets other machines in, without any password
        port: 0 takes any that is free
        most_bytes: that a text may have
        <dtype>
    """
    check_whole('port', port, least=0, below=65536)
    check_whole('most_bytes', most_bytes, least=1)
    check_dtype(dtype)
    models_dir = expand(models_dir)
    detector = None if detector is None else expand(detector)
    model_name = scoring_model(model_name, models_dir, detector)
    encoder = load_encoder_with_end(model_name, models_dir)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(host, port, most_bytes))
        scorer = stack.enter_context(
            start_scorer(model_name, models_dir, encoder=encoder, dtype=dtype)
        )
        if detector is not None:
            detector = stack.enter_context(open_detector(detector, models_dir, scorer))
        print(f'open {server.address} (Ctrl-C ends it)', flush=True)
        server.serve(Oracle(scorer, detector), model_name)


if __name__ == '__main__':
    command_line.run(serve_detector)
