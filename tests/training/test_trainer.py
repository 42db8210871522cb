import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import model
import seam
from cluster.collective import Group
from encoder import get_encoder
from fast import onednn, session_config, xla_activation
from fast.xla_activation import can_compile
from helpers.kernels import skip_without_kernels
from hparams import HParams
from support.settings import Settings
from training.plan import TrainingPlan
from training.trainer import Trainer

TEXT = 'A page that is to be learnt by heart, all 64 tokens of it; and then\n'


@pytest.fixture
def new_trainer(byte_models):
    """A function that makes a small Trainer: (sizes and plan, as keywords) -> Trainer."""
    encoder = get_encoder('bytes', str(byte_models))
    trainers = []

    def make(weights=None, slots=None, n_layer=2, samples=False, fast=True, **plan):
        plan = {'batch_size': 2, 'window': 16, 'learning_rate': 1e-3, 'dropout': 0.0} | plan
        hparams = HParams(n_vocab=encoder.n_vocab, n_ctx=64, n_embd=32, n_head=2, n_layer=n_layer)
        plan = TrainingPlan(**{'steps': 100, 'schedule': 'constant'} | plan)
        group = Group(config=session_config(large_products=True))
        own_encoder = encoder if samples else None
        trainers.append(Trainer(hparams, plan, group, own_encoder, weights, slots, fast=fast))
        return trainers[-1]

    yield make
    for trainer in trainers:
        trainer.close()


def batch(seed, rows=2, window=16):
    tokens = np.random.default_rng(seed).integers(0, 257, [rows, window + 1])
    return tokens[:, :-1], tokens[:, 1:]


def losses(trainer, steps=4, batches=lambda step: [batch(step)]):
    return [trainer.step(n, batches(n))['loss'] for n in range(1, steps + 1)]


@pytest.mark.parametrize('number', [np.nan, -np.inf])
def test_training_does_not_start_from_weights_that_are_no_numbers(new_trainer, tmp_path, number):
    path = str(tmp_path / 'model-1')
    trainer = new_trainer()
    wpe = next(v for v in trainer.variables if v.op.name == 'model/wpe')
    values = trainer.session.run(wpe)
    values[63, 5] = number  # a position after the window
    wpe.load(values, trainer.session)
    trainer.save_weights(path)
    with pytest.raises(ValueError, match=f'{path} holds NaN or infinity in model/wpe'):
        new_trainer(weights=path)


def test_sizes_are_compared_before_the_graph_is_built(new_trainer, tmp_path):
    path = str(tmp_path / 'model-1')
    new_trainer(n_layer=1).save_weights(path)
    with pytest.raises(ValueError, match=f'{path} has 1 layers .* ask for 20000'):
        new_trainer(weights=path, n_layer=20_000)


def test_recomputed_layers_give_the_same_losses(new_trainer):
    with_dropout = {'dropout': 0.2}
    plain = losses(new_trainer(**with_dropout))
    assert losses(new_trainer(**with_dropout, recompute=True)) == pytest.approx(plain, rel=1e-6)
    assert plain != pytest.approx(losses(new_trainer()), rel=1e-3)


@pytest.mark.skipif(not can_compile(), reason='no XLA, or a GPU')
@pytest.mark.parametrize('recompute', [False, True])
def test_compiled_activations_give_the_same_losses(new_trainer, monkeypatch, recompute):
    compiled = new_trainer(recompute=recompute)
    monkeypatch.setattr(xla_activation, 'can_compile', lambda: False)
    plain = new_trainer(recompute=recompute)
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-5)

    def programs(trainer):
        kinds = [operation.type for operation in trainer.graph.get_operations()]
        return sum(kind.endswith('PartitionedCall') for kind in kinds)

    assert programs(compiled) == (6 if recompute else 4) and programs(plain) == 0


def test_accumulated_batches_are_one_larger_batch(new_trainer):
    def halves(step):
        inputs, targets = batch(step, 4)
        return [(inputs[:2], targets[:2]), (inputs[2:], targets[2:])]

    whole = losses(new_trainer(batch_size=4), batches=lambda step: [batch(step, 4)])
    for recompute in (False, True):
        trainer = new_trainer(accumulate=2, recompute=recompute)
        assert losses(trainer, batches=halves) == pytest.approx(whole, rel=1e-5)


def test_bfloat16_follows_float32_with_float32_weights(new_trainer):
    half = new_trainer(dtype='bfloat16')
    assert losses(half) == pytest.approx(losses(new_trainer()), rel=5e-3)
    assert {v.dtype.base_dtype for v in half.variables + half.optimizer.slots} == {tf.float32}


