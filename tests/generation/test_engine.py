import collections
import concurrent.futures
import re
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from fast import DTYPES
from fast.int8 import has_int8_kernel
from generation.engine import CACHE_STEP, SHORT, Engine
from helpers.graphs import check_cache_is_not_copied
from helpers.kernels import skip_without_kernels
from helpers.paths import REFERENCE
from scoring.scorer import Scorer
from support.settings import Settings

PROMPTS = [[15496, 995], [464], [40, 1101, 345, 821, 339]]


def test_a_request_repeats_in_the_same_and_in_another_engine(engine, models_dir):
    settings = Settings(length=20, seed=5)
    first = engine.generate(PROMPTS, settings)
    assert engine.generate(PROMPTS, settings) == first
    assert engine.generate(PROMPTS, Settings(length=20, seed=6)) != first
    with Engine('tiny', str(models_dir)) as another:
        assert another.generate(PROMPTS, settings) == first


def test_rows_do_not_depend_on_the_batch(engine):
    parameters = dict(temperature=0.9, top_k=50, top_p=0.95, min_p=0.01, typical_p=0.97)
    settings = Settings(length=20, seed=5, repetition_penalty=1.2, **parameters)
    together = engine.generate(PROMPTS, settings, first_sample=7)
    for i, prompt in enumerate(PROMPTS):
        assert engine.generate([prompt], settings, first_sample=7 + i) == [together[i]]


def test_the_penalty_does_not_depend_on_how_many_tokens_come_at_a_time(engine):
    settings = Settings(length=30, temperature=0, repetition_penalty=1.5)
    texts = []
    for seconds in (0, 100):
        chunks = engine.stream(PROMPTS, settings, chunk_seconds=seconds)
        texts.append(np.concatenate(list(chunks), axis=1).tolist())
    assert texts[0] == texts[1]
    assert texts[0] != engine.generate(PROMPTS, Settings(length=30, temperature=0))


def test_the_settings_of_a_request_leave_no_trace_in_the_next(engine):
    greedy = Settings(length=8, temperature=0)
    before = engine.generate(PROMPTS, greedy)
    engine.generate([[1] * 30], Settings(length=35, top_k=3, seed=1))
    assert engine.generate(PROMPTS, greedy) == before
    assert engine.generate(PROMPTS, Settings(length=8, top_k=1, seed=3)) == before


def test_requests_add_no_operation_to_the_graph(models_dir, monkeypatch):
    with Engine('tiny', str(models_dir)) as engine:

        def count_behind_requests():
            for n, length in enumerate([3, 9], 1):
                engine.generate(PROMPTS * n, Settings(length=length, top_p=0.5, top_k=4))
            assert engine.graph.finalized
            return len(engine.graph.get_operations())

        assert engine.graph.finalized
        engine.generate(PROMPTS, Settings(length=1))  # which makes what several rows need
        count = len(engine.graph.get_operations())
        assert count_behind_requests() == count
        monkeypatch.setattr('generation.engine.SHORT', 1)
        assert count_behind_requests() == count_behind_requests() > count


def test_the_loop_copies_no_cache(engine):
    check_cache_is_not_copied(engine.graph, engine.hparams, len(engine.heads))


def test_a_stream_is_the_same_text_in_pieces(engine):
    settings = Settings(length=30, seed=2)
    whole = engine.generate(PROMPTS, settings)
    chunks = list(engine.stream(PROMPTS, settings, chunk_seconds=0))
    assert [chunk.shape for chunk in chunks] == [(3, 1)] * 30
    assert np.concatenate(chunks, axis=1).tolist() == whole


def test_the_cache_grows_without_changing_the_text(demo_engine, monkeypatch):
    """More tokens than CACHE_STEP, against a cache that is whole from the start."""
    prompt, settings = [[5, 6, 7]], Settings(length=200, seed=4)
    assert settings.length > CACHE_STEP
    grown = demo_engine.generate(prompt, settings)
    monkeypatch.setattr('generation.engine.CACHE_STEP', 1000)
    assert demo_engine.generate(prompt, settings) == grown


