import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import sample
from helpers import numpy_gpt2
from helpers.graphs import check_cache_is_not_copied
from helpers.paths import REFERENCE
from hparams import HParams


def evaluate(tensors):
    with tf.Session() as session:
        return session.run(tensors)


class Micro:
    """Runs sample_sequence on the micro checkpoint; the graph is built anew each time."""

    def __init__(self, reference):
        self.hparams = HParams(**reference.sizes)
        self.path = str(reference.folder / 'model.ckpt')
        self.tokens = reference.golden['tokens']

    def __call__(self, feed=None, runs=1, **arguments):
        with tf.Graph().as_default(), tf.Session() as session:
            feed = {tf.placeholder(*spec): value for spec, value in (feed or {}).items()}
            placeholders = {p.op.name: p for p in feed}
            arguments = {
                k: placeholders.get(v, v) if isinstance(v, str) else v for k, v in arguments.items()
            }
            out = sample.sample_sequence(hparams=self.hparams, **arguments)
            tf.train.Saver(tf.trainable_variables()).restore(session, self.path)
            outs = [session.run(out, feed) for _ in range(runs)]
        return outs[0] if runs == 1 else outs


@pytest.fixture
def sequence(micro):
    return Micro(micro)


# Truncation


@pytest.mark.parametrize('k', [0, 1, 5, 40])
def test_top_k_keeps_what_2019_kept(k):
    reference = np.load(REFERENCE / 'truncation.npz')
    logits = reference['logits']
    with tf.Graph().as_default():
        out = evaluate(sample.top_k_logits(tf.constant(logits), k))
    kept = reference[f'top_k_{k}'] > -1e9
    np.testing.assert_array_equal(out[kept], logits[kept])
    assert (out[~kept] == np.finfo(np.float32).min).all()


def test_top_k_is_fed_and_may_exceed_the_vocabulary():
    with tf.Graph().as_default(), tf.Session() as session:
        k = tf.placeholder(tf.int32, [])
        out = sample.top_k_logits(tf.constant([[1.0, 3.0, 2.0]]), k)
        kept = [(session.run(out, {k: n}) > -1e9).sum() for n in (0, 1, 2, 3, 99)]
    assert kept == [3, 1, 2, 3, 3]


def nucleus(logits, p):
    """The definition, one row at a time: likeliest first until the mass reaches p."""
    probabilities = numpy_gpt2.softmax(logits.astype(np.float64))
    kept = np.zeros(logits.shape, bool)
    for row, mask in zip(probabilities, kept, strict=True):
        mass = 0.0
        for token in np.argsort(-row, kind='stable'):
            mask[token] = True
            mass += row[token]
            if mass >= p:
                break
    return kept


@pytest.mark.parametrize('likeliest', [16, 1024])  # the nucleus may reach beyond 16
@pytest.mark.parametrize('p', [0.0, 0.05, 0.3, 0.5, 0.9, 0.99, 1.0])
def test_top_p_keeps_the_smallest_set_that_reaches_p(monkeypatch, p, likeliest):
    monkeypatch.setattr(sample, 'SORTED_AT_FIRST', likeliest)
    logits = np.random.default_rng(1).normal(0, 3, [4, 200]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.float32, [])
        out = session.run(sample.top_p_logits(tf.constant(logits), fed), {fed: p})
    np.testing.assert_array_equal(out > -1e9, nucleus(logits, p))
    np.testing.assert_array_equal(out[out > -1e9], logits[out > -1e9])


