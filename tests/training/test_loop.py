import dataclasses
import io
import math
import re
import signal
import sys
import types

import numpy as np
import pytest

from support import progress
from support.stopping import Stop, Stopped
from training.loop import Routine, TrainingLoop, perplexity
from training.plan import TrainingPlan
from training.windows import Windows, sequential

WINDOW = 4
N_VOCAB = 1000
TOKENS = np.arange(200, dtype=np.uint16)  # each occurs once, so that a token tells its place
NEVER = Routine(validate_every=10**9, save_every=10**9, sample_every=None, sample_length=5)


class Log:
    """Stands in for a trainer and the folder of a run, and notes what they are asked to do.

    losses: of steps, by their numbers, each with the norm.  validation: that of every validation.
    during: called with a step's number; whether another process wants to stop.
    """

    def __init__(self, plan, rank=0, size=1, losses=(), validation=1.0, during=None):
        meet = lambda: self.done.append(('meet',))  # noqa: E731
        self.plan, self.group = plan, types.SimpleNamespace(rank=rank, size=size, close=meet)
        self.hparams = types.SimpleNamespace(n_vocab=N_VOCAB, n_ctx=WINDOW)
        self.engine = types.SimpleNamespace(
            hparams=self.hparams,
            encoder=types.SimpleNamespace(end_of_text=7, decode=lambda tokens: f'text {tokens}'),
            generate=self.generate,
        )
        self.losses, self.validation = dict(losses), validation
        self.during = during or (lambda number: False)
        self.batches, self.validated, self.done = [], [], []

    # As a trainer

    def step(self, number, batches, stop):
        self.batches.append(list(batches))
        self.done.append(('step', number))
        loss, norm = self.losses.get(number, (2.0, 1.0))
        return {'loss': loss, 'norm': norm, 'stop': stop or self.during(number)}

    def validate(self, batches):
        self.validated.append(list(batches))
        return self.validation

    def generate(self, prompts, settings):
        assert prompts == [[7]]
        return [[settings.length, settings.seed]]


class Run:
    def __init__(self, log, step=0):
        self.done, self.step, self.folder = log.done, step, 'models/new'
        self.records = []

    def record(self, step, **values):
        self.records.append({'step': step, **values})
        self.done.append(('record', *values))

    def save(self, trainer, step):
        self.step = step
        self.done.append(('save', step))

    def save_if_best(self, trainer, loss, step):
        self.done.append(('best', loss, step))


def train(plan, routine=NEVER, held_out=None, first_step=1, step_saved=0, pressed=None, **options):
    """Train with stand-ins; returns what was done, also if it ended with an exception."""
    log = Log(plan, **options)
    run = Run(log, step_saved) if log.group.rank == 0 else None
    windows = Windows(TOKENS, plan.window, plan.seed)
    loop = TrainingLoop(log, run, windows, routine, held_out, token_bytes=4.0)
    log.run, log.error = run, None
    try:
        loop(first_step, pressed or Stop())
    except (ValueError, KeyboardInterrupt, Stopped) as error:
        log.error = error
    return log


def plan_of(**settings):
    return TrainingPlan(**({'steps': 3, 'batch_size': 2, 'window': WINDOW} | settings))


# What a step reads


def test_steps_read_the_windows_of_the_text_in_order():
    rows = Windows(TOKENS, WINDOW, seed=3).rows(0, 3 * 2 * 2)
    log = train(plan_of(accumulate=2, seed=3))
    inputs = [inputs for step in log.batches for inputs, _ in step]
    targets = [targets for step in log.batches for _, targets in step]
    assert [len(step) for step in log.batches] == [2, 2, 2]
    np.testing.assert_array_equal(np.concatenate(inputs), rows[:, :-1])
    np.testing.assert_array_equal(np.concatenate(targets), rows[:, 1:])


def test_a_run_that_goes_on_reads_what_it_would_have_read():
    plan = plan_of(steps=5, accumulate=2, noise=0.5, seed=4)
    whole, rest = train(plan), train(plan, first_step=4)
    np.testing.assert_array_equal(np.array(whole.batches)[3:], rest.batches)
    assert rest.done[0] == ('step', 4)


def test_processes_share_what_one_process_reads_with_their_batches_together():
    together = train(plan_of(batch_size=4, noise=0.5))
    shares = [train(plan_of(batch_size=2, noise=0.5), rank=rank, size=2) for rank in (0, 1)]
    for step, whole in enumerate(together.batches):
        for part in (0, 1):  # inputs, targets
            halves = [share.batches[step][0][part] for share in shares]
            np.testing.assert_array_equal(np.concatenate(halves), whole[0][part])


