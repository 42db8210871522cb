"""How to train: every choice that shapes the course of a training run, checked. No TensorFlow."""

import dataclasses
import math
import re

from support.checks import check_batch_size, check_number, check_whole
from training.optimizers import DEFAULT, OPTIMIZERS

SCHEDULES = ('cosine', 'constant')
DTYPES = ('float32', 'bfloat16')
SHORTEST, LONGEST = 10, 128  # tokens of the windows that a classifier learns from
# Settings of the plan that optimizers can have, and what they must be below.
HYPERPARAMETERS = {'weight_decay': math.inf, 'beta1': 1, 'beta2': 1}


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """The settings of a run; what cannot be meant is refused with a ValueError.

    Those that depend on the optimizer get its own values where they are None: the learning rate,
    for fine-tuning, and its hyper-parameters. Those that it does not have stay None.
    """

    steps: int  # updates of the weights in all
    batch_size: int = 2  # windows of a batch in each process
    accumulate: int = 1  # batches whose gradients make one step
    window: int = 1024  # tokens of context
    learning_rate: float | None = None  # the highest one, after the warm-up
    warmup: int = 0  # steps in which the learning rate grows from 0
    schedule: str = 'cosine'
    optimizer: str = DEFAULT
    weight_decay: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    clip: float = 1.0  # the largest global norm of the gradients; 0 does not clip
    dropout: float = 0.1
    noise: float = 0.0  # probability of a random token in place of an input
    dtype: str = 'float32'
    recompute: bool = False  # gradient checkpointing
    train_only: str | None = None  # a pattern that names of trained variables match
    seed: int = 0

    def __post_init__(self):
        check_choice('optimizer', self.optimizer, tuple(OPTIMIZERS))
        self._fill_in(OPTIMIZERS[self.optimizer])
        check_batch_size(self.batch_size)
        for name in ('steps', 'accumulate', 'window'):
            check_whole(name, getattr(self, name), least=1)
        check_whole('warmup', self.warmup, least=0)
        check_whole('seed', self.seed, least=0, below=2**31)
        check_number('learning_rate', self.learning_rate, above=0)
        check_number('clip', self.clip, least=0)
        for name in ('dropout', 'noise'):
            check_number(name, getattr(self, name), least=0, below=1)
        check_choice('schedule', self.schedule, SCHEDULES)
        check_choice('dtype', self.dtype, DTYPES)
        if self.warmup >= self.steps:
            raise ValueError(f'a warm-up of {self.warmup} leaves nothing of {self.steps} steps')
        if not isinstance(self.recompute, bool):
            raise ValueError(f'recompute must be True or False, not {self.recompute!r}')
        self.trains('')

    def _fill_in(self, entry):
        """Check what depends on the optimizer; what is None becomes what is usual for it."""
        if self.learning_rate is None:
            object.__setattr__(self, 'learning_rate', entry.fine_tuning)
        for name, below in HYPERPARAMETERS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, entry.hyperparameters.get(name))
            elif name not in entry.hyperparameters:
                raise ValueError(f'the optimizer {self.optimizer} has no {name}')
            if name in entry.hyperparameters:
                check_number(name, getattr(self, name), least=0, below=below)

    @classmethod
    def usual(
        cls,
        n_ctx,
        from_scratch,
        *,
        steps,
        window=None,
        learning_rate=None,
        warmup=None,
        optimizer=DEFAULT,
        **others,
    ):
        """A plan for a model of n_ctx positions; settings that are None get what is usual.

        from_scratch: whether the model is new.
        """
        check_whole('steps', steps, least=1)
        check_choice('optimizer', optimizer, tuple(OPTIMIZERS))
        if learning_rate is None and from_scratch:
            learning_rate = OPTIMIZERS[optimizer].from_scratch
        plan = cls(
            steps=steps,
            window=n_ctx if window is None else window,
            learning_rate=learning_rate,
            warmup=min(100, steps // 10) if warmup is None else warmup,
            optimizer=optimizer,
            **others,
        )
        if plan.window > n_ctx:
            raise ValueError(f'a window of {plan.window} tokens exceeds the context of {n_ctx}')
        return plan

    @classmethod
    def classifying(cls, n_texts, n_ctx, *, epochs, batch_size, learning_rate, seed):
        """A plan as of 2019's neural detector: Adam at a constant rate, no decay, no clipping.

        n_texts: each is read once in an epoch, a window of it after the token that starts a text.
        """
        check_whole('epochs', epochs, least=1)
        check_batch_size(batch_size)
        return cls(
            steps=epochs * -(-n_texts // batch_size),
            batch_size=batch_size,
            window=min(LONGEST + 1, n_ctx),
            learning_rate=learning_rate,
            schedule='constant',
            weight_decay=0,
            clip=0,
            seed=seed,
        )

    @classmethod
    def names(cls):
        """The names of all settings."""
        return [field.name for field in dataclasses.fields(cls)]

    def trains(self, name):
        """Whether the variable of this name is trained."""
        try:
            return self.train_only is None or re.search(self.train_only, name) is not None
        except re.error as error:
            raise ValueError(f'train_only is not a regular expression: {error}') from error

    def rate(self, step):
        """The learning rate of step number 1, 2, ...: a straight warm-up, then the schedule.

        The cosine goes down to 0 after the last step (Loshchilov & Hutter 2016, eq. 5, without
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


def check_choice(name, value, choices):
    """Raise ValueError unless a value is one of those that a setting can have."""
    if value not in choices:
        raise ValueError(f'{name} must be {" or ".join(choices)}, not {value!r}')