@pytest.mark.parametrize(
    'at_once, widths', [(1, [1] * 22), (4, [4] * 5 + [2]), (21, [21, 1]), (22, [22]), (99, [22])]
)
def test_a_long_prompt_read_in_parts_gives_the_same_text(engine, monkeypatch, at_once, widths):
    settings = Settings(length=12, seed=4)
    prompts = [list(range(100, 123)), [7, 8, 9]]
    monkeypatch.setattr('generation.engine.SHORT', 22)
    whole = engine.generate(prompts, settings)
    run, read = engine.session.run, []

    def recorded(fetches, feed):
        if fetches is engine.prefill:
            read.append(feed[engine.state.unread].shape[1])
        return run(fetches, feed)

    monkeypatch.setattr('generation.engine.SHORT', 21)
    monkeypatch.setattr('generation.engine.PREFILL_AT_ONCE', at_once)
    monkeypatch.setattr('generation.engine.CACHE_STEP', 3)
    monkeypatch.setattr(engine.session, 'run', recorded)
    assert engine.generate(prompts, settings) == whole
    assert read == widths


def test_what_reads_long_prompts_is_made_for_the_first_of_them(models_dir):
    with Engine('tiny', str(models_dir)) as engine:
        engine.generate([[5] * (SHORT + 1)] * 3, Settings(length=2))
        assert 'prefill' not in vars(engine)
        engine.generate([[5] * (SHORT + 2)], Settings(length=2))
        assert 'prefill' in vars(engine)


@pytest.mark.parametrize('rows, width', [(1, 512), (16, 512), (32, 256), (64, 128), (1000, 128)])
def test_fewer_tokens_of_a_prompt_are_read_at_once_if_there_are_many(engine, rows, width):
    widths = []
    fill = engine.prefill  # built of the model as it is

    class Enough(Exception):
        pass

    def run(fetches, feed, rows):
        if fetches is fill:
            widths.append(feed[engine.state.unread].shape)
            raise Enough

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, 'run', run)
        patch.setattr(engine, 'hparams', engine.hparams.__class__(n_vocab=50257, n_ctx=1024))
        with pytest.raises(Enough):
            list(engine.stream([[5] * 1000] * rows, Settings(length=1)))
    assert widths == [(rows, width)]


def test_a_long_prompt_is_read_by_fused_kernels_in_parts(demo_engine):
    skip_without_kernels()
    assert demo_engine.prefill
    kinds = collections.Counter(op.type for op in demo_engine.graph.get_operations())
    n_layer = demo_engine.hparams.n_layer
    assert kinds['_FusedMatMul'] == 4 * n_layer
    assert kinds['_MklLayerNorm'] == 2 * n_layer + 1
    assert kinds['_MklFusedBatchMatMulV2'] == 4 * n_layer


