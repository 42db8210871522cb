#!/usr/bin/env python3
"""Fine-tune a model on text, or train one from scratch."""

import contextlib
import dataclasses
import sys

import command_line
from corpus import HELD_OUT
from model_files import expand
from settings import check_whole
from token_windows import Windows
from training_loop import Routine, TrainingLoop
from training_plan import TrainingPlan, check_number
from training_setup import (
    check_setup,
    check_text,
    find_origin,
    fingerprint,
    held,
    is_encoded,
    open_text,
    write_setup,
)

RATE_FROM_SCRATCH = 6e-4  # the plan's own is for fine-tuning


def train(
    name: str,
    *data: str,
    start: str = None,
    steps=1000,
    models_dir: str = 'models',
    vocabulary: str = None,
    n_ctx: int = None,
    n_embd: int = None,
    n_head: int = None,
    n_layer: int = None,
    batch_size=TrainingPlan.batch_size,
    accumulate=TrainingPlan.accumulate,
    window: int = None,
    learning_rate: float = None,
    schedule: str = TrainingPlan.schedule,
    warmup: int = None,
    weight_decay=TrainingPlan.weight_decay,
    beta1=TrainingPlan.beta1,
    beta2=TrainingPlan.beta2,
    clip=TrainingPlan.clip,
    dropout=TrainingPlan.dropout,
    noise=TrainingPlan.noise,
    dtype: str = TrainingPlan.dtype,
    recompute: bool = TrainingPlan.recompute,
    train_only: str = TrainingPlan.train_only,
    seed=TrainingPlan.seed,
    validation=HELD_OUT,
    validation_data: str = None,
    validate_every=100,
    validate_tokens: int = None,
    sample_every: int = None,
    sample_length=100,
    save_every=100,
    keep=3,
    workers: str = None,
    task=0,
):
    """Train models/NAME on text: fine-tune a model (--start), or make one from scratch.

    Run the same command again after an interruption and it goes on where it was saved. Ctrl-C saves
    and leaves. Results are in models/NAME, a model for every script; the best one so far, by
    validation, is NAME/best.

    Args:
        name: the new model, a folder of models_dir; for training from scratch it may hold a
            vocabulary from train_encoder.py
        data: files, folders or patterns of UTF-8 text or JSONL, or a folder from encode_corpus.py
        start: the model to fine-tune, such as 124M; without it training starts from scratch
        steps: updates of the weights in all
        models_dir: the folder of all models
        vocabulary: from scratch: a model whose vocabulary to take
        n_ctx: from scratch: positions the model can see; None is 1024
        n_embd: from scratch: width of its hidden states; None is 768
        n_head: from scratch: attention heads in a layer; None is 12
        n_layer: from scratch: layers; None is 12
        batch_size: windows that each process reads at a time
        accumulate: batches whose gradients make one step
        window: tokens read at once; None takes n_ctx
        learning_rate: the highest one; None is 1e-4 with --start, 6e-4 from scratch
        schedule: what it does behind the warm-up: cosine (goes down to 0) or constant
        warmup: steps in which it grows from 0; None is a tenth of all, at most 100
        weight_decay: what AdamW takes off the weights, times the learning rate; spares biases and
            gains
        beta1: how slowly AdamW forgets gradients
        beta2: how slowly it forgets their squares
        clip: largest global norm of the gradients; 0 does not clip
        dropout: probability that a value of the embeddings, attention weights and residual
            additions is dropped
        noise: probability that an input is replaced by a random token
        dtype: float32, or bfloat16 for products and activations (weights stay float32)
        recompute: gradient checkpointing: less memory, a third more time
        train_only: train only variables whose names match this regular expression
        seed: of initial weights, order of the text, dropout and noise
        validation: fraction of the documents that is held out, or of a single one; 0 holds out
            nothing, and a folder from encode_corpus.py has its own
        validation_data: hold out this file, folder or pattern instead
        validate_every: steps between validations
        validate_tokens: validate on so many tokens, always the same; None takes all
        sample_every: steps between samples; None shows none
        sample_length: tokens in a sample
        save_every: steps between checkpoints
        keep: how many checkpoints stay
        workers: host:port of all processes that train together, separated by commas; they must
            see the same folders
        task: which of them this process is, from 0
    """
    flags = dict(locals())
    check_routine(flags)
    if not data:
        raise ValueError('there is no text to train on: name files or folders behind the model')
    models_dir = expand(models_dir)
    workers = workers.split(',') if workers else None
    n_workers = len(workers or [''])
    check_whole('task', task, least=0, below=n_workers)
    if n_workers > 1 and not is_encoded(data):
        raise ValueError('several workers read tokens: encode the text with src/encode_corpus.py')

    sizes = {flag: flags[flag] for flag in ('n_ctx', 'n_embd', 'n_head', 'n_layer')}
    sizes = {flag: size for flag, size in sizes.items() if size is not None}
    origin = find_origin(name, models_dir, start, vocabulary, sizes)
    check_text(origin, data)
    plan = make_plan(flags, origin.hparams.n_ctx)
    names = ('start', 'vocabulary', 'validation', 'validation_data')
    settings = {**plan.values(), **{name: flags[name] for name in names}}
    settings |= {'data': list(data), 'text': fingerprint(data), 'processes': n_workers}
    check_setup(origin, settings)
    if origin.step >= steps:
        print(f'{origin.folder}: {origin.step} steps are done already', file=sys.stderr)
        return

    with contextlib.ExitStack() as stack:
        if task == 0:  # the others write nothing
            stack.enter_context(held(origin.folder))
        tokens, held_out, token_bytes = open_text(data, origin, validation, validation_data, seed)
        windows = Windows(tokens, plan.window, seed)
        if held_out is not None and validate_tokens is not None:
            held_out = held_out[:validate_tokens]
        if task == 0:
            write_setup(origin, settings)
        samples = task == 0 and sample_every is not None
        trainer = start_trainer(stack, origin, plan, settings, workers, task, samples)
        run = start_run(stack, origin, keep) if task == 0 else None
        routine = Routine(validate_every, save_every, sample_every, sample_length)
        loop = TrainingLoop(trainer, run, windows, routine, held_out, token_bytes)
        with command_line.deferred_interrupts() as pressed:
            loop(origin.step + 1, pressed)


