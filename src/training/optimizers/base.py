"""What all optimizers have in common: variables of their own, decoupled weight decay, the order."""

import abc

import tensorflow.compat.v1 as tf


class Optimizer(abc.ABC):
    """Updates variables by their gradients; a subclass says how one variable is updated.

    variables: list of tf.Variable, float32.
    weight_decay: what is taken off them in each step, times the learning rate (Loshchilov & Hutter
        2017). Vectors are spared: biases, and the gains of norms.
    slot_names: what is remembered of each variable between steps, named by the class.
    `slots`: the list of variables that hold it, for checkpoints.
    """

    slot_names = ()

    def __init__(self, variables, *, weight_decay):
        self.variables, self.weight_decay = variables, weight_decay
        self.slots_of = [[slot(v, name) for name in self.slot_names] for v in variables]
        self.slots = [slot for slots in self.slots_of for slot in slots]

    def apply(self, gradients, step, rate):
        """The operation that makes a step.

        gradients: float32, one for each variable.
        step, rate: float32 scalar tensors: the number of the step, from 1, and the learning rate.
        """
        updates = []
        for variable, gradient, slots in zip(self.variables, gradients, self.slots_of, strict=True):
            # No variable changes before the last gradient is there: others still read it for that.
            with tf.control_dependencies(gradients):
                decayed = self.decay(variable, rate)
            with tf.control_dependencies([decayed]):
                updates.append(self.update(variable, gradient, slots, step, rate))
        return tf.group(updates)

    def decay(self, variable, rate):
        """The operation that shrinks a variable, if it is none of those that are spared."""
        if not self.weight_decay or variable.shape.ndims < 2:
            return tf.no_op()
        shrunk = variable.read_value() * (1 - rate * self.weight_decay)
        return variable.assign(shrunk, read_value=False)

    @abc.abstractmethod
    def update(self, variable, gradient, slots, step, rate):
        """The operation that updates one variable, after its decay, and its slots.

        slots: variables of the same shape, zeros at first, in the order of slot_names.
        """


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