@pytest.mark.parametrize('p, widths', [(0.4, [16]), (0.99, [16, 200])])
def test_top_p_sorts_the_whole_vocabulary_only_where_it_has_to(monkeypatch, p, widths):
    monkeypatch.setattr(sample, 'SORTED_AT_FIRST', 16)
    logits = np.random.default_rng(1).normal(0, 3, [4, 200]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        out = sample.top_p_logits(tf.placeholder_with_default(logits, [4, 200]), p)
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        session.run(out, options=options, run_metadata=metadata)
    sorted_shapes = {
        node.node_name: node.output[0].tensor_description.shape.dim[1].size
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
        if 'TopKV2(' in node.timeline_label
    }
    assert sorted(sorted_shapes.values()) == widths


def test_top_p_keeps_the_token_that_crosses_p_unlike_2019():
    reference = np.load(REFERENCE / 'truncation.npz')
    logits = reference['logits']
    for name in reference.files:
        if name.startswith('top_p_'):
            p = float(name.removeprefix('top_p_'))
            with tf.Graph().as_default():
                ours = evaluate(sample.top_p_logits(tf.constant(logits), p)) > -1e9
            theirs = reference[name] > -1e9
            assert (theirs <= ours).all()
            np.testing.assert_array_equal(ours, nucleus(logits, p))


@pytest.mark.parametrize('p', [0.45, 0.5])  # four tokens cross the first and just reach the other
def test_top_p_of_equally_likely_tokens_keeps_no_more_than_needed(p):
    with tf.Graph().as_default():
        out = evaluate(sample.top_p_logits(tf.zeros([1, 8]), p))
    np.testing.assert_array_equal(out[0] == 0, [1, 1, 1, 1, 0, 0, 0, 0])


def test_top_p_takes_logits_of_any_shape():
    logits = np.random.default_rng(1).normal(0, 3, [3, 50]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.float32, [None, None])
        out = session.run(sample.top_p_logits(fed, 0.5), {fed: logits})
    np.testing.assert_array_equal(out > -1e9, nucleus(logits, 0.5))


def test_top_p_of_1_changes_nothing():
    logits = np.array([[0, -50, -1e6]], np.float32)
    with tf.Graph().as_default():
        np.testing.assert_array_equal(evaluate(sample.top_p_logits(tf.constant(logits), 1)), logits)


def by_token(logits, kept):
    """What the definition of a truncation keeps of each row, which it is told in float64."""
    return np.array([kept(numpy_gpt2.softmax(row.astype(np.float64))) for row in logits])


def at_least(p):
    return lambda row: row >= p * row.max()


def typical(p):
    """The definition of Meister et al.: nearest to the entropy first, until the mass reaches p."""

    def kept(row):
        distance = abs(-np.log(row) + (row * np.log(row)).sum())
        mass, mask = 0.0, np.zeros(row.shape, bool)
        for token in np.argsort(distance):
            mask[token] = True
            mass += row[token]
            if mass >= p:
                break
        return mask

    return kept


@pytest.mark.parametrize('truncation, kept', [('min_p', at_least), ('typical_p', typical)])
@pytest.mark.parametrize('p', [0.01, 0.3, 0.9, 0.999])
def test_min_p_and_typical_p_keep_what_their_definitions_say(truncation, kept, p):
    logits = np.random.default_rng(1).normal(0, 3, [4, 200]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.float32, [])
        function = getattr(sample, f'{truncation}_logits')
        out = session.run(function(tf.constant(logits), fed), {fed: p})
    np.testing.assert_array_equal(out > -1e9, by_token(logits, kept(p)))
    np.testing.assert_array_equal(out[out > -1e9], logits[out > -1e9])


def test_min_p_of_0_and_typical_p_of_1_change_nothing():
    logits = np.array([[0, -50, -1e6]], np.float32)
    with tf.Graph().as_default():
        outs = (
            sample.min_p_logits(tf.constant(logits), 0),
            sample.typical_p_logits(tf.constant(logits), 1),
        )
        for out in evaluate(outs):
            np.testing.assert_array_equal(out, logits)


def test_typical_p_may_drop_the_most_likely_token_but_keeps_one_of_those_left():
    """Tokens that an earlier truncation took away stay away."""
    lowest = np.finfo(np.float32).min
    logits = np.log(np.array([[0.6, 0.2, 0.1, 0.1]], np.float32))
    with tf.Graph().as_default():
        out = evaluate(sample.typical_p_logits(tf.constant(logits), 0.1))
        truncated = sample.top_k_logits(tf.constant(logits), 2)
        both = evaluate(sample.typical_p_logits(truncated, 0.999))
    assert (out > lowest).tolist() == [[False, True, False, False]]
    assert (both > lowest).tolist() == [[True, True, False, False]]


def test_the_repetition_penalty_is_that_of_the_paper():
    logits = np.array([[2, -2, 0.5, 0], [1, 2, -3, 4]], np.float32)
    seen = np.array([[1, 1, 0, 1], [0, 0, 1, 1]], bool)
    with tf.Graph().as_default(), tf.Session() as session:
        penalty = tf.placeholder(tf.float32, [])
        out = sample.penalize_repetition(tf.constant(logits), tf.constant(seen), penalty)
        values = [session.run(out, {penalty: n}) for n in (2, 0.5)]
        nothing = tf.placeholder_with_default(np.zeros([2, 0], bool), [None, None])
        nobody = sample.penalize_repetition(tf.constant(logits), nothing, 1)
        np.testing.assert_array_equal(session.run(nobody), logits)
    np.testing.assert_array_equal(values[0], [[1, -4, 0.5, 0], [1, 2, -6, 2]])
    np.testing.assert_array_equal(values[1], [[4, -1, 0.5, 0], [1, 2, -1.5, 8]])


@pytest.mark.peers
@pytest.mark.parametrize('value', [0.02, 0.5, 0.95])
def test_samplers_do_what_those_of_transformers_do(value):
    import torch
    from transformers.generation import logits_process as theirs

    rng = np.random.default_rng(3)
    logits = rng.normal(0, 4, [8, 5000]).astype(np.float32)
    tokens = rng.integers(0, 5000, [8, 300])
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, tokens, True, axis=1)
    with tf.Graph().as_default():
        x = tf.constant(logits)
        alone = {
            theirs.MinPLogitsWarper(value): sample.min_p_logits(x, value),
            theirs.TypicalLogitsWarper(value): sample.typical_p_logits(x, value),
            theirs.RepetitionPenaltyLogitsProcessor(value + 1): sample.penalize_repetition(
                x, seen, value + 1
            ),
            theirs.TopKLogitsWarper(40): sample.top_k_logits(x, 40),
            theirs.TopPLogitsWarper(value): sample.top_p_logits(x, value),
        }
        ours = evaluate(list(alone.values()))
    for processor, out in zip(alone, ours, strict=True):
        other = processor(torch.tensor(tokens), torch.tensor(logits)).numpy()
        np.testing.assert_array_equal(out > -1e30, other > -1e30, err_msg=str(processor))
        np.testing.assert_allclose(out[out > -1e30], other[other > -1e30], rtol=1e-6)


