"""Steps that XLA compiles: the same text in float32, from one graph, by an edited model too."""

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from fast import int8
from generation import engine as engines
from generation.engine import CACHE_STEP, Engine
from support.settings import Settings

PROMPTS = [[15496, 995], [464], [40, 1101, 345, 821, 339]]

pytestmark = pytest.mark.skipif(not tf.test.is_built_with_xla(), reason='TensorFlow without XLA')


def both(engine, prompts, settings):
    """What plain steps and compiled ones generate."""
    texts = []
    for engine.compiled in (False, True):
        texts.append(engine.generate(prompts, settings, first_sample=3))
    return texts


@pytest.mark.parametrize(
    'knobs',
    [
        {},
        {'temperature': 0},
        {'temperature': 0.8, 'top_k': 40, 'top_p': 0.9},
        {'repetition_penalty': 1.5, 'min_p': 0.01},
        {'seed': 2**62},
    ],
)
def test_the_text_is_that_of_plain_steps(engine, knobs):
    plain, compiled = both(engine, PROMPTS, Settings(**{'length': 20, 'seed': 5} | knobs))
    assert compiled == plain
    assert len(set(map(tuple, plain))) == 3


def test_the_text_is_that_of_the_readable_core(models_dir, demo_engine):
    settings = Settings(length=20, seed=5, top_k=40)
    with Engine('demo', str(models_dir), encoder=demo_engine.encoder, fast=False) as plain:
        expected = plain.generate(PROMPTS[1:], settings)
    demo_engine.compiled = True
    try:
        assert demo_engine.generate(PROMPTS[1:], settings) == expected
    finally:
        demo_engine.compiled = False


def test_so_it_is_when_the_cache_grows(demo_engine):
    """Over two sizes of the cache, each compiled for itself."""
    settings = Settings(length=CACHE_STEP + 30, seed=1)
    plain, compiled = both(demo_engine, [[5, 6, 7], [8]], settings)
    assert compiled == plain
    assert demo_engine.session.run(demo_engine.state.cache.keys[0]).shape[2] == 2 * CACHE_STEP


def test_so_it_is_when_the_context_is_filled(engine):
    n_ctx = engine.hparams.n_ctx
    plain, compiled = both(engine, [[3]], Settings(length=n_ctx, seed=1))
    assert compiled == plain and len(plain[0]) == n_ctx


def test_rows_that_have_ended_stop(engine, monkeypatch):
    rows = [[7]] * 8
    free = engine.generate(rows, Settings(length=40, seed=0), first_sample=3)
    # A token that a row produces: the vocabulary's own end comes too seldom.
    monkeypatch.setattr(type(engine.encoder), 'end_of_text', free[2][9])
    plain, compiled = both(engine, rows, Settings(length=40, seed=0, stop_at_end=True))
    assert compiled == plain
    assert min(map(len, plain)) <= 9


def test_a_stream_is_the_same_text_in_pieces(engine):
    settings = Settings(length=9, seed=2)
    engine.compiled = True
    whole = engine.generate(PROMPTS, settings)
    chunks = list(engine.stream(PROMPTS, settings, chunk_seconds=0))
    assert [chunk.shape for chunk in chunks] == [(3, 1)] * 9
    assert np.concatenate(chunks, axis=1).tolist() == whole


def test_the_graph_gets_the_compiled_loop_once(models_dir):
    with Engine('tiny', str(models_dir)) as engine:
        engine.compiled = True
        assert engine.graph.finalized
        counts = []
        for rows in (1, 2, 3):
            engine.generate(PROMPTS[:rows], Settings(length=3 * rows, top_p=0.9, seed=rows))
            counts.append(len(engine.graph.get_operations()))
            assert engine.graph.finalized
        assert counts[0] == counts[1] == counts[2]