def test_an_interruption_while_that_is_built_leaves_the_graph_finalized(models_dir, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with Engine('tiny', str(models_dir)) as engine:
        with monkeypatch.context() as patch:
            patch.setattr('fast.decoding.attention_in_parts', interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.generate([[5] * 20] * 50, Settings(length=2))
        assert engine.graph.finalized
        assert len(engine.generate([[5] * 20] * 50, Settings(length=2))) == 50
        assert engine.graph.finalized


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_long_prompt_leaves_in_the_cache_what_the_first_step_would(models_dir, dtype):
    """Read in parts behind each other and behind padding."""
    prompts = np.random.default_rng(0).integers(4096, size=[2, 230]).tolist()
    prompts[1] = prompts[1][:171]
    with Engine('demo', str(models_dir), dtype=dtype, n_shards=1) as engine:

        def cache_behind(**constants):
            with pytest.MonkeyPatch.context() as patch:
                for name, value in constants.items():
                    patch.setattr(f'generation.engine.{name}', value)
                engine.generate(prompts, Settings(length=1))
            return np.array(engine.session.run(engine.state.cache))  # [2, L, B, H, C, D]

        step = cache_behind(SHORT=229)
        parts = cache_behind(SHORT=228, PREFILL_AT_ONCE=200)
    assert step.shape[4] == 230
    close = 1e-4 if dtype == 'float32' else 0.1
    for row, start in (0, 0), (1, 59):
        expected = step[:, :, row, :, start:]
        np.testing.assert_allclose(parts[:, :, row, :, start:], expected, rtol=0, atol=close)


def test_what_several_rows_need_is_made_for_the_first_of_them(models_dir):
    with Engine('tiny', str(models_dir)) as engine:
        count = len(engine.graph.get_operations())
        engine.generate(PROMPTS[:1], Settings(length=3))
        assert len(engine.graph.get_operations()) == count
        engine.generate(PROMPTS, Settings(length=3))
        assert len(engine.graph.get_operations()) > count and engine.graph.finalized
        assert engine.decode(2) is engine.decode(3) is not engine.decode(1)


@pytest.mark.parametrize(('n_shards', 'of_embedding'), [(1, 1), (2, 8)])
def test_only_the_loop_has_a_second_copy_of_int8_weights(models_dir, n_shards, of_embedding):
    if not has_int8_kernel():  # test_int8.py tells whether it should be there
        pytest.skip('TensorFlow has no int8 matmul here')
    with Engine('demo', str(models_dir), dtype='int8', n_shards=n_shards) as engine:
        n_products = 4 * engine.hparams.n_layer * n_shards + of_embedding
        made = int8_products(engine)
        # One row by shards is multiplied in programs, which need no copy.
        assert len(made) == (n_products if n_shards == 1 else 0)
        assert engine.prefill
        of_prefill = len(int8_products(engine)) - len(made)
        _ = engine.decode(2)
        products = int8_products(engine)
    copying = [op.name for op in products if op.get_attr('is_weight_const')]
    in_loop = [name for name in copying if re.match(r'while(_1)?/', name)]
    assert n_products == len(copying) == len(in_loop)  # without shards one loop serves all
    assert of_prefill == n_products == len(products) - len(copying)


def int8_products(engine):
    return [op for op in engine.graph.get_operations() if op.type == '_QuantizedMatMul']


@pytest.mark.parametrize('dtype', [dtype for dtype in DTYPES if dtype != 'float32'])
def test_another_dtype_gives_text_that_does_not_depend_on_the_batch(models_dir, dtype):
    settings = Settings(length=20, seed=5)
    prompts = [[15, 95], [464], [40, 11, 345, 82, 33]]
    with Engine('demo', str(models_dir), dtype=dtype) as engine:
        together = engine.generate(prompts, settings)
        for i, prompt in enumerate(prompts):
            assert engine.generate([prompt], settings, first_sample=i) == [together[i]]


@pytest.mark.parametrize(
    ('dtype', 'n_shards', 'of_layer', 'others'),
    [
        ('float32', 1, 114, 463),
        ('float32', 2, 218, 572),
        ('int8', 1, 167, 464),
        ('int8', 2, 318, 600),
    ],
)
def test_the_loop_has_no_more_operations_than_it_needs(
    dtype, n_shards, of_layer, others, models_dir
):
    """Each costs microseconds: beside the products they are what a step of one row consists of."""
    with Engine('demo', str(models_dir), dtype=dtype, n_shards=n_shards) as engine:
        names = [op.name for op in engine.graph.get_operations() if op.name.startswith('while/')]
        n_layer = engine.hparams.n_layer
    in_a_layer = sum('/h0/' in name for name in names)
    assert 50 < in_a_layer <= of_layer
    assert len(names) - n_layer * in_a_layer <= others


def test_a_step_allocates_the_same_whatever_the_cache_holds(demo_engine, monkeypatch):
    """But for the scores of attention, which are as many as there are slots."""

    def allocated(capacity):
        monkeypatch.setattr('generation.engine.CACHE_STEP', capacity)
        traced = []

        def run(fetches, feed, run=tf.Session.run):
            if fetches is not demo_engine.decode(1):
                return run(demo_engine.session, fetches, feed)
            metadata = tf.RunMetadata()
            options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            new = run(demo_engine.session, fetches, feed, options=options, run_metadata=metadata)
            nodes = [n for d in metadata.step_stats.dev_stats for n in d.node_stats]
            sizes = [m.total_bytes for node in nodes for m in node.memory]
            traced.append((new.shape[1], sum(sizes)))
            return new

        with monkeypatch.context() as patch:
            patch.setattr(demo_engine.session, 'run', run)
            list(demo_engine.stream([[5]], Settings(length=capacity, seed=1), chunk_seconds=100))
        tokens, size = traced[-1]
        return size / tokens

    few, many = allocated(32), allocated(128)
    cache_of_a_layer = 96 * 2 * demo_engine.hparams.n_embd * 4
    scores = 96 * demo_engine.hparams.n_layer * demo_engine.hparams.n_head * 4 * 6
    assert 0 < few
    assert many - few < scores + cache_of_a_layer / 2


def test_greedy_text_is_that_of_2019_however_it_is_cut(engine, monkeypatch):
    golden = np.load(REFERENCE / 'tiny' / 'golden.npz')
    P, greedy = int(golden['P']), golden['greedy']
    prompts = golden['tokens'][:, :P].tolist()
    settings = Settings(length=greedy.shape[1] - P, temperature=0)
    assert engine.generate(prompts, settings) == greedy[:, P:].tolist()
    monkeypatch.setattr('generation.engine.CACHE_STEP', 3)
    chunks = list(engine.stream(prompts, settings, chunk_seconds=0))
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), greedy[:, P:])
    chunks = list(engine.stream(prompts, settings, chunk_seconds=9))
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), greedy[:, P:])


