"""What a session runs to score: tokens to hidden states, and these to scores.

Shapes: B rows in a batch, S slots in a row, N positions that are scored, K most likely tokens, E
embedding, V vocabulary.
"""

import functools

import tensorflow.compat.v1 as tf

import likelihoods
import model
import seam
from likelihoods import finite
from scoring.windows import Scores


class RowMemory(model.Memory):
    """Causal attention within rows that are read whole: there is no KV cache.

    attention: a function (q, k, v) like `model.attend`.
    """

    def __init__(self, attention):
        self.attention = attention

    def remember(self, k, v):
        return k, v


def plain_attention(n, bias):
    """`model.attend` with a bias [B, 1, S, S], for rows of n slots."""
    return functools.partial(model.attend, bias=bias)


class Operations:
    """Placeholders and what is computed of them, in the graph that is the default one.

    execution: seam.Execution, which has the weights.
    attention: (number of slots, bias) -> a function (q, k, v) like `model.attend`.
    layer_memory: a layer's memory by that of rows, where an execution wants another.
    """

    def __init__(self, hparams, execution, attention, layer_memory=lambda memory: memory):
        self.tokens = tf.placeholder(tf.int32, [None, None], 'tokens')
        self.positions = tf.placeholder(tf.int32, [None, None], 'positions')
        self.branches = tf.placeholder(tf.int32, [None, None], 'branches')
        self.states = tf.placeholder(tf.float32, [None, hparams.n_embd], 'states')
        self.targets = tf.placeholder(tf.int32, [None], 'targets')
        self.n_top = tf.placeholder(tf.int32, [], 'n_top')
        bias = model.mask_bias(visible(self.branches), tf.float32)
        memory = layer_memory(RowMemory(attention(tf.shape(self.tokens)[1], bias)))
        with seam.carried_out_by(execution):
            outputs = model.model(
                hparams,
                self.tokens,
                memories=[memory] * hparams.n_layer,
                positions=self.positions,
                reuse=tf.AUTO_REUSE,
            )
            logits = seam.token_embedding(hparams).product(self.states)
        self.hidden = outputs['hidden']
        self.scores = scores_of(logits, self.targets, self.n_top)


def visible(branches):
    """Which slots each slot sees: earlier ones of the trunk and of its own branch. [B, 1, S, S]"""
    n = tf.shape(branches)[1]
    earlier = model.attention_mask(n, n, dtype=tf.bool)
    of_trunk = tf.equal(branches, 0)[:, None, :]
    of_branch = tf.equal(branches[:, None, :], branches[:, :, None])
    return tf.logical_and(earlier, tf.logical_or(of_trunk, of_branch))[:, None]


def scores_of(logits, targets, n_top):
    """The Scores of targets [N] by logits [N, V]: tensors [N], and [N, K] of the K most likely.

    Logits that are NaN or infinite are an InvalidArgumentError: a softmax of them is all NaN.
    """
    p = tf.nn.softmax(logits)  # a single kernel
    before = likelihoods.before(logits, targets)
    entropies, second_moments = likelihoods.moments_of(logits, p)
    top_ids, top_logprobs = likelihoods.top_of(logits, p, n_top)
    return Scores(
        logprobs=finite(likelihoods.logprobs_of(logits, p, targets)),
        ranks=likelihoods.ranks_of(before),
        entropies=finite(entropies),
        second_moments=finite(second_moments),
        mass_before=finite(likelihoods.mass_of(before, p)),
        top_ids=top_ids,
        top_logprobs=finite(top_logprobs),
    )