def test_noise_changes_inputs_only():
    clean, noisy = train(plan_of(steps=40)), train(plan_of(steps=40, noise=0.25))
    clean, noisy = np.array(clean.batches), np.array(noisy.batches)
    np.testing.assert_array_equal(noisy[:, :, 1], clean[:, :, 1])
    changed = noisy[:, :, 0] != clean[:, :, 0]
    assert 0.15 < changed.mean() < 0.35
    assert noisy[:, :, 0].max() > TOKENS.max()  # from the whole vocabulary


# What happens in between


def test_what_is_due_happens_in_an_order_that_a_kill_cannot_hurt():
    """A validation is noted before the checkpoint that a killed run would go on from."""
    routine = Routine(validate_every=2, save_every=3, sample_every=None, sample_length=5)
    log = train(plan_of(steps=7), routine, held_out=TOKENS[:20])
    words = {'record': 'note', 'step': '{0}', 'best': 'best', 'save': 'save'}
    told = [words[what].format(*more) for what, *more in log.done if more[:1] != ['loss']]
    assert ' '.join(told) == (
        'best note 1 2 best note 3 save 4 best note 5 6 best note save 7 best note save'
    )


def test_each_step_is_recorded_before_anything_else():
    log = train(plan_of(steps=2, warmup=1, learning_rate=0.5), losses={2: (1.5, 3.0)})
    first, second = log.run.records
    assert first.pop('tokens_per_second') > 0 and second.pop('tokens_per_second') > 0
    assert first == {'step': 1, 'loss': 2.0, 'norm': 1.0, 'rate': 0.5}
    assert second == {'step': 2, 'loss': 1.5, 'norm': 3.0, 'rate': 0.5}
    assert log.done[1][0] == 'record'


def test_validation_reads_all_held_out_tokens_without_noise(capsys):
    log = train(plan_of(noise=0.5), held_out=TOKENS[50:73], validation=math.log(20))
    expected = list(sequential(TOKENS[50:73], WINDOW, 2))
    for (rows, weights), (theirs, their_weights) in zip(log.validated[0], expected, strict=True):
        np.testing.assert_array_equal(rows, theirs)
        np.testing.assert_array_equal(weights, their_weights)
    expected = {'step': 3, 'validation': math.log(20), 'perplexity': pytest.approx(20)}
    assert log.run.records[-1] == expected
    *_, shown = capsys.readouterr().out.splitlines()
    bits = math.log2(20) / 4
    expected = f'3: validation 2.9957 nats a token, perplexity 20.00, {bits:.4f} bits a byte'
    assert shown == f'step {expected}'


def test_a_new_run_validates_what_it_starts_from():
    log = train(plan_of(), held_out=TOKENS)
    assert [record['step'] for record in log.run.records if 'validation' in record] == [0, 3]
    log = train(plan_of(), held_out=TOKENS, first_step=2, step_saved=1)
    assert [record['step'] for record in log.run.records if 'validation' in record] == [3]


def test_without_held_out_text_nothing_is_validated():
    log = train(plan_of(), Routine(1, 1, None, 5))
    assert not any(event[0] == 'best' for event in log.done)


def test_samples_are_shown_with_their_step_and_fit_the_context(capsys):
    train(plan_of(steps=5, seed=9), Routine(10**9, 10**9, 2, 50))
    shown = re.findall(r'^=+ SAMPLE AT STEP (\d) =+\ntext (.*)\n', capsys.readouterr().out, re.M)
    assert shown == [('2', '[4, 9]'), ('4', '[4, 9]')]


def test_one_process_writes_for_all(capsys):
    log = train(plan_of(), Routine(1, 1, 1, 5), held_out=TOKENS, rank=1, size=2)
    assert log.done == [('step', 1), ('step', 2), ('step', 3)] and log.validated == []
    assert capsys.readouterr() == ('', '')


# Stopping


@pytest.mark.parametrize('size', [1, 2])
def test_control_c_finishes_its_step_saves_and_leaves(size):
    """One of several processes must first tell the others, as part of the next step."""
    pressed = Stop()
    log = train(plan_of(), pressed=pressed, size=size, during=lambda number: pressed.set())
    assert isinstance(log.error, KeyboardInterrupt)
    expected = [('step', number + 1) for number in range(size)] + [('save', size), ('meet',)]
    assert [event for event in log.done if event[0] != 'record'] == expected


def test_who_wants_to_stop_is_told_apart():
    """A signal ends the script with a status of its own."""
    pressed, error = Stop(), Stopped(signal.SIGTERM)
    log = train(plan_of(), pressed=pressed, during=lambda number: pressed.give(error))
    assert log.error is error and ('save', 1) in log.done


