#!/usr/bin/env python3
"""Serve a model on this machine: OpenAI's completions for programs, and a page for people."""

import os
import re

from detection.detector import read_description
from fast import check_dtype, number_of_shards, takes_dtype, takes_shards
from hparams import read_hparams
from loading.model_files import find_model, load_encoder_with_end
from serving.start import check_libraries, loaded
from support import command_line
from support.checks import check_number, check_whole
from support.files import expand
from support.web import address

KEY = 'GPT2_API_KEY'  # the environment variable


@takes_dtype
@takes_shards
def serve(
    model_name: str = '124M',
    models_dir: str = 'models',
    host: str = '127.0.0.1',
    port: int = 8000,
    rows: int = 16,
    api_key: str = None,
    detector: str = None,
    most_bytes: int = 1_000_000,
    most_waiting: int = 256,
    most_seconds: float = 600,
    dtype: str = 'float32',
    shards: int = None,
):
    """Serve a model until Ctrl-C, by default to this machine alone.

    Programs find OpenAI's API at /v1/completions; people find a page at /. Ctrl-C or SIGTERM
    answers what has been asked, and ends; a second one ends at once.

    Args:
        model_name: which model to serve, a folder of models_dir
        models_dir: the folder of all models
        host: the address to listen at; 0.0.0.0 lets other machines in: then set an API key
        port: 0 takes any that is free
        rows: texts that are decoded at a time
        api_key: requests must have it; None takes the environment variable GPT2_API_KEY if it is
            set, which other users of the machine do not see, unlike a flag
        detector: a folder that train_detector.py made, for /detect; None tells scores only
        most_bytes: of the body of a request
        most_waiting: texts that wait for a row; others are refused
        most_seconds: that the answer to a request may take
        <dtype>
        <shards>
    """
    check_whole('port', port, least=0, below=65536)
    check_whole('rows', rows, least=1, below=1001)
    check_whole('most_bytes', most_bytes, least=1)
    check_whole('most_waiting', most_waiting, least=1)
    check_number('most_seconds', most_seconds, above=0, below=1e6)
    check_dtype(dtype)
    shards = number_of_shards(shards)
    api_key = key_of(api_key)
    check_libraries()
    models_dir = expand(models_dir)
    if detector is not None:
        detector = expand(detector)
        read_description(detector)
    folder = find_model(model_name, models_dir)
    n_ctx = read_hparams(f'{folder}/hparams.json').n_ctx
    encoder = load_encoder_with_end(model_name, models_dir)

    from serving import running  # what they import may be missing
    from serving.app import make_app
    from serving.service import Service

    service = Service(
        model_name,
        encoder,
        n_ctx,
        host=host,
        api_key=api_key,
        most_bytes=most_bytes,
        most_waiting=most_waiting,
        most_seconds=most_seconds,
        with_detector=detector is not None,
    )
    with (
        running.listening(host, port) as listener,
        running.answering(make_app(service), listener) as thread,
        loaded(service, models_dir, detector, rows, dtype=dtype, n_shards=shards),
    ):
        print(f'open {address(host, listener.getsockname()[1])} (Ctrl-C ends it)', flush=True)
        running.serve_until_signal(service, thread)


def key_of(api_key):
    """The API key of a flag, or of the environment; ValueError for what no header can carry."""
    if api_key is None:
        api_key = os.environ.get(KEY) or None
    if api_key is not None and not re.fullmatch('[!-~]+', api_key):
        raise ValueError('the API key must be printable ASCII characters without a space')
    return api_key


if __name__ == '__main__':
    command_line.run(serve)