def test_what_is_saved_goes_on_with_the_same_losses(new_trainer, tmp_path):
    with_dropout = {'dropout': 0.1}
    whole = losses(new_trainer(**with_dropout), 6)
    first = new_trainer(**with_dropout)
    assert losses(first, 3) == whole[:3]
    first.save_weights(str(tmp_path / 'model-3'))
    first.save_slots(str(tmp_path / 'optimizer-3'))
    paths = [str(tmp_path / 'model-3'), str(tmp_path / 'optimizer-3')]
    second = new_trainer(*paths, **with_dropout)
    assert [second.step(n, [batch(n)])['loss'] for n in (4, 5, 6)] == whole[3:]
    # Without the optimizer's variables it would not.
    third = new_trainer(paths[0], **with_dropout)
    assert [third.step(n, [batch(n)])['loss'] for n in (4, 5, 6)] != whole[3:]


def test_a_disk_that_takes_no_more_leaves_nothing_behind(new_trainer, tmp_path, monkeypatch):
    trainer = new_trainer()

    def save(session, path, **_):
        with open(path + '.data-00000-of-00001.tempstate123', 'w') as file:
            file.write('half')
        message = (
            f'Graph execution error:\n\nNode: ...\n{path}; No space left on device\n\t [[...]]'
        )
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(trainer.weights_saver, 'save', save)
    with pytest.raises(OSError, match=r'^cannot write .*model-1: No space left on device$'):
        trainer.save_weights(str(tmp_path / 'model-1'))
    assert list(tmp_path.iterdir()) == []


def test_memory_that_does_not_suffice_is_one_line_with_what_helps(new_trainer, monkeypatch):
    trainer = new_trainer()

    def run(*_):
        raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating tensor')

    monkeypatch.setattr(trainer.group, 'run', run)
    monkeypatch.setattr(trainer.session, 'run', run)
    message = '2 windows of 16 tokens at a time: lower --batch_size'
    with pytest.raises(ValueError, match=message):
        trainer.step(1, [batch(0)])
    with pytest.raises(ValueError, match=message):
        trainer.validate([(np.zeros([2, 17]), np.ones([2, 16]))])


def test_a_step_tells_whether_to_stop(new_trainer):
    trainer = new_trainer()
    assert trainer.step(1, [batch(0)])['stop'] is False
    assert trainer.step(2, [batch(0)], stop=True)['stop'] is True


def test_only_matching_variables_are_trained(new_trainer):
    trainer = new_trainer(train_only=r'h1/.*/b$')
    before = trainer.session.run(trainer.variables)
    trainer.step(1, [batch(0)])
    for variable, old in zip(trainer.variables, before, strict=True):
        changed = not np.array_equal(old, trainer.session.run(variable))
        assert changed == ('h1/' in variable.op.name and variable.op.name.endswith('/b')), variable
    assert len(trainer.optimizer.slots) == 2 * 6
    with pytest.raises(ValueError, match='train_only matches none'):
        new_trainer(train_only='h7/')


def test_a_single_variable_is_trained(new_trainer):
    assert losses(new_trainer(train_only='model/wpe'), batches=lambda step: [batch(0)])[-1] > 0


def swish(x):
    """x sigmoid(beta x), whose beta is trained, too."""
    with tf.variable_scope('swish'):
        beta = tf.get_variable('beta', [], initializer=tf.ones_initializer())
    return x * tf.sigmoid(beta * x)


def dropping_relu(x):
    return seam.dropout(tf.nn.relu(x), 'inside')


def drawing_relu(x):
    return tf.nn.relu(x) * tf.random.uniform(tf.shape(x), seed=3)


@pytest.mark.skipif(not can_compile(), reason='no XLA, or a GPU')
@pytest.mark.parametrize('activation', [swish, dropping_relu, drawing_relu])
def test_an_activation_that_is_more_than_a_function_is_not_compiled(
    new_trainer, monkeypatch, activation
):
    monkeypatch.setattr(model, 'gelu', activation)
    trained = losses(new_trainer(dropout=0.2))
    monkeypatch.setattr(xla_activation, 'can_compile', lambda: False)
    assert trained == losses(new_trainer(dropout=0.2))


def test_new_weights_are_those_of_the_paper(new_trainer):
    """Standard deviation 0.02; in layers that feed the residual stream 1 / sqrt(2 L) of that."""
    trainer = new_trainer(n_layer=3)
    for variable in trainer.variables:
        name, value = variable.op.name, trainer.session.run(variable)
        if name.endswith('c_proj/w'):
            assert value.std() == pytest.approx(0.02 / 6**0.5, rel=0.1), name
        elif name.endswith('/w') or name.endswith('wte'):
            assert value.std() == pytest.approx(0.02, rel=0.1), name


