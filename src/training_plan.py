"""How to train: every choice that shapes the course of a training run, checked. No TensorFlow."""

import dataclasses
import math
import re

from settings import check_whole, is_number

SCHEDULES = ('cosine', 'constant')
DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """The settings of a run; what cannot be meant is refused with a ValueError."""

    steps: int  # updates of the weights in all
    batch_size: int = 2  # windows that a process reads at once
    accumulate: int = 1  # batches whose gradients make one step
    window: int = 1024  # tokens
    learning_rate: float = 1e-4  # its peak
    warmup: int = 0  # steps
    schedule: str = 'cosine'
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 1.0  # the largest global norm of the gradients; 0 does not clip
    dropout: float = 0.1
    noise: float = 0.0  # probability of a random token in place of an input
    dtype: str = 'float32'
    recompute: bool = False  # gradient checkpointing
    train_only: str | None = None  # a pattern that names of trained variables match
    seed: int = 0

    def __post_init__(self):
        for name in ('steps', 'batch_size', 'accumulate', 'window'):
            check_whole(name, getattr(self, name), least=1)
        check_whole('warmup', self.warmup, least=0)
        check_whole('seed', self.seed, least=0, below=2**31)
        check_number('learning_rate', self.learning_rate, above=0)
        for name in ('weight_decay', 'clip'):
            check_number(name, getattr(self, name), least=0)
        for name in ('beta1', 'beta2', 'dropout', 'noise'):
            check_number(name, getattr(self, name), least=0, below=1)
        for name, values in (('schedule', SCHEDULES), ('dtype', DTYPES)):
            if getattr(self, name) not in values:
                raise ValueError(
                    f'{name} must be {" or ".join(values)}, not {getattr(self, name)!r}'
                )
        if self.warmup >= self.steps:
            raise ValueError(f'a warm-up of {self.warmup} leaves nothing of {self.steps} steps')
        if not isinstance(self.recompute, bool):
            raise ValueError(f'recompute must be True or False, not {self.recompute!r}')
        self.trains('')

    def trains(self, name):
        """Whether the variable of this name is trained."""
        try:
            return self.train_only is None or re.search(self.train_only, name) is not None
        except re.error as error:
            raise ValueError(f'train_only is not a regular expression: {error}') from error

    def rate(self, step):
        """The learning rate of step number 1, 2, ...: a straight warm-up, then the schedule.

        The cosine goes down to 0 behind the last step (Loshchilov & Hutter 2016, eq. 5, without
        restarts; Radford et al. 2018, section 4.1).
        """
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        if self.schedule == 'constant':
            return self.learning_rate
        done = min(1, (step - self.warmup - 1) / (self.steps - self.warmup))
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def values(self):
        """All settings as a dict."""
        return dataclasses.asdict(self)


def check_number(name, value, least=-math.inf, above=-math.inf, below=math.inf):
    """Raise ValueError unless `value` is a finite number within the limits."""
    if not is_number(value) or not (least <= value < below and value > above):
        limits = [
            f'at least {least:g}' if least > -math.inf else '',
            f'above {above:g}' if above > -math.inf else '',
            f'below {below:g}' if below < math.inf else '',
        ]
        limits = ' and '.join(filter(None, limits))
        raise ValueError(f'{name} must be a number {limits}, not {value!r}')
