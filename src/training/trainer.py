"""The training graph: one update of a model's weights, validation, and sampling in between.

Shapes: B batch, W window (the tokens that the model reads at once).
"""

import numpy as np
import tensorflow.compat.v1 as tf

import model
import seam
from fast import Decoding, Variables, trained_matrix
from generation.engine import Generator
from generation.plain import PlainDecoding
from loading import checkpoint
from loading.session import SessionOwner, memory_for
from training import loss
from training.clipping import clip
from training.dropout import Training
from training.optimizers import optimizer_for

GATHER_GRADIENT = 'GatherInFloat32'


class Trainer(SessionOwner):
    """Trains a model in a graph and a session of its own; use it in a `with` block.

    hparams: HParams.  plan: training.plan.TrainingPlan.
    group: cluster.collective.Group of the processes that train together, made with
        the session_config of src/fast or, with fast=False, the plain_config of src/loading.
    encoder: the tokenizer, for samples from `engine`; None if none are wanted.
    weights, slots: checkpoints (paths without endings) to start from; None starts from scratch.
    remedy: what a user can do if they are damaged, for the message.
    fast: False computes with the readable core alone, slower and with the same losses.
    Raises ValueError for damaged checkpoints and a plan that trains nothing, and later where memory
    does not suffice.
    """

    def __init__(
        self, hparams, plan, group, encoder, weights=None, slots=None, remedy=None, fast=True
    ):
        self.hparams, self.plan, self.group, self.fast = hparams, plan, group, fast
        if weights is not None:
            checkpoint.check_sizes(weights, hparams, remedy)
            checkpoint.check_finite(weights, remedy)
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.set_random_seed(plan.seed)
            self._build()
            self.session = tf.Session(group.session_target, config=group.config)
            try:
                self._start(weights, slots, remedy)
                self.engine = encoder and self._generator(encoder)
            except BaseException:
                self.close()
                raise
        self.graph.finalize()

    def _build(self):
        shape = [self.plan.batch_size, self.plan.window]
        self.inputs = tf.placeholder(tf.int32, shape, 'inputs')
        self.targets = tf.placeholder(tf.int32, shape, 'targets')
        self.weights = tf.placeholder(tf.float32, shape, 'weights')
        self.dropout_seed = tf.placeholder(tf.int32, [2], 'dropout_seed')
        self.number = tf.placeholder(tf.float32, [], 'step')
        self.rate = tf.placeholder(tf.float32, [], 'rate')
        self.stop = tf.placeholder(tf.float32, [], 'stop')

        # Weights are float32; in training the model may read them rounded to bfloat16.
        training = Training(
            dtype=self.plan.dtype,
            matrix=trained_matrix() if self.fast else seam.Matrix,
            dropout=self.plan.dropout,
            seed=self.dropout_seed,
            recompute=self.plan.recompute,
        )
        with (
            seam.carried_out_by(training),
            self.graph.gradient_override_map({'GatherV2': GATHER_GRADIENT}),
        ):
            mean_loss, gradients = self._differentiate()
        with seam.carried_out_by(Variables().for_many_rows() if self.fast else seam.Execution()):
            outputs = model.model(self.hparams, self.inputs, reuse=True)
            wte = seam.token_embedding(self.hparams)
        losses = loss.token_losses(outputs['hidden'], wte, self.targets)
        self.validation = tf.reduce_sum(losses * self.weights)

        quantities = [mean_loss, self.stop, *gradients]
        if self.plan.accumulate > 1:
            quantities = self._accumulate(quantities)
        mean_loss, stop, *gradients = self.group.mean(quantities)
        gradients, norm = clip(gradients, self.plan.clip)
        self.optimizer = optimizer_for(self.plan, self.trained)
        applied = self.optimizer.apply(gradients, self.number, self.rate)
        self.results = {'loss': mean_loss, 'norm': norm, 'stop': stop, 'applied': applied}
        self.weights_saver = checkpoint.saver(self.variables)
        self.slots_saver = checkpoint.saver(self.optimizer.slots)
        self.alike = self.group.broadcast(self.variables + self.optimizer.slots)

    def _differentiate(self):
        """The mean loss of a batch, and its gradients by the variables that are trained."""
        outputs = model.model(self.hparams, self.inputs)
        wte = seam.token_embedding(self.hparams)
        mean_loss = loss.training_loss(outputs['hidden'], wte, self.targets)
        self.variables = tf.trainable_variables()
        self.trained = [v for v in self.variables if self.plan.trains(v.op.name)]
        if not self.trained:
            names = ', '.join(v.op.name for v in self.variables[:4])
            raise ValueError(f'train_only matches none of the variables ({names}, ...)')
        gradients = tf.gradients(mean_loss, self.trained)
        return mean_loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _generator(self, encoder):
        """What samples with the weights as they are."""
        decoding = PlainDecoding(self.hparams)
        if self.fast:
            decoding = Decoding(self.hparams, n_shards=1, trained=True).verified()
        return Generator(self.session, self.hparams, encoder, decoding)

    def _accumulate(self, quantities):
        """Means over several batches: `collect` adds each to sums, the first one to nothing."""
        sums = [sum_of(quantity) for quantity in quantities]
        pairs = list(zip(sums, quantities, strict=True))
        self.sums = sums
        self.collect_first = tf.group([s.assign(q, read_value=False) for s, q in pairs])
        self.collect = tf.group([s.assign_add(q, read_value=False) for s, q in pairs])
        return [s.read_value() / self.plan.accumulate for s in sums]

    def _start(self, weights, slots, remedy):
        if weights is None:
            self.session.run([v.initializer for v in self.variables])
            self.session.run(scaled_residuals(self.variables, self.hparams))
        else:
            checkpoint.restore(self.session, weights, self.variables, remedy)
        if slots is None:
            self.session.run([v.initializer for v in self.optimizer.slots])
        else:
            checkpoint.restore(self.session, slots, self.optimizer.slots, remedy)
        self.group.run(self.session, self.alike)

    def step(self, number, batches, stop=False):
        """Update the weights once; returns a dict with loss, norm and stop.

        number: of the step, from 1.
        batches: `plan.accumulate` pairs of inputs and targets, int32 [B, W] both.
        stop: whether this process wants to stop; the result tells whether any does.
        loss: mean in nats before the update, norm: of its gradients before they were clipped.
        """
        feed = {self.number: number, self.rate: self.plan.rate(number), self.stop: float(stop)}
        for i, (inputs, targets) in enumerate(batches):
            batch = ((number - 1) * self.plan.accumulate + i) * self.group.size + self.group.rank
            feed[self.dropout_seed] = [self.plan.seed, batch % 2**31]
            feed[self.inputs], feed[self.targets] = inputs, targets
            if self.plan.accumulate > 1:
                self._run(self.collect if i else self.collect_first, feed, alone=True)
        results = self._run(self.results, feed)
        return {
            'loss': float(results['loss']),
            'norm': float(results['norm']),
            'stop': bool(results['stop'] > 0),
        }

    def _run(self, fetches, feed, alone=False):
        """Run something in all processes, or in this one alone."""
        with memory_for(
            f'{self.plan.batch_size} windows of {self.plan.window} tokens at a time: lower '
            '--batch_size (--accumulate makes up for it) or --window, or take --recompute'
        ):
            if alone:
                return self.session.run(fetches, feed)
            return self.group.run(self.session, fetches, feed)

    def validate(self, batches):
        """Mean loss in nats of the tokens whose weight is 1, without dropout.

        batches: of rows int32 [B, W + 1] and weights float32 [B, W] (windows.sequential).
        """
        total = n = 0.0
        for rows, weights in batches:
            feed = {self.inputs: rows[:, :-1], self.targets: rows[:, 1:], self.weights: weights}
            total += float(self._run(self.validation, feed, alone=True))
            n += float(np.sum(weights))
        return total / n

    def save_weights(self, path):
        """Write the weights as a checkpoint. Raises OSError if the disk does not take it."""
        checkpoint.write(self.weights_saver, self.session, path)

    def save_slots(self, path):
        """Write the optimizer's variables as a checkpoint. Raises OSError likewise."""
        checkpoint.write(self.slots_saver, self.session, path)


@tf.RegisterGradient(GATHER_GRADIENT)
def gather_gradient(op, dy):
    """The gradient of an embedding, summed in float32: a frequent token has thousands of terms."""
    table, ids, _ = op.inputs
    rows = tf.reshape(tf.cast(dy, tf.float32), [-1, table.shape[1]])
    sums = tf.math.unsorted_segment_sum(rows, tf.reshape(ids, [-1]), table.shape[0])
    return tf.cast(sums, table.dtype), None, None


def sum_of(tensor):
    """A variable for sums of a tensor, in no checkpoint."""
    zeros = tf.zeros(tensor.shape, tensor.dtype)
    return tf.Variable(zeros, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])


def scaled_residuals(variables, hparams):
    """Scale initial weights of the layers that feed the residual stream by 1 / sqrt(2 L).

    Radford et al. 2019, section 2.3; each of the L layers feeds it twice.
    """
    scale = (2 * hparams.n_layer) ** -0.5
    return [v.assign(v * scale).op for v in variables if v.op.name.endswith('c_proj/w')]
