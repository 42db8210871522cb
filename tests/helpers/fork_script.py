"""A training script in the style of the forks of 2019, with its own optimizer, Saver and samples.

Only its import of TensorFlow is new. It takes models/NAME in the folder where it is run, and leaves
what it has trained in checkpoint/RUN.
"""

import json
import os

import numpy as np
import tensorflow.compat.v1 as tf

import encoder
import model
import sample

CHECKPOINT_DIR = 'checkpoint'
SAMPLE_DIR = 'samples'


def maketree(path):
    try:
        os.makedirs(path)
    except FileExistsError:
        pass


class Sampler:
    """Draws chunks of a text."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.rs = np.random.RandomState(seed=0)

    def sample(self, length):
        index = self.rs.randint(0, len(self.tokens) - length)
        return self.tokens[index : index + length]


def main(
    text,
    model_name='117M',
    run_name='run1',
    batch_size=2,
    steps=3,
    sample_length=8,
    learning_rate=1e-3,
    save_optimizer=False,
):
    """Train; returns the losses, the sampled texts, and the trained weights by their names."""
    enc = encoder.get_encoder(model_name)
    hparams = model.default_hparams()
    with open(os.path.join('models', model_name, 'hparams.json')) as f:
        hparams.override_from_dict(json.load(f))

    if sample_length > hparams.n_ctx:
        raise ValueError(f"Can't get samples longer than window size: {hparams.n_ctx}")

    config = tf.ConfigProto()
    config.gpu_options.allow_growth = True
    with tf.Graph().as_default(), tf.Session(config=config) as sess:
        context = tf.placeholder(tf.int32, [batch_size, None])
        output = model.model(hparams=hparams, X=context)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=context[:, 1:], logits=output['logits'][:, :-1]
            )
        )
        tf_sample = sample.sample_sequence(
            hparams=hparams,
            length=sample_length,
            context=context,
            batch_size=batch_size,
            temperature=1.0,
            top_k=40,
        )

        all_vars = [v for v in tf.trainable_variables() if 'model' in v.name]
        global_step = tf.train.get_or_create_global_step()
        opt = tf.train.AdamOptimizer(learning_rate=learning_rate)
        opt_grads = tf.gradients(loss, all_vars)
        opt_grads = list(zip(opt_grads, all_vars, strict=True))
        opt_apply = opt.apply_gradients(opt_grads, global_step=global_step)

        saver = tf.train.Saver(
            var_list=None if save_optimizer else all_vars,
            max_to_keep=5,
            keep_checkpoint_every_n_hours=2,
        )
        sess.run(tf.global_variables_initializer())
        ckpt = tf.train.latest_checkpoint(os.path.join('models', model_name))
        tf.train.Saver(var_list=all_vars).restore(sess, ckpt)

        data_sampler = Sampler(np.array(enc.encode(text)))
        losses, texts = [], []
        for _ in range(steps):
            batch = [data_sampler.sample(32) for _ in range(batch_size)]
            _, v_loss = sess.run((opt_apply, loss), feed_dict={context: batch})
            losses.append(v_loss)

        context_tokens = data_sampler.sample(1)
        out = sess.run(tf_sample, feed_dict={context: batch_size * [context_tokens]})
        for tokens in out:
            texts.append(enc.decode(tokens))
        maketree(SAMPLE_DIR)
        with open(os.path.join(SAMPLE_DIR, run_name), 'w', encoding='utf-8') as fp:
            fp.write('\n'.join(texts))

        maketree(os.path.join(CHECKPOINT_DIR, run_name))
        saver.save(sess, os.path.join(CHECKPOINT_DIR, run_name, 'model'), global_step=len(losses))
        weights = {v.op.name: value for v, value in zip(all_vars, sess.run(all_vars), strict=True)}
    return losses, texts, weights
