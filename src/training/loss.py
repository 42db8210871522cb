"""Cross-entropy of next tokens, without holding the logits of a whole batch.

Shapes: B batch, S positions, N = B * S, E embedding, V vocabulary.

The logits of a batch are by far its largest tensor: 50,257 numbers for each position. Here a slice
of positions at a time is turned into logits, losses and, for training, gradients.
"""

import tensorflow.compat.v1 as tf

from likelihoods import logprobs_of

LOGITS_AT_ONCE = 2**26  # So many numbers, 256 MB, are enough for matmuls to be at their fastest.


def token_losses(hidden, wte, targets):
    """The loss of each position in nats, to look at but not to train with: float32 [B, S].

    hidden: what model.model returned under this name.  wte: as from seam.token_embedding.
    targets: int32 [B, S], the token after each position, of known shape.
    """
    hidden, targets_of = flat(hidden, targets)
    losses = []
    for rows in slices(targets, wte.values):
        with tf.control_dependencies(losses[-1:]):
            h = tf.identity(hidden[rows])
        losses.append(cross_entropy(h, wte.values, targets_of[rows])[0])
    return tf.reshape(tf.concat(losses, axis=0), targets.shape)


def training_loss(hidden, wte, targets):
    """The mean loss of all positions in nats, to train with: a scalar.

    The arguments are those of `token_losses`. Its gradients are made along with it, slice by slice,
    so that nothing as large as the logits is kept for the backward pass.
    """
    hidden, targets_of = flat(hidden, targets)
    n = targets.shape.num_elements()

    @tf.custom_gradient
    def mean(hidden, wte):
        losses, d_hidden, d_wte = [], [], None
        for rows in slices(targets, wte):
            with tf.control_dependencies([] if d_wte is None else [d_hidden[-1], d_wte]):
                h = tf.identity(hidden[rows])
            loss, p = cross_entropy(h, wte, targets_of[rows])
            with tf.control_dependencies([loss]):  # It has read p, which may now change in place.
                d_logits = tf.cast(less_one(p, targets_of[rows]), wte.dtype)
            losses.append(loss)
            d_hidden.append(tf.matmul(d_logits, wte) / n)
            part = tf.cast(tf.matmul(d_logits, h / n, transpose_a=True), tf.float32)
            d_wte = part if d_wte is None else d_wte + part

        def gradient(upstream):
            return (
                tf.concat(d_hidden, axis=0) * tf.cast(upstream, hidden.dtype),
                tf.cast(d_wte * upstream, wte.dtype),
            )

        return tf.reduce_mean(tf.concat(losses, axis=0)), gradient

    return mean(hidden, wte.values)


def flat(hidden, targets):
    """Hidden states [N, E] and targets [N]."""
    return tf.reshape(hidden, [-1, hidden.shape[-1].value]), tf.reshape(targets, [-1])


def slices(targets, wte):
    """Slices of the N positions, as few as keep their logits within LOGITS_AT_ONCE."""
    n = targets.shape.num_elements()
    size = max(1, LOGITS_AT_ONCE // wte.shape[0].value)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def cross_entropy(h, wte, targets):
    """Losses float32 [n] of hidden states [n, E], and the probabilities of all tokens [n, V]."""
    logits = tf.cast(tf.matmul(h, wte, transpose_b=True), tf.float32)
    p = tf.nn.softmax(logits)  # four times as fast as TensorFlow's own loss
    return -logprobs_of(logits, p, targets), p


def less_one(p, targets):
    """p [n, V] less one at the targets [n]: the gradients of their losses by the logits."""
    places = tf.stack([tf.range(tf.shape(targets)[0]), targets], axis=1)
    ones = tf.ones_like(targets, p.dtype)
    # In the memory of p, if nothing else needs that; tf.tensor_scatter_nd_sub copies it always.
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=p, indices=places, updates=-ones)
