"""The optimizers that `--optimizer` chooses from. No TensorFlow until one is made.

A new one is a subclass of optimizers.base.Optimizer in a file of its own, and an entry here.
"""

import importlib
import typing


class Entry(typing.NamedTuple):
    """How to find an optimizer, and what is usual for it.

    place: 'module.Class' in this package.
    fine_tuning, from_scratch: the highest learning rate, for a model that is trained and for a new
        one.
    hyperparameters: arguments of the class that TrainingPlan has settings for, and their defaults;
        it takes no others.
    """

    place: str
    fine_tuning: float
    from_scratch: float
    hyperparameters: dict


OPTIMIZERS = {
    'adamw': Entry('adamw.AdamW', 1e-4, 6e-4, dict(beta1=0.9, beta2=0.999, weight_decay=0.01)),
}
DEFAULT = 'adamw'  # also of runs from before there was a choice


def optimizer_for(plan, variables):
    """The optimizer that a TrainingPlan names, for a list of variables: an Optimizer."""
    entry = OPTIMIZERS[plan.optimizer]
    module, name = entry.place.split('.')
    optimizer = getattr(importlib.import_module(f'{__name__}.{module}'), name)
    return optimizer(variables, **{name: getattr(plan, name) for name in entry.hyperparameters})
