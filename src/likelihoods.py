"""What logits say of tokens: log-probabilities and ranks, and the moments of the distribution.

Nothing, where they are NaN or infinite: `finite` refuses such logits.

Shapes: N positions, V vocabulary.
"""

import tensorflow.compat.v1 as tf

TINY = 1e-30  # the logarithm of a lower probability lacks digits, or is infinite
NOT_FINITE = 'the logits are NaN or infinite'


def finite(x):
    """Logits x [N, V], or what follows from them, as they are; an error if any is not finite.

    A weight that is NaN or infinite makes logits that are, in whatever dtype it is stored. To look
    at the logits takes a thousandth of a step of decoding, where looking at all weights would take
    long. They are summed: of numbers that can be meant a sum is finite if, and only if, all of its
    terms are. The error is an InvalidArgumentError when it runs.
    """
    sums = tf.reduce_sum(tf.cast(x, tf.float32), axis=-1)  # too large for float16
    checked = tf.debugging.check_numerics(sums, NOT_FINITE)
    with tf.control_dependencies([checked]):
        return tf.identity(x)


def logprobs_of(logits, p, targets):
    """Log-probabilities of targets [N] by logits [N, V] and their softmax p: float32 [N], nats."""
    return logprobs_of_each(logits, p, targets[:, None])[:, 0]


def logprobs_of_each(logits, p, tokens):
    """Log-probabilities of K tokens at each position [N, K]: float32 [N, K], nats."""
    likelihoods = tf.gather(p, tokens, batch_dims=1)
    tiny = likelihoods < TINY

    def with_tiny():
        chosen = tf.gather(logits, tokens, batch_dims=1)
        highest, normaliser = normalised(logits, p)
        below = chosen - highest - normaliser[:, None]
        return tf.where(tiny, below, tf.math.log(likelihoods))

    logprobs = tf.cond(tf.reduce_any(tiny), with_tiny, lambda: tf.math.log(likelihoods))
    return tf.minimum(logprobs, 0)


def top_of(logits, p, k):
    """The k most likely tokens by logits [N, V] and their softmax p, best first.

    Returns int32 [N, k] and their log-probabilities float32 [N, k], in nats. Of equally likely
    tokens those with lower ids come first. Where N is a multiple of 16, so that TensorFlow takes
    all logarithms by one function, these are the floats that `logprobs_of` gives for them.
    """
    tokens = tf.nn.top_k(logits, k).indices
    return tokens, logprobs_of_each(logits, p, tokens)


def normalised(logits, p):
    """The highest logits [N, 1], and the logarithm of what normalises logits below these [N].

    The largest of a softmax is not below 1 / V: it tells the normaliser without loss.
    """
    return tf.reduce_max(logits, axis=1, keepdims=True), -tf.math.log(tf.reduce_max(p, axis=1))


def before(logits, targets):
    """Which tokens come before targets [N] in the order of logits [N, V]: float32 [N, V], 1 or 0.

    More likely ones do; of equally likely tokens those with lower ids come first.
    """
    chosen = tf.gather(logits, targets[:, None], batch_dims=1)
    ids = tf.range(tf.shape(logits)[1])
    found = tf.logical_or(
        logits > chosen, tf.logical_and(tf.equal(logits, chosen), ids < targets[:, None])
    )
    return tf.cast(found, tf.float32)  # which both sums below take, and add without error


def ranks_of(before):
    """Ranks of targets by what comes before them [N, V]: int32 [N], 1 for the most likely token."""
    return 1 + tf.cast(tf.reduce_sum(before, axis=1), tf.int32)


def mass_of(before, p):
    """The probability, by p [N, V], of all tokens that come before targets: float32 [N].

    A nucleus of less than that does not hold the target. With U uniform on [0, 1], a target that
    was drawn from p has mass + U * its own probability uniform on [0, 1].
    """
    return dot(before, p)


def moments_of(logits, p):
    """Entropies of the distributions p, the softmax of logits [N, V], and means of log^2 p.

    float32 [N], nats, and [N], nats^2: these less the squares of the entropies are the variances
    of the log-probability of a drawn token.
    """
    highest, normaliser = normalised(logits, p)
    below = logits - highest
    weighted = p * below
    mean = tf.reduce_sum(weighted, axis=1)
    # No term of the square of (below - normaliser) is negative: nothing cancels.
    square = dot(weighted, below) - 2 * normaliser * mean + tf.square(normaliser)
    return tf.maximum(normaliser - mean, 0), square


def dot(x, y):
    """Dot products of rows [N, V]: float32 [N]."""
    return tf.raw_ops.BatchMatMulV3(x=x[:, None], y=y[:, :, None], Tout=tf.float32)[:, 0, 0]
