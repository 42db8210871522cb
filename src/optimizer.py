"""AdamW and the clipping of gradients."""

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


class AdamW:
    """Adam (Kingma & Ba 2014, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2017).

    Weight decay spares vectors: biases, and the gains of norms.

    variables: list of tf.Variable, float32.  `slots`: its own variables, for checkpoints.
    """

    def __init__(self, variables, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01):
        self.variables = variables
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.weight_decay = weight_decay
        self.moments = [(slot(v, 'm'), slot(v, 'v')) for v in variables]
        self.slots = [slot for pair in self.moments for slot in pair]

    def apply(self, gradients, step, rate):
        """The operation that makes step number `step` (from 1): float32 scalar tensors both."""
        power1, power2 = self.beta1**step, self.beta2**step
        # TensorFlow's kernel adds epsilon before it corrects the second moment, the paper after.
        epsilon = self.epsilon * tf.sqrt(1 - power2)
        updates = []
        for variable, gradient, (m, v) in zip(self.variables, gradients, self.moments, strict=True):
            # No variable changes before the last gradient is there: others still read it for that.
            with tf.control_dependencies(gradients):
                decayed = self.decay(variable, rate)
            with tf.control_dependencies([decayed]):
                updates.append(
                    tf.raw_ops.ResourceApplyAdam(
                        var=variable.handle,
                        m=m.handle,
                        v=v.handle,
                        beta1_power=power1,
                        beta2_power=power2,
                        lr=rate,
                        beta1=self.beta1,
                        beta2=self.beta2,
                        epsilon=epsilon,
                        grad=gradient,
                    )
                )
        return tf.group(updates)

    def decay(self, variable, rate):
        """The operation that shrinks a variable, if it is none of those that are spared."""
        if not self.weight_decay or variable.shape.ndims < 2:
            return tf.no_op()
        shrunk = variable.read_value() * (1 - rate * self.weight_decay)
        return variable.assign(shrunk, read_value=False)


def slot(variable, name):
    """A variable of zeros beside another, which must have its value when this gets one.

    Plain zeros become constants of the graph where they are small enough, and stay in memory.
    """
    return tf.get_variable(
        f'optimizer/{variable.op.name}/{name}',
        initializer=tf.zeros_like(variable, optimize=False),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES],
    )
