import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from fast import session_config
from helpers.graphs import largest_tensors
from hparams import HParams
from training import loss
from training.dropout import Training


def evaluate(build, reference):
    """Build with build(hparams, inputs, targets) for a reference's tokens, restore and run."""
    tokens = reference.golden['tokens'].astype(np.int32)
    with tf.Graph().as_default(), tf.Session() as session:
        fetched = build(
            HParams(**reference.sizes), tf.constant(tokens[:, :-1]), tf.constant(tokens[:, 1:])
        )
        saver = tf.train.Saver(tf.trainable_variables())
        saver.restore(session, str(reference.folder / 'model.ckpt'))
        return session.run(fetched)


def norms_of_gradients(scalar):
    variables = tf.trainable_variables()
    gradients = map(tf.convert_to_tensor, tf.gradients(scalar, variables))
    return {v.op.name: tf.norm(g) for v, g in zip(variables, gradients, strict=True)}


@pytest.fixture(params=['all at once', 'a few positions at a time'])
def slices(request, monkeypatch, reference):
    """Both ways to go through the positions; 7 divides neither reference's number of them."""
    if request.param == 'a few positions at a time':
        monkeypatch.setattr(loss, 'LOGITS_AT_ONCE', 7 * reference.sizes['n_vocab'])


def loss_of(function, hparams, inputs, targets):
    """What a loss function makes of a model that is built for it."""
    hidden = model.model(hparams, inputs)['hidden']
    return function(hidden, seam.token_embedding(hparams), targets)


@pytest.mark.parametrize('recompute', [False, True])
def test_training_loss_and_its_gradients_are_those_of_2019(reference, slices, recompute):
    def build(hparams, inputs, targets):
        with seam.carried_out_by(Training(recompute=recompute)):
            mean = loss_of(loss.training_loss, hparams, inputs, targets)
        return mean, norms_of_gradients(mean)

    mean, norms = evaluate(build, reference)
    golden = reference.golden
    assert mean == pytest.approx(golden['token_loss'].mean(), abs=1e-4)
    expected = {
        key.removeprefix('grad_norm:').replace('|', '/'): value
        for key, value in golden.items()
        if key.startswith('grad_norm:')
    }
    assert set(norms) == set(expected)
    for name, norm in norms.items():
        # The reference's sum for wte is 1.4e-4 off: it was added up in float32.
        assert norm == pytest.approx(expected[name], rel=2e-4), name


def test_losses_of_tokens_are_those_of_2019(reference, slices):
    def build(hparams, inputs, targets):
        return loss_of(loss.token_losses, hparams, inputs, targets)

    losses = evaluate(build, reference)
    np.testing.assert_allclose(losses, reference.golden['token_loss'], rtol=0, atol=1e-4)


def test_gradients_follow_what_is_made_of_the_loss(micro):
    def build(hparams, inputs, targets):
        mean = loss_of(loss.training_loss, hparams, inputs, targets)
        return norms_of_gradients(mean), norms_of_gradients(-3 * mean)

    once, thrice = evaluate(build, micro)
    for name in once:
        assert thrice[name] == pytest.approx(3 * once[name], rel=1e-5)


def memory_of(operation, fetches, session):
    """The bytes that an operation allocates in a run."""
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    session.run(fetches, options=options, run_metadata=metadata)
    nodes = [node for device in metadata.step_stats.dev_stats for node in device.node_stats]
    (its,) = (node for node in nodes if node.node_name == operation.name)
    return sum(memory.total_bytes for memory in its.memory)


@pytest.mark.parametrize('train', [True, False])
def test_logits_of_all_positions_are_never_there(monkeypatch, train):
    n_vocab, positions = 5000, 64
    monkeypatch.setattr(loss, 'LOGITS_AT_ONCE', 8 * n_vocab)
    hparams = HParams(n_vocab=n_vocab, n_ctx=positions, n_embd=8, n_head=1, n_layer=1)
    with tf.Graph().as_default(), tf.Session() as session:
        tokens = tf.constant(np.arange(positions, dtype=np.int32)[None])
        function = loss.training_loss if train else loss.token_losses
        fetches = loss_of(function, hparams, tokens, tokens)
        if train:
            fetches = [fetches, *tf.gradients(fetches, tf.trainable_variables())]
        session.run(tf.global_variables_initializer())
        sizes = largest_tensors(fetches, {}, session)
    assert 8 * n_vocab <= sizes[0] < 16 * n_vocab  # wte and its gradient are 8 * n_vocab too


def test_the_gradient_by_the_logits_takes_the_memory_of_the_probabilities():
    random = np.random.default_rng(0)
    n, n_vocab = 32, 5000
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        h = tf.constant(random.normal(size=[n, 8]), tf.float32)
        wte = tf.constant(random.normal(size=[n_vocab, 8]), tf.float32)
        targets = tf.constant(random.integers(n_vocab, size=n), tf.int32)
        losses, p = loss.cross_entropy(h, wte, targets)
        with tf.control_dependencies([losses]):
            d_logits = loss.less_one(p, targets)
        sums = tf.reduce_sum(d_logits, axis=1)
        allocated = memory_of(d_logits.op, sums, session)
        logits = tf.matmul(h, wte, transpose_b=True)
        same = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
        expected = tf.gradients(same, logits)[0]
        assert np.abs(np.subtract(*session.run([d_logits, expected]))).max() < 1e-6
    assert allocated < n * n_vocab


def test_bfloat16_keeps_losses_and_gradients_in_float32(micro):
    def build(hparams, inputs, targets):
        hidden = tf.cast(model.model(hparams, inputs)['hidden'], tf.bfloat16)
        wte = seam.token_embedding(hparams)
        wte.values = tf.cast(wte.values, tf.bfloat16)
        mean = loss.training_loss(hidden, wte, targets)
        assert mean.dtype == tf.float32
        return mean, norms_of_gradients(mean)

    mean, norms = evaluate(build, micro)
    assert mean == pytest.approx(micro.golden['token_loss'].mean(), rel=1e-2)
    for name, norm in norms.items():
        key = 'grad_norm:' + name.replace('/', '|')
        assert norm == pytest.approx(micro.golden[key], rel=3e-2), name