# Random numbers


def noise(first, batch, seed=5, step=3, n_vocab=10):
    with tf.Graph().as_default():
        return evaluate(sample.gumbel_noise(seed, first, step, batch, n_vocab))


@pytest.mark.parametrize('n_vocab', [8, 10, 97])
def test_noise_depends_on_seed_sample_and_step_alone(n_vocab):
    whole = noise(0, 6, n_vocab=n_vocab)
    parts = [noise(i, n, n_vocab=n_vocab) for i, n in ((0, 1), (1, 3), (4, 2))]
    # The last bit of a logarithm depends on where in a vector register it is computed.
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-6)
    assert len(np.unique(whole)) == whole.size
    for other in (noise(0, 6, seed=6, n_vocab=n_vocab), noise(0, 6, step=4, n_vocab=n_vocab)):
        assert not np.isin(other, whole).any()


def test_noise_takes_the_largest_seeds_and_sample_numbers():
    assert np.isfinite(noise(2**40, 2, seed=2**63 - 1)).all()


def test_noise_is_gumbel_distributed():
    values = np.sort(noise(0, 200, n_vocab=1000).ravel())
    empirical = np.arange(1, values.size + 1) / values.size
    assert np.isfinite(values).all()
    # Kolmogorov-Smirnov: 200,000 draws differ by more than this with probability 1e-6.
    assert np.abs(np.exp(-np.exp(-values)) - empirical).max() < 0.006