def start_trainer(stack, origin, plan, settings, workers, task, samples):
    """Load TensorFlow, meet the other workers and build the training graph.

    stack: what closes it all.  settings: those that must be the same in all workers.
    """
    with command_line.quiet(), command_line.no_garbage_collection():
        command_line.load_cuda_solver()
        from collective import Group
        from tf_session import session_config
        from trainer import Trainer

        group = stack.enter_context(Group(workers, task, session_config(large_products=True)))
        group.check_same('the settings', repr((settings, origin.hparams, origin.step)))
        trainer = Trainer(
            origin.hparams,
            plan,
            group,
            origin.encoder if samples else None,
            weights=origin.weights,
            slots=origin.slots,
            remedy=origin.remedy,
        )
    command_line.note_idle_gpu(trainer.on_gpu)
    return stack.enter_context(trainer)


def start_run(stack, origin, keep):
    from training_run import TrainingRun  # TensorFlow is loaded by now

    return stack.enter_context(TrainingRun(origin.folder, keep, origin.step))


def check_routine(flags):
    """Raise ValueError for flags that cannot be meant; those of the plan are its own to check."""
    for flag in ('validate_every', 'save_every', 'keep', 'sample_length'):
        check_whole(flag, flags[flag], least=1)
    for flag, least in (('sample_every', 1), ('validate_tokens', 2)):
        if flags[flag] is not None:
            check_whole(flag, flags[flag], least)
    check_number('validation', flags['validation'], least=0, below=1)


def make_plan(flags, n_ctx):
    """The plan that flags ask for; those without a value get what is usual."""
    names = [field.name for field in dataclasses.fields(TrainingPlan)]
    values = {name: flags[name] for name in names}
    if values['window'] is None:
        values['window'] = n_ctx
    if values['learning_rate'] is None:
        values['learning_rate'] = (
            TrainingPlan.learning_rate if flags['start'] else RATE_FROM_SCRATCH
        )
    if values['warmup'] is None:
        check_whole('steps', values['steps'], least=1)
        values['warmup'] = min(100, values['steps'] // 10)
    plan = TrainingPlan(**values)
    if plan.window > n_ctx:
        raise ValueError(f'a window of {plan.window} tokens exceeds the context of {n_ctx}')
    return plan


if __name__ == '__main__':
    command_line.run(train)
