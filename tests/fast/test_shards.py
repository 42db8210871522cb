import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from fast import session_config, sharded_weights, shards
from generation.continuous import Request
from generation.engine import SHORT, Engine
from helpers import numpy_gpt2
from helpers.paths import ROOT
from hparams import HParams
from scoring.scorer import Scorer
from support.settings import Settings

DEMO = ROOT / 'models' / 'demo'  # six heads


@pytest.mark.parametrize('n', [2, 3, 4, 6])
def test_text_is_what_numpy_says_in_any_number_of_shards(n):
    """Four shards of six heads are uneven; the longer prompt is read by fused kernels."""
    weights = numpy_gpt2.load_weights(DEMO / 'model.ckpt')
    with Engine('demo', str(DEMO.parent), n_shards=n) as engine:
        assert len(engine.heads) == n and sum(engine.heads) == 6
        for width in (3, SHORT + 20):
            prompt = np.random.default_rng(width).integers(4096, size=width).tolist()
            [new] = engine.generate([prompt], Settings(length=8, temperature=0))
            logits = numpy_gpt2.logits(weights, prompt + new[:-1], n_head=6)[width - 1 :]
            chosen = logits[range(8), new]
            assert (logits.max(axis=-1) - chosen < 1e-4).all()


def test_a_sample_is_the_same_in_shards_and_whole(models_dir):
    prompts, settings = [[5, 6, 7], [8], [9] * 40], Settings(length=60, seed=3, top_p=0.9)
    texts = []
    for n in (1, 2):
        with Engine('demo', str(models_dir), n_shards=n) as engine:
            texts.append(engine.generate(prompts, settings))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(('dtype', 'tolerance'), [('bfloat16', 0.03), ('int8', 0.15)])
def test_other_dtypes_in_shards_say_what_float32_says(models_dir, dtype, tolerance):
    """Of tokens that follow prompts which go through the decode step, and through the prefill."""
    prompts = [list(range(40, 40 + n)) for n in (3, SHORT + 20)]
    with Engine('demo', str(models_dir), dtype=dtype, n_shards=3) as engine:
        assert engine.heads == [2, 2, 2]
        requests, settings = [Request(prompt) for prompt in prompts], Settings(length=30, seed=1)
        found = dict(engine.complete(requests, settings))
        texts = engine.generate(prompts, settings)
    with Scorer('demo', str(models_dir)) as scorer:
        pairs = [(prompt, found[i].tokens) for i, prompt in enumerate(prompts)]
        exact = list(scorer.score_continuations(pairs))
    for i, scores in enumerate(exact):
        error = np.abs(found[i].logprobs - scores.logprobs)
        assert 1e-5 < error.mean() < tolerance
        assert texts[i] == found[i].tokens or i, 'the short one reads the same numbers both ways'


def test_int8_is_in_shards_only_where_its_kernel_is(monkeypatch):
    two_cores(monkeypatch)
    monkeypatch.setattr(shards, 'has_int8_kernel', lambda: False)
    assert shards.best_number(HParams(), 'int8') == 1
    assert shards.best_number(HParams(), 'bfloat16') == 2


def test_a_layer_s_weights_are_split_where_heads_and_hidden_units_are():
    assert sharded_weights.how_split('model/h0/attn/c_attn/w') == (sharded_weights.COLUMNS, 3)
    assert sharded_weights.how_split('model/h0/attn/c_attn/b') == (sharded_weights.COLUMNS, 3)
    assert sharded_weights.how_split('model/h0/mlp/c_fc/w') == (sharded_weights.COLUMNS, 1)
    for layer in 'attn', 'mlp':
        assert sharded_weights.how_split(f'model/h0/{layer}/c_proj/w') == (sharded_weights.ROWS, 1)
        assert sharded_weights.how_split(f'model/h0/{layer}/c_proj/b') is None  # added once


@pytest.mark.parametrize('name', ['model/wte', 'model/wpe', 'model/h0/ln_1/g', 'model/ln_f/b'])
def test_other_weights_are_whole(name):
    assert sharded_weights.how_split(name) is None


# How many


def two_cores(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {0, 1}, raising=False)


SMALL, LARGE = HParams(n_embd=24, n_head=12), HParams()


