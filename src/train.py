#!/usr/bin/env python3
"""Fine-tune a model on text, or train one from scratch."""

import contextlib
import sys

from support import command_line, stopping
from support.checks import check_whole
from support.files import expand
from training.corpus import HELD_OUT
from training.loop import Routine, TrainingLoop
from training.origin import check_setup, check_step, comparable, find_origin, held, write_setup
from training.plan import TrainingPlan
from training.start import addresses_of, meeting, start_run, start_trainer
from training.text import Text
from training.windows import Windows

SIZES = ('n_ctx', 'n_embd', 'n_head', 'n_layer')  # of a model trained from scratch


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
    optimizer: str = TrainingPlan.optimizer,
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
    separator: str = None,
    validate_every=100,
    validate_tokens: int = None,
    sample_every: int = None,
    sample_length=100,
    save_every=100,
    keep=3,
    processes: str = None,
    task=0,
    workers: str = None,
):
    """Train models/NAME on text: fine-tune a model (--start), or make one from scratch.

    Run the same command again after an interruption and it goes on where it was saved. Ctrl-C,
    SIGTERM, a terminal that closes and output that nobody reads any more save and leave. Results
    are in models/NAME, a model for every script; the best one so far, by validation, is NAME/best.

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
        window: tokens of context in training; None takes n_ctx
        learning_rate: the highest one; None is 1e-4 with --start, 6e-4 from scratch
        schedule: what it does after the warm-up: cosine (goes down to 0) or constant
        warmup: steps in which it grows from 0; None is a tenth of all, at most 100
        optimizer: one of the table in src/training/optimizers; adamw is the one there is
        weight_decay: what the optimizer takes off the weights, times the learning rate; spares
            biases and gains; None is 0.01 for AdamW
        beta1: how slowly it forgets gradients; None is 0.9 for AdamW
        beta2: how slowly it forgets their squares; None is 0.999 for AdamW
        clip: largest global norm of the gradients; 0 does not clip
        dropout: probability that a value of the embeddings, attention weights and residual
            additions is dropped
        noise: probability that an input is replaced by a random token
        dtype: float32, or bfloat16 for matmuls and activations (weights stay float32)
        recompute: gradient checkpointing: less memory, a third more time
        train_only: train only variables whose names match this regular expression
        seed: of initial weights, order of the text, dropout and noise
        validation: fraction of the documents that is held out, or of a single one; 0 holds out
            nothing, and a folder from encode_corpus.py has its own
        validation_data: hold out this file, folder or pattern instead
        separator: what stands between the documents of a text, such as '<|endoftext|>'
        validate_every: steps between validations
        validate_tokens: validate on so many tokens, always the same; None takes all
        sample_every: steps between samples; None shows none
        sample_length: tokens in a sample
        save_every: steps between checkpoints
        keep: how many checkpoints stay
        processes: host:port of all processes that train together, separated by commas; they must
            see the same folders, and the network must be one that you trust: who can connect to
            these ports can read and write files
        task: which of them this process is, from 0
        workers: the old name of --processes; other scripts take a number by this name
    """
    flags = dict(locals())
    routine = Routine(
        validate_every, save_every, sample_every, sample_length, validate_tokens, keep
    )
    text = Text(data, validation, validation_data, seed, separator)
    addresses = addresses_of(processes, workers)
    n_processes = len(addresses or [''])
    check_whole('task', task, least=0, below=n_processes)
    if n_processes > 1 and text.encoded is None:
        raise ValueError('several processes read tokens: encode the text with src/encode_corpus.py')

    sizes = {name: flags[name] for name in SIZES if flags[name] is not None}
    origin = find_origin(name, expand(models_dir), start, vocabulary, sizes)
    if not origin.step:
        text.check()
    choices = {name: flags[name] for name in TrainingPlan.names()}
    plan = TrainingPlan.usual(origin.hparams.n_ctx, from_scratch=start is None, **choices)
    settings = plan.values() | text.settings()
    settings |= {'start': start, 'vocabulary': vocabulary, 'processes': n_processes}
    check_setup(origin, settings)
    if origin.step >= steps:
        print(f'{origin.folder}: {origin.step} steps are done already', file=sys.stderr)
        return

    writes = task == 0  # the others write nothing
    run = None

    def kept():
        step = run.step if run else origin.step
        if not writes:
            return ''
        if not step:
            return 'nothing is saved yet'
        return f'{origin.folder} keeps step {step}: run the same command again to go on'

    with stopping.keeping(kept), contextlib.ExitStack() as stack:
        if writes:
            stack.enter_context(held(origin.folder))
            check_step(origin)
        tokens = text.tokens(origin)
        windows = Windows(tokens.train, plan.window, seed)
        if writes:
            write_setup(origin, settings)
        shared = comparable(settings), origin.hparams, origin.step
        group = stack.enter_context(meeting(addresses, task, shared))
        samples = writes and sample_every is not None
        trainer = stack.enter_context(start_trainer(origin, plan, group, samples))
        run = stack.enter_context(start_run(origin, keep)) if writes else None
        loop = TrainingLoop(trainer, run, windows, routine, tokens.held_out, tokens.bytes_per_token)
        with stopping.deferred_interrupts() as pressed:
            loop(origin.step + 1, pressed)


if __name__ == '__main__':
    command_line.run(train)
