"""AdamW, the default."""

import tensorflow.compat.v1 as tf

from training.optimizers.base import Optimizer


class AdamW(Optimizer):
    """Adam (Kingma & Ba 2014, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2017).

    beta1, beta2: how slowly gradients and their squares are forgotten.
    """

    slot_names = ('m', 'v')

    def __init__(self, variables, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01):
        super().__init__(variables, weight_decay=weight_decay)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def apply(self, gradients, step, rate):
        self.power1, self.power2 = self.beta1**step, self.beta2**step
        # TensorFlow's kernel adds epsilon before it corrects the second moment, the paper after.
        self.corrected_epsilon = self.epsilon * tf.sqrt(1 - self.power2)
        return super().apply(gradients, step, rate)

    def update(self, variable, gradient, slots, step, rate):
        m, v = slots
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=self.power1,
            beta2_power=self.power2,
            lr=rate,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.corrected_epsilon,
            grad=gradient,
        )
