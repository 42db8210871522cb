"""A model with a classifying head on the last token of a text.

Shapes: B texts, S slots, E embedding. A text is padded on its right, where no token looks:
attention is causal.
"""

import tensorflow.compat.v1 as tf

import model
import seam
from fast import Variables, session_config
from loading import checkpoint
from loading.session import SessionOwner, memory_for

REMEDY = 'train it again'


def log_odds(hparams, tokens, lengths, reuse=False):
    """The log-odds that texts are the machine's: float32 [B].

    tokens: int32 [B, S].  lengths: int32 [B], how many of them are a text's.
    """
    hidden = model.model(hparams, tokens, reuse=reuse)['hidden']
    last = tf.stack([tf.range(tf.shape(lengths)[0]), lengths - 1], axis=1)
    states = seam.dropout(tf.gather_nd(hidden, last), 'last')  # [B, E]
    with tf.variable_scope('detector', reuse=reuse):
        w = tf.get_variable('w', [hparams.n_embd], initializer=tf.zeros_initializer())
        b = tf.get_variable('b', [], initializer=tf.zeros_initializer())
        return tf.reduce_sum(states * w, axis=1) + b


class Network(SessionOwner):
    """A trained model and head; use it in a `with` block, or close() it.

    weights: their checkpoint.  Raises ValueError if it is damaged.
    """

    def __init__(self, hparams, weights):
        checkpoint.check_sizes(weights, hparams, REMEDY)
        with tf.Graph().as_default() as graph:
            self.tokens = tf.placeholder(tf.int32, [None, None], 'tokens')
            self.lengths = tf.placeholder(tf.int32, [None], 'lengths')
            with seam.carried_out_by(Variables().for_many_rows()):
                self.odds = log_odds(hparams, self.tokens, self.lengths)
            variables = tf.trainable_variables()
            self.saver = checkpoint.saver(variables)
            self.session = tf.Session(config=session_config(large_products=True))
            try:
                checkpoint.restore(self.session, weights, variables, REMEDY)
            except BaseException:
                self.close()
                raise
        graph.finalize()

    def log_odds(self, tokens, lengths):
        """What it says of texts: float32 [B]; tokens and lengths as the function takes them."""
        with memory_for(f'{len(tokens)} texts of {tokens.shape[1]} tokens at a time'):
            feed = {self.tokens: tokens, self.lengths: lengths}
            return self.session.run(self.odds, feed)

    def save_weights(self, path):
        """Write them as a checkpoint. Raises OSError if the disk does not take it."""
        checkpoint.write(self.saver, self.session, path)
