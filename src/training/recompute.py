"""Gradient checkpointing (Chen et al. 2016): a layer is computed again in the backward pass.

Only its input is kept in between."""

import tensorflow.compat.v1 as tf


def recomputed(block):
    """A layer that keeps only its input for the backward pass, at the price of a forward pass.

    block: as model.block.  It is for training: it takes no past and returns zeros in place of new
    keys and values.
    """

    def recomputed_block(x, scope, *, past, **more):
        assert past is None
        outer = tf.get_variable_scope()

        def once(x, reuse):
            with tf.variable_scope(outer, reuse=reuse):
                return block(x, scope, past=None, **more)[0]

        @tf.custom_gradient
        def layer(x):
            def gradient(dy, variables):
                # Else all layers would be computed again before the backward pass needs them.
                with tf.control_dependencies([dy]):
                    x_again = tf.identity(x)
                dx, *d_variables = tf.gradients(once(x_again, True), [x_again, *variables], dy)
                return dx, d_variables

            return once(x, tf.AUTO_REUSE), gradient

        return layer(x), tf.zeros([1, 1])

    return recomputed_block