def test_validation_weighs_its_tokens_and_drops_nothing(new_trainer):
    trainer = new_trainer(dropout=0.5)
    rows = np.random.default_rng(0).integers(0, 257, [2, 17])
    ones = np.ones([2, 16], np.float32)
    whole = trainer.validate([(rows, ones)])
    assert whole == trainer.validate([(rows, ones)])
    halves = [(rows, ones * [[1], [0]]), (rows, ones * [[0], [1]])]
    means = [trainer.validate([half]) for half in halves]
    assert np.mean(means) == pytest.approx(whole, rel=1e-6) and means[0] != means[1]
    assert trainer.validate(halves) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize('fused', [False, True])
def test_validation_is_the_loss_that_is_trained(new_trainer, monkeypatch, fused):
    if fused:
        skip_without_kernels()
    if not fused:
        monkeypatch.setattr(onednn, 'verified', frozenset)
    trainer = new_trainer(dropout=0.0)
    kinds = {operation.type for operation in trainer.graph.get_operations()}
    assert ('_FusedMatMul' in kinds) == fused
    rows = np.random.default_rng(0).integers(0, 257, [2, 17])
    validation = trainer.validate([(rows, np.ones([2, 16], np.float32))])
    loss = trainer.step(1, [(rows[:, :-1], rows[:, 1:])])['loss']
    assert validation == pytest.approx(loss, rel=1e-5)


def test_a_page_is_learnt_by_heart_and_recited(new_trainer):
    """Also shows that the engine inside samples with the weights as they are now."""
    trainer = new_trainer(samples=True, batch_size=1, window=63, learning_rate=5e-3)
    tokens = np.array(trainer.engine.encoder.encode(TEXT))[None, :64]
    for step in range(1, 101):
        loss = trainer.step(step, [(tokens[:, :-1], tokens[:, 1:])])['loss']
    assert loss < 0.1
    prompt, rest = tokens[0, :5].tolist(), tokens[0, 5:].tolist()
    settings = Settings(length=len(rest), temperature=0)
    assert trainer.engine.generate([prompt], settings) == [rest]


def test_an_update_waits_for_all_gradients(new_trainer):
    """Every step from the same weights gives the same result, however operations are ordered."""
    results = {tuple(losses(new_trainer(weight_decay=0.5), 3)) for _ in range(3)}
    assert len(results) == 1


def test_bfloat16_sums_the_gradient_of_a_frequent_token_in_float32(new_trainer):
    """One token at most of 4,096 places: in bfloat16 its row would be several per cent off."""
    inputs, targets = batch(0, 64, 64)
    inputs[np.random.default_rng(1).random(inputs.shape) < 0.7] = 5
    rows = []
    for dtype in ('float32', 'bfloat16'):
        trainer = new_trainer(dtype=dtype, batch_size=64, window=64, train_only='wte', clip=0.0)
        trainer.step(1, [(inputs, targets)])
        rows.append(trainer.session.run(trainer.optimizer.slots[0])[5])
    error = np.linalg.norm(rows[1] - rows[0]) / np.linalg.norm(rows[0])
    assert error < 0.02


@pytest.mark.parametrize('plan', [{}, {'dropout': 0.2, 'recompute': True}, {'dtype': 'bfloat16'}])
def test_the_readable_core_alone_trains_to_the_same_losses(new_trainer, plan):
    core, quick = new_trainer(fast=False, samples=True, **plan), new_trainer(samples=True, **plan)
    tolerance = 5e-3 if 'dtype' in plan else 1e-5
    assert losses(core) == pytest.approx(losses(quick), rel=tolerance)
    rows = np.random.default_rng(0).integers(0, 257, [2, 17])
    validations = [t.validate([(rows, np.ones([2, 16], np.float32))]) for t in (core, quick)]
    assert validations[0] == pytest.approx(
        validations[1], rel=1e-5 if 'dtype' not in plan else 5e-3
    )
    kinds = {operation.type for operation in core.graph.get_operations()}
    assert not kinds & {'_FusedMatMul', '_MklLayerNorm', 'StatefulPartitionedCall'}
    settings = Settings(length=12, temperature=0)
    if 'dtype' not in plan:
        texts = [t.engine.generate([[5, 6]], settings) for t in (core, quick)]
        assert texts[0] == texts[1]