@pytest.mark.parametrize(
    'cores, hparams, dtype, gpus, expected',
    [
        (1, LARGE, 'float32', [], 2),
        (1, SMALL, 'float32', [], 1),
        (1, LARGE, 'bfloat16', [], 2),
        (1, LARGE, 'int8', [], 1),
        (2, SMALL, 'float32', [], 2),
        (2, HParams(n_embd=100, n_head=25), 'float32', [], 2),
        (2, HParams(n_embd=24, n_head=1), 'float32', [], 1),
        (2, LARGE, 'int8', [], 2),
        (2, SMALL, 'int8', [], 1),
        (2, SMALL, 'bfloat16', [], 2),
        (2, LARGE, 'float32', ['GPU:0'], 1),
        (4, LARGE, 'float32', [], 1),  # not measured
    ],
)
def test_there_are_as_many_shards_as_is_quick(monkeypatch, cores, hparams, dtype, gpus, expected):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda _: gpus)
    monkeypatch.setattr(shards, 'has_int8_kernel', lambda: True)
    assert shards.best_number(hparams, dtype) == expected


def test_without_affinities_cores_are_counted(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    for cores, expected in (1, 2), (2, 2), (3, 1), (8, 1), (None, 1):
        monkeypatch.setattr(os, 'cpu_count', lambda cores=cores: cores)
        assert shards.best_number(HParams(), 'float32') == expected


@pytest.mark.skipif(not os.path.isdir('/proc/self/task'), reason='threads are counted on Linux')
def test_sessions_have_threads_of_their_own():
    """Otherwise what follows an engine with shards would have a single thread."""
    program = """
import os, sys
sys.path.insert(0, sys.argv[1])
import model
from fast.session import session_config
import tensorflow.compat.v1 as tf

for intra_op_threads in (1, 7, 1):
    config = session_config(n_shards=2)
    config.intra_op_parallelism_threads = intra_op_threads
    before = len(os.listdir('/proc/self/task'))
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        session.run(tf.constant(1) + 1)
        print(len(os.listdir('/proc/self/task')) - before)
"""
    command = [sys.executable, '-c', program, str(ROOT / 'src')]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, many, few = map(int, done.stdout.split())  # the first one makes the process's own, too
    assert few >= 2 and many >= few + 5


def test_the_session_of_shards_runs_one_operation_for_each():
    config = session_config(n_shards=2)
    assert config.intra_op_parallelism_threads == 1
    assert config.inter_op_parallelism_threads == 2


# Engines


def test_shards_that_cannot_be_are_refused(models_dir):
    with pytest.raises(ValueError, match='6 heads do not make 7 shards'):
        Engine('demo', str(models_dir), n_shards=7)
    for number in (0, -1, 1.5, '2', True):
        with pytest.raises(ValueError, match='n_shards must be a whole number of at least 1'):
            Engine('demo', str(models_dir), n_shards=number)


def test_an_engine_takes_what_is_quick(models_dir, monkeypatch):
    monkeypatch.setattr(shards, 'best_number', lambda hparams, dtype: 3)
    with Engine('demo', str(models_dir)) as engine:
        assert engine.heads == [2, 2, 2]


@pytest.mark.parametrize('name', ['h0/mlp/c_fc/w', 'h5/attn/c_attn/b', 'wte'])
def test_damage_in_a_weight_of_shards_is_one_line(tmp_path, name):
    folder = shutil.copytree(DEMO, tmp_path / 'demo')
    weight = tf.train.load_checkpoint(str(DEMO / 'model.ckpt')).get_tensor(f'model/{name}')
    path = folder / 'model.ckpt.data-00000-of-00001'
    data = bytearray(path.read_bytes())
    data[data.index(weight.tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match='it is damaged or not a checkpoint'):
        Engine('demo', str(tmp_path), n_shards=2)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'n_layer': 5}, 'has 6 layers where the hyperparameters ask for 5'),
        ({'n_layer': 7}, 'has 6 layers where the hyperparameters ask for 7'),
        ({'n_embd': 186}, r'with shape \[.*\] where the hyperparameters ask for'),
    ],
)
def test_a_checkpoint_of_other_sizes_is_refused_with_the_numbers(tmp_path, change, message):
    folder = shutil.copytree(DEMO, tmp_path / 'demo')
    sizes = json.loads((DEMO / 'hparams.json').read_text())
    (folder / 'hparams.json').write_text(json.dumps(sizes | change))
    with pytest.raises(ValueError, match=message):
        Engine('demo', str(tmp_path), n_shards=2)
