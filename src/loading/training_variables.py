"""What checkpoints of 2019 hold of training, besides the model. No TensorFlow."""

import re

# What tf.train.Saver() wrote in 2019 besides a model: step counters, powers of Adam's decay rates,
# the scale of a loss, and for each variable the slots of its optimizer, VARIABLE/Adam_1, and its
# moving average. Restoring passes these over.
COUNTERS = re.compile(r'(.+/)?(global_step|beta[12]_power|current_loss_scale|good_steps)(_\d+)?')
SLOTS = re.compile(
    r'(Adadelta|Adafactor|Adagrad|AdagradDA|Adam|AdaMax|AdamW|adam_[mv]|ExponentialMovingAverage'
    r'|Ftrl|Momentum|MomentumW|ProximalAdagrad|RMSProp)(_\d+)?'
)


def is_of_training(name, variables):
    """Whether a tensor in a checkpoint counts steps or is an optimizer's slot of a variable."""
    owner, _, slot = name.rpartition('/')
    of_variable = any(f'/{owner}'.endswith(f'/{variable}') for variable in variables)
    return bool(COUNTERS.fullmatch(name) or (of_variable and SLOTS.fullmatch(slot)))