def test_two_streams_at_a_time_are_refused(engine):
    first = engine.stream(PROMPTS, Settings(length=9))
    next(first)
    engine.generate(PROMPTS, Settings(length=2))
    with pytest.raises(ValueError, match='one at a time'):
        next(first)


REQUESTS = [
    (PROMPTS, Settings(length=9, seed=5)),
    ([[5] * 30], Settings(length=12, top_k=3, seed=1)),
]


@pytest.fixture
def slow_runs(engine, monkeypatch):
    """Let other threads run before each run of the engine's session."""
    run = engine.session.run

    def slowly(*arguments):
        time.sleep(0.001)
        return run(*arguments)

    monkeypatch.setattr(engine.session, 'run', slowly)


def test_threads_that_share_an_engine_get_what_each_gets_alone(engine, slow_runs):
    alone = [engine.generate(*request) for request in REQUESTS]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        together = threads.map(lambda request: engine.generate(*request), REQUESTS * 3)
        assert list(together) == alone * 3


def test_of_streams_from_two_threads_each_is_whole_or_refused(engine, slow_runs):
    def streamed(request):
        try:
            chunks = engine.stream(*request, chunk_seconds=0)
            return np.concatenate(list(chunks), axis=1).tolist()
        except ValueError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        texts = list(threads.map(streamed, REQUESTS * 3))
    alone = [engine.generate(*request) for request in REQUESTS]
    for text, whole in zip(texts, alone * 3, strict=True):
        assert text == whole or 'one at a time' in text


def test_a_stream_that_has_given_all_its_tokens_is_whole_whatever_begins_then(engine):
    stream = engine.stream(PROMPTS, Settings(length=1))
    next(stream)
    engine.generate(PROMPTS, Settings(length=2))
    assert list(stream) == []


@pytest.mark.parametrize('prompts', [[], [[50257]], [[-1, 5]]])
def test_prompts_that_are_none_are_refused(engine, prompts):
    with pytest.raises(ValueError, match='no prompt|token outside 0..50256'):
        engine.stream(prompts, Settings(length=1))