@pytest.mark.parametrize(
    'parameters',
    [
        {},
        {'top_k': 3},
        {'top_p': 0.9},
        {'top_k': 3, 'top_p': 0.5},
        {'min_p': 0.1},
        {'typical_p': 0.9},
    ],
)
def test_no_numbers_give_the_same_token_always_and_leave_other_rows_alone(parameters):
    """Not words that look as if a model had chosen them."""
    logits = np.random.default_rng(0).normal(0, 3, [2, 600]).astype(np.float32)
    logits[0] = np.nan
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int32, [])
        tokens = sample.next_token(
            tf.constant(logits), sample.SamplingParameters(**parameters), step
        )
        alone = sample.next_token(
            tf.constant(logits[1:]), sample.SamplingParameters(first_sample=1, **parameters), step
        )
        answers = [session.run([tokens, alone], {step: n}) for n in range(20)]
    assert len({both[0] for both, _ in answers}) == 1
    assert all(both[1] == one[0] for both, one in answers)


def drawn(logits, temperature, seed, number, step):
    """The token that a row of logits [V] gives, by the definition: a block, then one of it."""
    logprobs = np.log(numpy_gpt2.softmax(logits / temperature))
    blocks = [logprobs[i : i + sample.BLOCK] for i in range(0, len(logprobs), sample.BLOCK)]
    (gumbel,) = noise(number, 1, seed=seed, step=step, n_vocab=len(blocks) + sample.BLOCK)
    of_blocks = [np.logaddexp.reduce(block) for block in blocks] + gumbel[: len(blocks)]
    chosen = int(np.argmax(of_blocks))
    of_tokens = blocks[chosen] + gumbel[len(blocks) :][: len(blocks[chosen])]
    return chosen * sample.BLOCK + int(np.argmax(of_tokens))


