"""A training run step by step, and what happens in between: validation, checkpoints, samples."""

import contextlib
import dataclasses
import math
import sys
import time

import numpy as np
from tqdm import tqdm

from support.checks import check_whole
from support.progress import show_progress
from support.settings import Settings
from training import windows


@dataclasses.dataclass(frozen=True)
class Routine:
    """What happens every so many steps, None never; the last step validates and saves anyway.

    What cannot be meant is refused with a ValueError.
    """

    validate_every: int
    save_every: int
    sample_every: int | None
    sample_length: int  # tokens
    validate_tokens: int | None = None  # of those held out, from the first; None takes all
    keep: int = 3  # checkpoints

    def __post_init__(self):
        for name in ('validate_every', 'save_every', 'keep', 'sample_length'):
            check_whole(name, getattr(self, name), least=1)
        for name, least in (('sample_every', 1), ('validate_tokens', 2)):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least)


class TrainingLoop:
    """Trains to the end of the plan.

    run: TrainingRun, at the step to go on from; None in all processes of a group but the first.
    windows: windows.Windows to train on.
    held_out: tokens to validate on, or None.  token_bytes: the mean bytes of text of one.
    """

    def __init__(self, trainer, run, windows, routine, held_out=None, token_bytes=None):
        self.trainer, self.run, self.windows, self.routine = trainer, run, windows, routine
        self.held_out = None if held_out is None else held_out[: routine.validate_tokens]
        self.token_bytes = token_bytes
        self.plan = trainer.plan

    def __call__(self, first_step, pressed):
        """Train from a step on until the end, or until somebody wants to stop: save, raise why.

        pressed: stopping.Stop.
        Raises ValueError when the loss is not finite; the last checkpoint is from before that.
        """
        plan = self.plan
        tokens = plan.batch_size * plan.accumulate * plan.window * self.trainer.group.size
        with self.shown(total=plan.steps, initial=first_step - 1, unit='step') as shown:
            if self.run and self.held_out is not None and first_step == 1:
                self.validate(0)  # the loss that training starts from
            for step in range(first_step, plan.steps + 1):
                start = time.perf_counter()
                result = self.trainer.step(step, self.batches(step), pressed.is_set())
                speed = tokens / (time.perf_counter() - start)
                # One process need not ask the others, and can leave a step earlier.
                stop = result['stop'] or (self.trainer.group.size == 1 and pressed.is_set())
                self.check_finite(step, result['loss'], result['norm'])
                if self.run:
                    now = f'loss {result["loss"]:.3f}, {speed:.0f} tokens/s'
                    shown.set_postfix_str(now, refresh=False)
                    shown.update()
                    self.run.record(
                        step,
                        loss=result['loss'],
                        norm=result['norm'],
                        rate=plan.rate(step),
                        tokens_per_second=speed,
                    )
                    self.between(step, last=step == plan.steps or stop)
                if stop:
                    self.trainer.group.close()  # not before the first process has saved
                    raise pressed.error

    def shown(self, **options):
        """How far it is; of several processes one shows it."""
        return show_progress(**options) if self.run else contextlib.nullcontext()

    def batches(self, step):
        """The inputs and targets of a step: each process reads its own share of its rows."""
        plan, group = self.plan, self.trainer.group
        for i in range(plan.accumulate):
            batch = ((step - 1) * plan.accumulate + i) * group.size + group.rank
            first = batch * plan.batch_size
            rows = self.windows.rows(first, plan.batch_size)
            inputs = rows[:, :-1]
            if plan.noise:
                n_vocab = self.trainer.hparams.n_vocab
                inputs = windows.noisy(inputs, plan.noise, n_vocab, plan.seed, first)
            yield inputs, rows[:, 1:]

    def between(self, step, last):
        """What is due after a step."""
        routine, finished = self.routine, step == self.plan.steps
        if self.held_out is not None and (finished or step % routine.validate_every == 0):
            self.validate(step)
        if last or step % routine.save_every == 0:
            self.save(step)
        if routine.sample_every and step % routine.sample_every == 0:
            self.show_sample(step)

    def validate(self, step):
        plan = self.plan
        batches = windows.sequential(self.held_out, plan.window, plan.batch_size)
        n = -(-(len(self.held_out) - 1) // (plan.window * plan.batch_size))
        with self.shown(total=n, desc='validation', unit='batch', leave=False) as shown:
            loss = self.trainer.validate(counted(batches, shown))
        self.check_finite(step, loss)
        bits = loss / math.log(2) / self.token_bytes
        say(
            f'step {step}: validation {loss:.4f} nats a token, perplexity {perplexity(loss):.2f}, '
            f'{bits:.4f} bits a byte'
        )
        self.run.save_if_best(self.trainer, loss, step)
        self.run.record(step, validation=loss, perplexity=perplexity(loss))

    def save(self, step):
        """Save, unless the last update has spoilt the weights: the next loss would show it late."""
        plan = self.plan
        next_row = step * plan.accumulate * self.trainer.group.size * plan.batch_size
        rows = self.windows.rows(next_row, plan.batch_size)
        self.check_finite(step, self.trainer.validate([(rows, np.ones_like(rows[:, 1:]))]))
        self.run.save(self.trainer, step)

    def check_finite(self, step, loss, norm=0):
        """Raise ValueError, with what is saved, unless the loss and its gradients are finite."""
        if math.isfinite(loss + norm):
            return
        found = f'gradients of norm {norm:g}' if math.isfinite(loss) else f'a loss of {loss:g}'
        saved = ''
        if self.run:
            step_saved, folder = self.run.step, self.run.folder
            saved = f'{folder} keeps the weights of step {step_saved}; ' if step_saved else ''
        advice = 'try a lower learning rate' if step else 'the weights it starts from are damaged'
        raise ValueError(f'step {step} ended with {found}; {saved}{advice}')

    def show_sample(self, step):
        engine = self.trainer.engine
        length = min(self.routine.sample_length, engine.hparams.n_ctx)
        settings = Settings(length=length, seed=self.plan.seed)
        (tokens,) = engine.generate([[engine.encoder.end_of_text]], settings)
        say('=' * 36 + f' SAMPLE AT STEP {step} ' + '=' * 36)
        say(engine.encoder.decode(tokens))


def counted(items, shown):
    """Yield items, and tell how far that is."""
    for item in items:
        yield item
        shown.update()


def perplexity(loss):
    """Of a loss in nats a token."""
    return math.exp(min(loss, 700))


def say(text):
    """Print above the progress bar, if there is one."""
    tqdm.write(text)
    sys.stdout.flush()