def test_too_little_memory_is_one_line(engine, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')

    monkeypatch.setattr(engine.session, 'run', exhausted)
    with pytest.raises(ValueError, match='not enough memory for 3 texts'):
        next(engine.stream(PROMPTS, Settings(length=1)))


def test_a_text_may_fill_the_context_and_one_token_more(engine):
    n_ctx = engine.hparams.n_ctx
    [tokens] = engine.generate([[464] * n_ctx], Settings(length=1))
    assert len(tokens) == 1
    [tokens] = engine.generate([[464]], Settings(length=n_ctx))
    assert len(tokens) == n_ctx


def test_a_prompt_that_does_not_fit_is_refused_at_once_with_the_numbers(engine, monkeypatch):
    monkeypatch.setattr(engine, 'session', None)  # nothing may run
    with pytest.raises(ValueError, match='2 tokens and 64 new ones exceed the context of 64'):
        engine.stream([[464], [464, 464]], Settings(length=64))
    with pytest.raises(ValueError, match='prompt is empty'):
        engine.stream([[]], Settings(length=1))


def test_an_ended_row_is_cut_and_when_all_have_ended_the_request_ends(engine, monkeypatch):
    free = engine.generate(PROMPTS, Settings(length=40, seed=0))
    end = free[1][3]
    monkeypatch.setattr(type(engine.encoder), 'end_of_text', property(lambda self: end))
    settings = Settings(length=40, seed=0, stop_at_end=True)
    stopped = engine.generate(PROMPTS, settings)
    for row, whole in zip(stopped, free, strict=True):
        assert row == (whole[: whole.index(end)] if end in whole else whole)
    chunks = list(engine.stream([PROMPTS[1]], settings, first_sample=1, chunk_seconds=0))
    assert len(chunks) == 4  # the fourth token ends it


def test_stopping_needs_a_vocabulary_with_an_end(engine, monkeypatch):
    monkeypatch.setattr(type(engine.encoder), 'end_of_text', None)
    with pytest.raises(ValueError, match='has no <|endoftext|> to stop at'):
        engine.stream(PROMPTS, Settings(length=1, stop_at_end=True))


def test_progress_counts_every_token(engine):
    counted = []
    engine.generate(PROMPTS, Settings(length=10), progress=counted.append)
    assert sum(counted) == 30


def test_progress_counts_no_token_behind_the_end_of_a_row(engine, monkeypatch):
    free = engine.generate(PROMPTS, Settings(length=40, seed=0))
    monkeypatch.setattr(type(engine.encoder), 'end_of_text', property(lambda self: free[1][3]))
    counted = []
    rows = engine.generate(
        PROMPTS, Settings(length=40, seed=0, stop_at_end=True), progress=counted.append
    )
    assert sum(counted) == sum(map(len, rows)) < 120


@pytest.mark.parametrize('n_shards', [1, 2])
def test_the_readable_core_alone_generates_the_same_text(models_dir, n_shards):
    """Prompts that are prefilled and such that are not, padding, growth, truncation, end tokens."""
    prompts = np.random.default_rng(3).integers(4096, size=[3, 60]).tolist()
    prompts = [prompts[0], prompts[1][:5], prompts[2][:33]]
    texts = []
    for more in ({'fast': False}, {'n_shards': n_shards}):
        with Engine('demo', str(models_dir), **more) as engine:
            texts.append(
                [
                    engine.generate(prompts, Settings(length=CACHE_STEP + 9, seed=4, top_p=0.9)),
                    engine.generate(prompts[1:2], Settings(length=30, temperature=0)),
                    engine.generate(
                        prompts, Settings(length=30, top_k=9, stop_at_end=True, seed=1)
                    ),
                ]
            )
            kinds = {operation.type for operation in engine.graph.get_operations()}
            assert ('_FusedMatMul' in kinds) <= ('fast' not in more)
    assert texts[0] == texts[1]


def test_the_readable_core_alone_refuses_what_is_fast(models_dir):
    with pytest.raises(ValueError, match='fast=False computes layers as a whole, not by 2 shards'):
        Engine('demo', str(models_dir), n_shards=2, fast=False)
    with Engine('demo', str(models_dir), fast=False) as engine:
        with pytest.raises(ValueError, match='fast=False compiles nothing'):
            engine.compiled = True


@pytest.mark.parametrize('kind', [Engine, Scorer])
def test_the_readable_core_alone_is_float32(models_dir, kind):
    with pytest.raises(ValueError, match='fast=False computes in float32, not int8'):
        kind('demo', str(models_dir), dtype='int8', fast=False)