@pytest.mark.parametrize('rank', [0, 1])
def test_control_c_in_one_process_stops_all(rank):
    log = train(plan_of(), rank=rank, size=2, during=lambda number: number == 2)
    assert isinstance(log.error, KeyboardInterrupt)
    assert [event for event in log.done if event[0] == 'step'] == [('step', 1), ('step', 2)]
    assert (('save', 2) in log.done) == (rank == 0)


@pytest.mark.parametrize(
    'result, found',
    [
        ((math.nan, 1.0), 'a loss of nan'),
        ((math.inf, 1.0), 'a loss of inf'),
        ((2.0, math.inf), 'gradients of norm inf'),
        ((2.0, math.nan), 'gradients of norm nan'),
    ],
)
def test_a_loss_that_is_not_finite_stops_and_is_not_saved(result, found):
    log = train(plan_of(), Routine(1, 1, None, 5), losses={2: result})
    assert str(log.error) == (
        f'step 2 ended with {found}; models/new keeps the weights of step 1; '
        'try a lower learning rate'
    )
    assert log.done[-2:] == [('save', 1), ('step', 2)]
    assert [record['step'] for record in log.run.records] == [1]


def test_if_nothing_was_saved_the_message_names_nothing():
    log = train(plan_of(), losses={1: (math.nan, 1.0)})
    assert str(log.error) == 'step 1 ended with a loss of nan; try a lower learning rate'
    log = train(plan_of(), losses={1: (math.nan, 1.0)}, rank=1, size=2)
    assert str(log.error) == 'step 1 ended with a loss of nan; try a lower learning rate'


def test_weights_that_are_damaged_from_the_start_are_not_blamed_on_the_learning_rate():
    log = train(plan_of(), held_out=TOKENS, validation=math.nan)
    expected = 'step 0 ended with a loss of nan; the weights it starts from are damaged'
    assert (str(log.error), log.done) == (expected, [])


@pytest.mark.parametrize('held_out', [None, TOKENS])
def test_weights_that_an_update_has_spoilt_are_not_saved(held_out):
    """The step's own loss is from before the update, and was fine."""
    routine = Routine(2, 2, None, 5)
    log = train(plan_of(), routine, held_out, validation=math.nan, step_saved=1, first_step=2)
    assert log.error.args[0].startswith('step 2 ended with a loss of nan; models/new keeps the')
    assert not {'save', 'best'} & {event[0] for event in log.done}


def test_spoilt_weights_show_on_what_the_next_step_reads():
    log = train(plan_of(steps=4, accumulate=3, seed=2), Routine(1, 2, None, 5))
    whole = train(plan_of(steps=5, accumulate=3, seed=2))
    for ((rows, weights),), following in zip(log.validated, (2, 4), strict=True):
        np.testing.assert_array_equal(rows[:, :-1], whole.batches[following][0][0])
        assert weights.shape == (2, WINDOW) and (weights == 1).all()


# What is shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_loss_speed_and_the_time_left(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    train(plan_of(steps=20), first_step=11)
    *_, last = sys.stderr.getvalue().rstrip().split('\r')
    left = r'\d\d:\d\d<\d\d:\d\d'
    assert re.search(rf'100%.* 20/20 \[{left}, .*loss 2\.000, \d+ tokens/s\]', last)


def test_one_of_several_processes_shows_it(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    train(plan_of(), rank=1, size=2)
    assert sys.stderr.getvalue() == ''


def test_a_log_shows_them_in_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, 'SECONDS', 0)
    routine = dataclasses.replace(NEVER, validate_every=3)
    train(plan_of(steps=4), routine, held_out=TOKENS[:30], first_step=3)
    validation = [f'validation: batch {n}/4 in 00:00, 00:00 left' for n in (1, 2, 3, 4)]
    steps = [f'step {n}/4 in 00:00, 00:00 left, loss 2.000, N tokens/s' for n in (3, 4)]
    lines = re.sub(r'\d+ tokens', 'N tokens', capsys.readouterr().err).splitlines()
    assert lines == [steps[0], *validation, steps[1], *validation]


def test_a_log_of_a_short_run_and_of_another_process_shows_nothing(monkeypatch, capsys):
    train(plan_of())
    monkeypatch.setattr(progress, 'SECONDS', 0)
    train(plan_of(), rank=1, size=2)
    assert capsys.readouterr() == ('', '')


def test_the_perplexity_of_a_huge_loss_is_no_error():
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e30) > 1e300