def test_a_step_is_one_program_that_writes_the_cache_by_slots(models_dir):
    with Engine('tiny', str(models_dir), n_shards=1) as engine:
        engine.generate(PROMPTS, Settings(length=2))  # plain: nothing is compiled unless asked for
        assert not programs(engine)
        engine.compiled = True
        engine.generate(PROMPTS, Settings(length=2))
        (program,) = programs(engine)
        n_layer = engine.hparams.n_layer
    kinds = [node.op for node in program.node_def]
    assert kinds.count('XlaDynamicUpdateSlice') == kinds.count('AssignVariableOp') == 2 * n_layer
    assert kinds.count('MatMul') == 4 * n_layer + 1
    assert not {'InplaceUpdate', 'ConcatV2', 'TensorScatterUpdate'} & set(kinds)


def programs(engine):
    functions = engine.graph.as_graph_def().library.function
    return [f for f in functions if f.attr['_XlaMustCompile'].b]


def test_an_edited_model_is_what_is_compiled(models_dir, monkeypatch):
    settings, prompts = Settings(length=12, temperature=0), [[464], [7]]
    with Engine('tiny', str(models_dir)) as engine:
        before = engine.generate(prompts, settings)
    monkeypatch.setattr(model, 'gelu', tf.nn.relu)
    with Engine('tiny', str(models_dir)) as engine:
        plain, compiled = both(engine, prompts, settings)
    assert compiled == plain != before


def test_bfloat16_is_compiled_too(models_dir):
    with Engine('demo', str(models_dir), dtype='bfloat16') as engine:
        plain, compiled = both(engine, [[5, 6, 7]], Settings(length=4, temperature=0))
    assert compiled == plain


@pytest.mark.parametrize('kernel', [False, True])
def test_int8_is_compiled_where_it_has_no_quicker_product(models_dir, monkeypatch, kernel):
    for module in (engines, int8):
        monkeypatch.setattr(module, 'has_int8_kernel', lambda: kernel)
    with Engine('demo', str(models_dir), dtype='int8') as engine:
        if kernel:
            with pytest.raises(ValueError, match='leave out --xla'):
                engine.compiled = True
            assert not engine.compiled
            return
        plain, compiled = both(engine, [[5, 6, 7]], Settings(length=8, temperature=0))
        assert compiled == plain


def test_without_a_compiler_it_is_refused(engine, monkeypatch):
    engine.compiled = False
    monkeypatch.setattr(tf.test, 'is_built_with_xla', lambda: False)
    with pytest.raises(ValueError, match=re.escape('this TensorFlow has no XLA: leave out --xla')):
        engine.compiled = True
    monkeypatch.setattr(engines, 'WEIGHTS_WORTH_COMPILING', 1)
    assert not engine.compiling_pays(8, 10**6)


def test_the_cache_has_few_sizes(engine):
    """Each of them is compiled."""
    n_ctx = engine.hparams.n_ctx
    engine.compiled = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, 'CACHE_STEP', n_ctx // 4)
        sizes = [engine._capacity(needed, n_ctx) for needed in range(1, n_ctx + 1)]
    assert sorted(set(sizes)) == [n_ctx // 4, n_ctx // 2, n_ctx]
    assert all(size >= needed for needed, size in enumerate(sizes, 1))


@pytest.mark.parametrize(
    'on_gpu, dtype, rows, steps, pays',
    [
        (False, 'float32', 4, 5000, True),
        (False, 'float32', 8, float('inf'), True),
        (False, 'float32', 8, 4999, False),
        (False, 'float32', 3, 10**6, False),
        (False, 'float32', 16, 5000, True),
        (False, 'float32', 32, 10**6, False),
        (True, 'float32', 32, 10**6, True),
        (False, 'int8', 8, 10**6, False),
        (True, 'float32', 1, 5000, True),
        (True, 'int8', 1, 5000, True),
        (True, 'bfloat16', 1, 4999, False),
    ],
)
def test_it_pays_for_many_steps_of_several_rows_of_a_large_model(
    engine, monkeypatch, on_gpu, dtype, rows, steps, pays
):
    assert not engine.compiling_pays(8, 10**9)
    pays = pays and (on_gpu or len(engine.heads) == 1)
    large = engine.hparams.__class__(n_embd=768, n_layer=12)
    monkeypatch.setattr(engine, 'hparams', large)
    monkeypatch.setattr(Engine, 'on_gpu', on_gpu)
    monkeypatch.setattr(engine, 'dtype', dtype)
    assert engine.compiling_pays(rows, steps) is pays
