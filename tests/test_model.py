import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
from helpers import hf_gpt2, numpy_gpt2
from helpers.paths import TESTDATA
from hparams import HParams


def run(hparams, fetch, feed, checkpoint):
    """Build with fetch(hparams, feed placeholders), restore, run. feed: {name: array}."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = {
            name: tf.placeholder(value.dtype, [None] * value.ndim) for name, value in feed.items()
        }
        fetched = fetch(hparams, **inputs)
        tf.train.Saver(tf.trainable_variables()).restore(session, str(checkpoint))
        return session.run(fetched, {inputs[name]: value for name, value in feed.items()})


def with_past(hparams, X, past):
    past = tf.ensure_shape(past, model.past_shape(hparams=hparams))
    return model.model(hparams, X, past)


def test_logits_and_present_equal_those_of_2019(reference):
    golden, hparams = reference.golden, HParams(**reference.sizes)
    out = run(hparams, model.model, {'X': golden['tokens']}, reference.folder / 'model.ckpt')
    expected = golden.get('logits', golden.get('logits_last'))
    np.testing.assert_allclose(out['logits'][:, -expected.shape[1] :], expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(out['present'], golden['present'], rtol=0, atol=1e-4)


def test_past_of_2019_gives_the_logits_of_2019(micro):
    golden, P = micro.golden, int(micro.golden['P'])
    feed = {'X': golden['tokens'][:, P:], 'past': golden['past_P']}
    out = run(HParams(**micro.sizes), with_past, feed, micro.folder / 'model.ckpt')
    np.testing.assert_allclose(out['logits'], golden['logits_after_past'], rtol=0, atol=1e-4)


@pytest.mark.parametrize('n_past', [0, 1, 5, 16])
def test_any_split_between_past_and_new_tokens_gives_the_same_logits(micro, n_past):
    tokens = micro.golden['tokens']
    past = micro.golden['present'][:, :, :, :, :n_past]
    feed = {'X': tokens[:, n_past:], 'past': past}
    out = run(HParams(**micro.sizes), with_past, feed, micro.folder / 'model.ckpt')
    expected = micro.golden['logits'][:, n_past:]
    np.testing.assert_allclose(out['logits'], expected, rtol=0, atol=1e-4)


def test_logits_equal_a_numpy_forward_pass(micro):
    hparams = HParams(**micro.sizes)
    tokens = np.random.default_rng(0).integers(0, hparams.n_vocab, [2, hparams.n_ctx])
    path = micro.folder / 'model.ckpt'
    out = run(hparams, model.model, {'X': tokens.astype(np.int32)}, path)
    weights = numpy_gpt2.load_weights(path)
    for row, logits in zip(tokens, out['logits'], strict=True):
        expected = numpy_gpt2.logits(weights, row, hparams.n_head)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_losses_and_gradient_norms_equal_those_of_2019(reference):
    golden = reference.golden

    def losses_and_norms(hparams, X):
        logits = model.model(hparams, X)['logits'][:, :-1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=X[:, 1:], logits=logits)
        variables = tf.trainable_variables()
        gradients = tf.gradients(tf.reduce_mean(losses), variables)
        norms = {
            v.op.name: tf.norm(g) for v, g in zip(variables, map(dense, gradients), strict=True)
        }
        return losses, norms

    feed = {'X': golden['tokens']}
    losses, norms = run(
        HParams(**reference.sizes), losses_and_norms, feed, reference.folder / 'model.ckpt'
    )
    np.testing.assert_allclose(losses, golden['token_loss'], rtol=0, atol=1e-4)
    prefix = 'grad_norm:'
    expected = {
        key.removeprefix(prefix).replace('|', '/'): value
        for key, value in golden.items()
        if key.startswith(prefix)
    }
    assert norms.keys() == expected.keys()
    # The reference added up wte's 804,112 squares in float32: its own error there is 1.4e-4.
    for name, norm in norms.items():
        np.testing.assert_allclose(norm, expected[name], rtol=2e-4, atol=1e-6, err_msg=name)


def dense(gradient):
    return tf.convert_to_tensor(gradient)


@pytest.mark.parametrize('name', ['124M', '355M', '774M', '1558M'])
def test_variables_are_those_of_the_released_checkpoints(name):
    """Names, shapes and the order of layers: what 2019's files hold under them."""
    pinned = json.loads((TESTDATA / 'variables.json').read_text(encoding='utf-8'))
    sizes = pinned['hparams'][name]
    symbols = {'3E': 3 * sizes['n_embd'], '4E': 4 * sizes['n_embd'], 'E': sizes['n_embd']}
    symbols |= {'V': sizes['n_vocab'], 'C': sizes['n_ctx']}
    expected = dict(pinned['model'])
    for layer in range(sizes['n_layer']):
        expected |= {k.replace('h*', f'h{layer}'): v for k, v in pinned['layer'].items()}
    expected = {k: [symbols.get(n, n) for n in shape] for k, shape in expected.items()}
    with tf.Graph().as_default():
        model.model(HParams(**sizes), tf.zeros([1, 1], tf.int32))
        variables = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    assert variables == expected
    assert sum(np.prod(s) for s in variables.values()) == pinned['parameters'][name]


