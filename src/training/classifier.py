"""Fine-tuning of a model with a classifying head, to tell two kinds of text.

Shapes: B texts in a batch, S slots in a row.

The protocol is that of the neural detector in openai/gpt-2-output-dataset: Adam at a constant rate,
from each text a random window in every epoch, validation after each, the best epoch is kept.
"""

import math

import numpy as np
import tensorflow.compat.v1 as tf

import seam
from fast import Variables, session_config, trained_matrix
from loading import checkpoint
from loading.session import SessionOwner, memory_for, plain_config
from training.clipping import clip
from training.dropout import Training
from training.optimizers import optimizer_for
from training.plan import SHORTEST
from training.windows import random_state

ORDER, WINDOW = 2, 3  # purposes of random numbers, beside those of training.windows


class Classifier(SessionOwner):
    """Trains a model and a head in a graph and a session of its own; use it in a `with` block.

    hparams: HParams.  plan: training.plan.TrainingPlan; a batch is rows of at most `window` slots.
    log_odds: what builds the model and its head: (hparams, tokens int32 [B, S], lengths int32 [B],
        reuse) -> float32 [B], of label 1.
    weights: the checkpoint of the model to start from; the head starts from its initial values.
    remedy: what a user can do if it is damaged, for the message.
    fast: False computes with the readable core alone, slower and with the same losses.
    Raises ValueError for a damaged checkpoint, and later where memory does not suffice.
    """

    def __init__(self, hparams, plan, log_odds, weights, remedy=None, fast=True):
        self.hparams, self.plan = hparams, plan
        checkpoint.check_sizes(weights, hparams, remedy)
        checkpoint.check_finite(weights, remedy)
        config = session_config(large_products=True) if fast else plain_config()
        with tf.Graph().as_default() as self.graph:
            tf.set_random_seed(plan.seed)
            self._build(log_odds, fast)
            self.session = tf.Session(config=config)
            try:
                self._start(weights, remedy)
            except BaseException:
                self.close()
                raise
        self.graph.finalize()

    def _build(self, log_odds, fast):
        self.tokens = tf.placeholder(tf.int32, [self.plan.batch_size, self.plan.window], 'tokens')
        self.lengths = tf.placeholder(tf.int32, [self.plan.batch_size], 'lengths')
        self.labels = tf.placeholder(tf.float32, [self.plan.batch_size], 'labels')
        self.dropout_seed = tf.placeholder(tf.int32, [2], 'dropout_seed')
        self.number = tf.placeholder(tf.float32, [], 'step')
        self.rate = tf.placeholder(tf.float32, [], 'rate')
        training = Training(
            matrix=trained_matrix() if fast else seam.Matrix,
            dropout=self.plan.dropout,
            seed=self.dropout_seed,
        )
        with seam.carried_out_by(training):
            odds = log_odds(self.hparams, self.tokens, self.lengths)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=self.labels, logits=odds)
        self.loss = tf.reduce_mean(losses)
        self.variables = tf.trainable_variables()
        gradients = map(tf.convert_to_tensor, tf.gradients(self.loss, self.variables))
        gradients, _ = clip(list(gradients), self.plan.clip)
        optimizer = optimizer_for(self.plan, self.variables)
        self.applied = optimizer.apply(gradients, self.number, self.rate)
        self.slots = optimizer.slots

        self.read_tokens = tf.placeholder(tf.int32, [None, None], 'read_tokens')
        self.read_lengths = tf.placeholder(tf.int32, [None], 'read_lengths')
        with seam.carried_out_by(Variables().for_many_rows() if fast else seam.Execution()):
            self.odds = log_odds(self.hparams, self.read_tokens, self.read_lengths, reuse=True)
        self.saver = checkpoint.saver(self.variables)

    def _start(self, weights, remedy):
        self.session.run([v.initializer for v in self.variables])
        of_model = [v for v in self.variables if v.op.name.startswith('model/')]
        checkpoint.restore(self.session, weights, of_model, remedy)
        self.session.run([v.initializer for v in self.slots])

    def step(self, number, tokens, lengths, labels):
        """Update the weights once; returns the mean loss in nats before that.

        number: of the step, from 1.
        tokens: int32 [B, window].  lengths: int32 [B], of which the model sees no more.
        labels: [B], 0 or 1.
        """
        feed = {
            self.tokens: tokens,
            self.lengths: lengths,
            self.labels: labels,
            self.number: number,
            self.rate: self.plan.rate(number),
            self.dropout_seed: [self.plan.seed, number % 2**31],
        }
        with memory_for(f'{self.plan.batch_size} texts at a time: lower --batch_size'):
            return float(self.session.run([self.loss, self.applied], feed)[0])

    def log_odds(self, tokens, lengths):
        """What the model as it is says of texts, without dropout: float32 [B]; any B and S."""
        with memory_for(f'{len(tokens)} texts of {tokens.shape[1]} tokens at a time'):
            feed = {self.read_tokens: tokens, self.read_lengths: lengths}
            return self.session.run(self.odds, feed)

    def train(self, texts, labels, epochs, validate, best, shown, stop):
        """Train for some epochs and go back to the best of them; returns what each was like.

        texts: list of int arrays, the tokens of each text; the first, which starts a text, is in
            every window.  labels: int array [texts], 0 or 1.
        validate: () -> accuracy, called after each epoch.
        best: the path of a checkpoint, for the best weights so far.
        shown: a bar of progress.  stop: stopping.Stop, whose error ends it after a step.
        Returns a list of dicts: epoch, loss, valid_accuracy.
        Raises ValueError when the loss is not finite.
        """
        records = []
        for epoch in range(1, epochs + 1):
            losses = []
            for loss in self._steps(texts, labels, epoch):
                losses.append(loss)
                shown.set_postfix_str(f'loss {loss:.3f}', refresh=False)
                shown.update()
                if stop.is_set():
                    raise stop.error
            accuracy = validate()
            if accuracy > max((record['valid_accuracy'] for record in records), default=-1):
                self.save_weights(best)
            loss = float(np.mean(losses))
            records.append({'epoch': epoch, 'loss': loss, 'valid_accuracy': accuracy})
        with checkpoint.as_it_stands(best) as name:
            self.saver.restore(self.session, name)
        return records

    def _steps(self, texts, labels, epoch):
        """Train for the epoch of this number, from 1; yields the loss of each step."""
        plan = self.plan
        batches = batches_of(len(texts), plan.batch_size, plan.seed, epoch)
        for number, batch in enumerate(batches, start=(epoch - 1) * len(batches) + 1):
            random = random_state(plan.seed, WINDOW, number)
            windows = [window_of(texts[place], plan.window - 1, random) for place in batch]
            loss = self.step(number, *padded(windows, plan.window), labels[batch])
            if not math.isfinite(loss):
                raise ValueError(
                    f'step {number} ended with a loss of {loss}: lower --learning_rate'
                )
            yield loss

    def save_weights(self, path):
        """Write model and head as a checkpoint. Raises OSError if the disk does not take it."""
        checkpoint.write(self.saver, self.session, path)


def batches_of(n_texts, size, seed, epoch):
    """The numbers of the texts of each batch of an epoch: int [batches, size].

    Each text is in one of them; the last batch is filled up with the first texts.
    """
    n_batches = -(-n_texts // size)
    order = random_state(seed, ORDER, epoch).permutation(n_texts)
    return np.resize(order, [n_batches, size])


def window_of(text, longest, random):
    """A window of a text at a random place, of random length; its first token goes before it."""
    start, rest = text[:1], text[1:]
    length = random.randint(min(SHORTEST, longest), longest + 1)
    place = random.randint(max(len(rest) - length, 0) + 1)
    return np.concatenate([start, rest[place : place + length]])


def padded(rows, width):
    """Rows of tokens as an int32 array [B, width], and how many of them count: int32 [B]."""
    tokens = np.zeros([len(rows), width], np.int32)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return tokens, np.array([len(row) for row in rows], np.int32)