def test_a_block_is_drawn_and_then_a_token_of_it():
    logits = np.random.default_rng(2).normal(0, 2, [50, 600])
    parameters = sample.SamplingParameters(temperature=0.8, seed=9, first_sample=4)
    with tf.Graph().as_default():
        tokens = evaluate(sample.next_token(tf.constant(logits, tf.float32), parameters, 7))
    assert tokens.tolist() == [
        drawn(row, 0.8, seed=9, number=4 + i, step=7) for i, row in enumerate(logits)
    ]
    assert len(set(tokens // sample.BLOCK)) == 3


def test_tokens_of_all_blocks_are_drawn_with_their_probability():
    n, n_vocab = 40000, 600
    logits = np.full([1, n_vocab], -9.0)
    likely = [0, 3, 255, 256, 300, 511, 512, 599]
    logits[0, likely] = np.arange(len(likely)) / 3
    expected = numpy_gpt2.softmax(logits)[0]
    with tf.Graph().as_default():
        tiled = tf.tile(tf.constant(logits, tf.float32), [n, 1])
        tokens = evaluate(sample.next_token(tiled, sample.SamplingParameters(seed=1), 0))
    frequency = np.bincount(tokens, minlength=n_vocab) / n
    bound = 5 * np.sqrt(expected * (1 - expected) / n) + 1 / n  # 5 standard deviations
    assert (abs(frequency - expected) < bound).all()


@pytest.mark.parametrize(
    'parameters,expected',
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({'temperature': 0.5}, [0.7246, 0.1812, 0.0652, 0.029]),
        ({'top_k': 2}, [2 / 3, 1 / 3, 0, 0]),
        ({'top_p': 0.6}, [2 / 3, 1 / 3, 0, 0]),
        ({'temperature': 0}, [1, 0, 0, 0]),
        ({'temperature': 0, 'top_k': 3, 'top_p': 0.5}, [1, 0, 0, 0]),
        ({'min_p': 0.25}, [5 / 9, 2.5 / 9, 1.5 / 9, 0]),
        ({'typical_p': 0.2}, [0, 1, 0, 0]),
        # Each on what the one before it has left.
        ({'top_p': 0.7, 'min_p': 0.5, 'typical_p': 0.4}, [1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_with_their_probability(parameters, expected):
    n = 40000
    logits = np.log(np.tile([[0.5, 0.25, 0.15, 0.1]], [n, 1])).astype(np.float32)
    with tf.Graph().as_default():
        tokens = evaluate(
            sample.next_token(tf.constant(logits), sample.SamplingParameters(**parameters), 0)
        )
    frequency = np.bincount(tokens, minlength=4) / n
    np.testing.assert_allclose(frequency, expected, rtol=0, atol=0.012)  # 5 standard deviations
    assert set(np.flatnonzero(frequency)) <= set(np.flatnonzero(expected))


# The loop


def test_greedy_continuations_are_those_of_2019(reference):
    golden = reference.golden
    P, total = int(golden['P']), golden['greedy'].shape[1]
    sequence = Micro(reference)
    for parameters in ({'top_k': 1}, {'temperature': 0}):
        out = sequence(context=golden['tokens'][:, :P], length=total - P, **parameters)
        np.testing.assert_array_equal(out, golden['greedy'])


def test_the_loop_equals_sampling_with_a_whole_forward_pass_a_token(sequence, micro):
    """The cache, positions and noise against NumPy, which reads every text from its start."""
    weights = numpy_gpt2.load_weights(micro.folder / 'model.ckpt')
    prompt, length = sequence.tokens[:2, :4], 9
    out = sequence(context=prompt, length=length, temperature=0.7, seed=11, first_sample=3)
    for row in range(2):
        text = list(prompt[row])
        for step in range(length):
            logits = numpy_gpt2.logits(weights, text, sequence.hparams.n_head)[-1]
            text.append(drawn(logits, 0.7, seed=11, number=3 + row, step=step))
        np.testing.assert_array_equal(out[row], text)


def test_tokens_of_prompts_are_seen_but_not_what_fills_their_left():
    with tf.Graph().as_default():
        context, padding = tf.constant([[0, 0, 3, 5], [1, 2, 2, 0]]), tf.constant([2, 0])
        seen, off = evaluate([sample.seen_tokens(context, padding, 7, p) for p in (1.5, 1)])
    assert [np.flatnonzero(row).tolist() for row in seen] == [[3, 5], [0, 1, 2]]
    assert off.shape == (2, 0)


def test_the_penalty_is_for_tokens_of_the_prompt_and_of_the_sample(sequence, micro):
    """The loop, greedily and with padding, against NumPy."""
    weights = numpy_gpt2.load_weights(micro.folder / 'model.ckpt')
    lengths, length, penalty = [4, 2], 9, 1.5
    context = sequence.tokens[:2, :4]
    arguments = dict(context=context, prompt_lengths=lengths, length=length, temperature=0)
    out = sequence(**arguments, repetition_penalty=penalty)
    for row, n in enumerate(lengths):
        text = list(context[row, 4 - n :])
        for _ in range(length):
            logits = numpy_gpt2.logits(weights, text, sequence.hparams.n_head)[-1]
            seen = list(set(text))
            logits[seen] = np.where(
                logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty
            )
            text.append(int(np.argmax(logits)))
        np.testing.assert_array_equal(out[row, 4:], text[n:])
    assert (out != sequence(**arguments)).any()


def test_a_fed_penalty_may_be_none(sequence):
    """For a known number of rows, too, of whose tokens nothing is kept then."""
    prompt = sequence.tokens[:1, :4]
    expected = sequence(context=prompt, length=5, seed=1)
    feed = {(tf.float32, (), 'repetition_penalty'): 1}
    names = dict(repetition_penalty='repetition_penalty')
    found = sequence(feed, context=prompt, length=5, seed=1, **names)
    np.testing.assert_array_equal(found, expected)


def test_a_text_may_fill_the_context_and_one_token_more(sequence):
    out = sequence(context=sequence.tokens[:1, :4], length=29, seed=0)
    assert out.shape == (1, 33)
    with pytest.raises(ValueError, match='4 tokens and 30 new ones exceed the context of 32'):
        sequence(context=sequence.tokens[:1, :4], length=30)


def test_fed_sizes_that_do_not_fit_are_refused_when_run(sequence):
    feed = {(tf.int32, (None, None), 'context'): sequence.tokens[:1, :4]}
    for length in (30, 10**9):  # the cache of the second would not fit any memory
        feed[(tf.int32, (), 'length')] = length
        with pytest.raises(tf.errors.InvalidArgumentError, match='exceed the context of 32'):
            sequence(feed, context='context', length='length')


@pytest.mark.parametrize(
    'numbers',
    [
        {'length': 0},
        {'temperature': -1},
        {'top_k': -1},
        {'top_p': 0},
        {'top_p': 1.5},
        {'min_p': -1},
        {'typical_p': 0},
        {'repetition_penalty': 0},
        {'seed': 1.7},
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(sequence, numbers):
    (name,) = numbers
    with pytest.raises(ValueError, match=f'{name} must be'):
        sequence(**{'start_token': 1, 'batch_size': 1, 'length': 1} | numbers)


def test_numbers_of_numpy_are_checked_at_once_too(sequence):
    with pytest.raises(ValueError, match='4 tokens and 30 new ones exceed the context of 32'):
        sequence(context=sequence.tokens[:1, :4], length=np.int64(30))


@pytest.mark.parametrize('n_prompt, length', [(4, 0), (0, 4)])
def test_fed_sizes_of_nothing_are_refused(sequence, n_prompt, length):
    feed = {(tf.int32, (None, None), 'context'): sequence.tokens[:1, :n_prompt]}
    feed[(tf.int32, (), 'length')] = length
    with pytest.raises(tf.errors.InvalidArgumentError, match='must be at least 1'):
        sequence(feed, context='context', length='length')


def test_prompts_without_their_shape_are_refused(sequence):
    with pytest.raises(ValueError, match='start_token needs a batch_size'):
        sequence(start_token=1, length=1)
    with pytest.raises(ValueError, match=r'must have the shape \[batch, tokens\]'):
        sequence(context=[1, 2], length=1)


@pytest.mark.parametrize('lengths', [[0, 1], [4, 5], [-1, 4]])
def test_prompt_lengths_outside_the_prompts_are_refused(sequence, lengths):
    with pytest.raises(tf.errors.InvalidArgumentError, match='prompt lengths must be from 1'):
        sequence(context=sequence.tokens[:2, :4], prompt_lengths=lengths, length=1)


def test_everything_can_be_fed(sequence):
    prompt = sequence.tokens[:2, :4]
    more = {'min_p': 0.01, 'typical_p': 0.99, 'repetition_penalty': 1.2}
    parameters = dict(temperature=0.8, top_k=9, top_p=0.8, seed=4)
    expected = sequence(context=prompt, length=7, **parameters, **more)
    feed = {
        (tf.int32, (None, None), 'context'): prompt,
        (tf.int32, (), 'length'): 7,
        (tf.float32, (), 'temperature'): 0.8,
        (tf.int32, (), 'top_k'): 9,
        (tf.float32, (), 'top_p'): 0.8,
        (tf.int64, (), 'seed'): 4,
    } | {(tf.float32, (), name): value for name, value in more.items()}
    names = {name: name for _, _, name in feed}
    np.testing.assert_array_equal(sequence(feed, **names), expected)


def test_exactly_one_of_start_token_and_context(sequence):
    for arguments in ({}, {'start_token': 1, 'context': sequence.tokens[:, :1]}):
        with pytest.raises(ValueError, match='exactly one'):
            sequence(length=1, **arguments)


def test_start_token_begins_every_row(sequence):
    out = sequence(start_token=7, batch_size=3, length=5, seed=1)
    assert out.shape == (3, 6) and (out[:, 0] == 7).all()
    same = sequence(context=np.full([3, 1], 7), length=5, seed=1)
    np.testing.assert_array_equal(out, same)


def test_a_seed_gives_the_same_text_whatever_the_batch(sequence):
    prompt = np.repeat(sequence.tokens[:1, :4], 5, axis=0)
    together = sequence(context=prompt, length=12, seed=9)
    assert len({tuple(row) for row in together}) == 5
    for i, row in enumerate(together):
        alone = sequence(context=prompt[:1], length=12, seed=9, first_sample=i)
        np.testing.assert_array_equal(alone[0], row)


def test_without_a_seed_runs_differ_and_follow_the_graph_seed(sequence):
    def runs():
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(3)
            out = sample.sample_sequence(
                hparams=sequence.hparams, length=12, start_token=1, batch_size=1
            )
            tf.train.Saver(tf.trainable_variables()).restore(session, sequence.path)
            return [session.run(out) for _ in range(2)]

    first, again = runs(), runs()
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(first, again)


def test_prompts_of_different_lengths_give_what_they_give_alone(sequence):
    lengths = [1, 3, 8, 5]
    context = np.full([4, 8], -1)  # any filler must do
    for row, n in enumerate(lengths):
        context[row, 8 - n :] = sequence.tokens[row % 3, :n]
    for parameters in ({'temperature': 0}, {'seed': 2}):
        batched = sequence(context=context, prompt_lengths=lengths, length=10, **parameters)
        for row, n in enumerate(lengths):
            alone = sequence(
                context=context[row : row + 1, 8 - n :], length=10, first_sample=row, **parameters
            )
            np.testing.assert_array_equal(batched[row, 8:], alone[0, n:])


def test_rows_stop_behind_the_end_token(sequence):
    prompt = sequence.tokens[:3, :4]
    free = sequence(context=prompt, length=20, seed=0)
    end = int(free[0, 7])
    stopped = sequence(context=prompt, length=20, seed=0, end_token=end)
    assert stopped.shape == free.shape
    for row, original in zip(stopped[:, 4:], free[:, 4:], strict=True):
        n = list(original).index(end) + 1 if end in original else len(original)
        np.testing.assert_array_equal(row[:n], original[:n])
        assert (row[n:] == end).all()
    assert (stopped[0, 8:] == end).all() and (free[0, 8:] != end).any()


class CountingModel:
    """Stands in for the model: the next token is the last one plus one. Counts its calls."""

    def __init__(self):
        self.calls = 0

    def model(self, hparams, X, memories, reuse, positions, last_only):
        def count():
            self.calls += 1
            return np.int32(0)

        for memory in memories:
            state = tf.zeros([tf.shape(X)[0], hparams.n_head, tf.shape(X)[1], 2])
            memory.attend(state, state, state, positions)
        with tf.control_dependencies([tf.py_func(count, [], tf.int32)]):
            logits = 100 * tf.one_hot(X[:, -1:] + 1, hparams.n_vocab)
        return {'logits': logits}


@pytest.fixture
def counting(monkeypatch):
    counter = CountingModel()
    monkeypatch.setattr(model, 'model', counter.model)
    return counter


def test_the_loop_feeds_each_token_back_and_calls_the_model_once_a_token(counting):
    hparams = HParams(n_vocab=50, n_ctx=32, n_embd=4, n_head=2, n_layer=1)
    with tf.Graph().as_default():
        out = evaluate(sample.sample_sequence(hparams=hparams, length=6, context=[[3, 4], [9, 20]]))
    np.testing.assert_array_equal(out[:, 2:], [[5, 6, 7, 8, 9, 10], [21, 22, 23, 24, 25, 26]])
    assert counting.calls == 6


def test_the_loop_ends_when_all_rows_have_ended(counting):
    hparams = HParams(n_vocab=50, n_ctx=32, n_embd=4, n_head=2, n_layer=1)
    with tf.Graph().as_default():
        out = evaluate(
            sample.sample_sequence(
                hparams=hparams, length=20, context=[[3], [6]], end_token=8, temperature=0
            )
        )
    np.testing.assert_array_equal(out[:, :7], [[3, 4, 5, 6, 7, 8, 8], [6, 7, 8, 8, 8, 8, 8]])
    assert (out[:, 7:] == 8).all()
    assert counting.calls == 5


def test_decoding_in_pieces_equals_decoding_at_once(sequence):
    """The state that decode returns is all that the next call needs."""
    with tf.Graph().as_default(), tf.Session() as session:
        context, padding = tf.constant(sequence.tokens[:2, :5]), tf.constant([0, 2])
        parameters = sample.SamplingParameters(temperature=1.0, seed=8, repetition_penalty=1.3)
        state = sample.start(sequence.hparams, context, padding, 20, parameters.repetition_penalty)
        whole, _ = sample.decode(sequence.hparams, state, 12, parameters)
        pieces = []
        for n in (1, 4, 7):
            with tf.control_dependencies(pieces):
                piece, state = sample.decode(sequence.hparams, state, n, parameters)
            pieces.append(piece)
        tf.train.Saver(tf.trainable_variables()).restore(session, sequence.path)
        whole, pieces = session.run([whole, pieces])
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_the_loop_copies_no_cache(sequence):
    with tf.Graph().as_default() as graph:
        sample.sample_sequence(hparams=sequence.hparams, length=5, start_token=0, batch_size=2)
    check_cache_is_not_copied(graph, sequence.hparams)
