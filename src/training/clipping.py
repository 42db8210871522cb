"""The clipping of gradients."""

import tensorflow.compat.v1 as tf


def clip(gradients, limit):
    """Scale gradients so that their global norm is at most `limit`: (gradients, norm before).

    limit: a number; 0 leaves them as they are. Pascanu et al. 2013, algorithm 1.
    """
    norm = tf.sqrt(2 * tf.add_n([tf.nn.l2_loss(g) for g in gradients]))
    if not limit:
        return gradients, norm
    # Most steps of most runs need no scaling: then nothing reads and writes all gradients again.
    scaled = tf.cond(
        norm > limit,
        lambda: [g * (limit / norm) for g in gradients],
        lambda: [tf.identity(g) for g in gradients],
        strict=True,  # a list of one remains a list
    )
    return scaled, norm