@pytest.mark.parametrize('dtype', [tf.float16, tf.bfloat16])
def test_half_precision_stays_finite_where_everything_is_masked(dtype):
    """A row that sees nothing, as left padding makes them, must not turn into NaN."""
    with tf.Graph().as_default(), tf.Session() as session:
        q, k, v = (tf.constant(np.full([1, 1, 3, 4], 100), dtype) for _ in range(3))
        mask = tf.constant([[0, 0, 0], [1, 0, 0], [1, 1, 0]])
        out = session.run(tf.cast(model.attend(q, k, v, model.mask_bias(mask, dtype)), tf.float32))
    np.testing.assert_allclose(out, np.full([1, 1, 3, 4], 100), rtol=1e-2)


@pytest.mark.parametrize('dtype,tolerance', [(tf.float16, 0.05), (tf.bfloat16, 0.4)])
def test_the_whole_model_runs_in_half_precision(micro, dtype, tolerance):
    hparams, tokens = HParams(**micro.sizes), micro.golden['tokens']
    weights = numpy_gpt2.load_weights(micro.folder / 'model.ckpt')
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope('', dtype=dtype):
            logits = model.model(hparams, tf.constant(tokens))['logits']
        assert logits.dtype == dtype
        session.run([v.assign(weights[v.op.name]) for v in tf.trainable_variables()])
        out = session.run(tf.cast(logits, tf.float32))
    np.testing.assert_allclose(out, micro.golden['logits'], rtol=0, atol=tolerance)


@pytest.mark.parametrize('dtype', [tf.float16, tf.bfloat16])
@pytest.mark.parametrize('shape', [[1, 1], [None, None]])
def test_half_precision_takes_a_single_position_and_fed_shapes(micro, dtype, shape):
    with tf.Graph().as_default(), tf.Session() as session:
        tokens = tf.placeholder(tf.int32, shape)
        with tf.variable_scope('', dtype=dtype):
            logits = model.model(HParams(**micro.sizes), tokens)['logits']
        session.run(tf.global_variables_initializer())
        out = session.run(tf.cast(logits, tf.float32), {tokens: [[1]]})
    assert out.shape == (1, 1, micro.sizes['n_vocab']) and np.isfinite(out).all()


def test_attention_mask_is_a_triangle_aligned_to_the_lower_right():
    with tf.Session(graph=tf.Graph()) as session:
        mask = session.run(model.attention_mask(2, 4, dtype=tf.float32))
    np.testing.assert_array_equal(mask, [[1, 1, 1, 0], [1, 1, 1, 1]])


def test_building_blocks_keep_their_2019_signatures(micro):
    """Research code calls them one by one, with a tensor or None as the past."""
    hparams = HParams(**micro.sizes)
    head = [1, 2, hparams.n_head, 3, hparams.n_embd // hparams.n_head]
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.random.normal([1, 2, hparams.n_embd])
        past = tf.zeros(head)
        h, present = model.block(x, 'h0', past=past, hparams=hparams)
        a, _ = model.attn(x, 'attn', hparams.n_embd, past=None, hparams=hparams)
        m = model.mlp(x, 'mlp', 4 * hparams.n_embd, hparams=hparams)
        c = model.conv1d(model.norm(x, 'n'), 'c', 5)
        session.run(tf.global_variables_initializer())
        shapes = [v.shape for v in session.run([h, present, a, m, c])]
    E = hparams.n_embd
    new = (1, 2, hparams.n_head, 2, E // hparams.n_head)
    assert shapes == [(1, 2, E), new, (1, 2, E), (1, 2, E), (1, 2, 5)]


def test_scope_and_reuse_share_variables():
    hparams = HParams(n_vocab=5, n_ctx=4, n_embd=4, n_head=1, n_layer=1)
    with tf.Graph().as_default():
        X = tf.zeros([1, 2], tf.int32)
        model.model(hparams, X, scope='one')
        n = len(tf.global_variables())
        model.model(hparams, X, scope='one', reuse=True)
        assert len(tf.global_variables()) == n
        with pytest.raises(ValueError):
            model.model(hparams, X, scope='one')
        model.model(hparams, X, scope='two')
        assert len(tf.global_variables()) == 2 * n


def test_tokens_past_the_context_are_refused_with_the_numbers():
    hparams = HParams(n_vocab=5, n_ctx=4, n_embd=4, n_head=1, n_layer=1)
    with tf.Graph().as_default(), pytest.raises(ValueError, match='0 past and 5 new.*n_ctx=4'):
        model.model(hparams, tf.zeros([1, 5], tf.int32))


def test_research_code_of_2019_runs_with_one_changed_line():
    """Placeholders outside a graph block, TensorShape's .value: v1 behaviour throughout."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.int32, [2, None])
        assert x.shape[0].value == 2
    assert not tf.executing_eagerly()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    hparams = model.default_hparams()
    hparams.override_from_dict({'n_vocab': 7})
    assert hparams.n_vocab == 7 and hparams.n_layer == 12


@pytest.mark.peers
def test_logits_and_greedy_text_equal_those_of_transformers(micro):
    import torch

    path = micro.folder / 'model.ckpt'
    network = hf_gpt2.load(path, micro.sizes)
    hparams, tokens = HParams(**micro.sizes), micro.golden['tokens']
    out = run(hparams, model.model, {'X': tokens}, path)
    with torch.inference_mode():
        logits = network(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
        prompt = torch.tensor(tokens[:, : int(micro.golden['P'])], dtype=torch.long)
        greedy = network.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_length=micro.golden['greedy'].shape[1],
            do_sample=False,
            pad_token_id=0,
        )
    np.testing.assert_allclose(out['logits'], logits, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(greedy.numpy(), micro.golden['greedy'])
