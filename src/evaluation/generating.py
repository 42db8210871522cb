"""What a zero-shot task is that generates text, and how its prompts become texts.

A task's examples become prompts, the model continues each of them, and figures are a function of
the texts alone: so they can be computed anew without the model. No TensorFlow.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluation.metric import Metric
from generation.text_stream import TextStream
from support.settings import SAMPLING, Settings, check_fits


class Prompt(NamedTuple):
    """What the model is to continue.

    id: unique in the task: 'STORY/TURN', the number of a question, …
    tokens: list of ids.
    shared: so many first tokens are those of the prompts before it, too, and are read once; it only
      tells how long the work takes.
    lost: tokens that were cut off because the prompt was too long.
    """

    id: str
    tokens: list
    shared: int = 0
    lost: int = 0


class Generated(NamedTuple):
    """How the model continued a prompt.

    text: up to the stop string or the end token, which are no part of it.
    tokens: as they were generated, with the one that completes a stop string.
    logprob: of these tokens, and of the end token if the text ended by it, in nats.
    lost: as of the Prompt.
    """

    id: str
    text: str
    tokens: list
    logprob: float
    lost: int = 0


class GeneratingTask(NamedTuple):
    """A task whose texts the model generates; fields that task.Task has too mean the same.

    prompts: (examples, encoder, n_ctx, choices) -> [Prompt].
    rows: (examples, {id: Generated}, choices) -> float64 [what is resampled, columns]; all texts
      are there.
    choices: every open choice of the protocol with its default, of JSON types; they are written
      into the results, and --choices sets them. `length`, `stops` (a list), `seed`, and the names
      of sampling parameters are those of generation, which is greedy unless they say otherwise.
    check: (choices) raises ValueError for values that cannot be meant, before anything is read.
    pairs: (data_dir, complete=...) -> list, what example pairs are drawn from; then `prompts` and
      `baseline` take it as their last argument.
    baseline: (examples, choices) -> [Generated], in place of a model; then `prompts` is None.
    published_as: the name of a baseline in published_results.json.
    table: (examples, {id: Generated}, choices) -> Markdown, printed below the results.
    export: (examples, {id: Generated}, choices) -> {file name: text}, what the official script of
      the data set reads.
    requires: the names of packages that must be installed, as pip knows them.
    warning: what is printed with the figures.
    """

    read: Callable
    split: str
    detokenizer: str
    prompts: Callable | None
    rows: Callable
    columns: tuple[str, ...]
    resampled: str
    metrics: dict[str, Metric]
    choices: dict
    check: Callable | None = None
    pairs: Callable | None = None
    baseline: Callable | None = None
    published_as: str | None = None
    table: Callable | None = None
    export: Callable | None = None
    requires: tuple[str, ...] = ()
    warning: str = ''

    stream = False  # no field: an example is drawn by itself
    strides = ()


def generation_settings(choices):
    """The Settings that the choices of a task name; greedy unless they say otherwise."""
    parameters = {name: choices[name] for name in SAMPLING if name in choices}
    return Settings(
        length=choices['length'],
        seed=choices.get('seed', 0),
        stop_at_end=True,
        **{'temperature': 0} | parameters,
    )


def check_prompts(prompts, length, n_ctx):
    """Raise ValueError for a prompt that leaves no room for so many new tokens."""
    for prompt in prompts:
        try:
            check_fits(len(prompt.tokens), length, n_ctx)
        except ValueError as error:
            raise ValueError(f'prompt {prompt.id}: {error}') from error


def prompt_sha(prompt):
    """16 hexadecimal digits that identify the tokens of a prompt."""
    return hashlib.sha256(np.array(prompt.tokens, '<i4').tobytes()).hexdigest()[:16]


def generated(prompt, completion, encoder, stops):
    """The Generated of a prompt and what the engine made of it, a Completion."""
    stream = TextStream(encoder, stops)
    text = stream.add(completion.tokens) + stream.finish()
    tokens = [int(token) for token in completion.tokens]
    logprob = float(np.sum(completion.logprobs, dtype=np.float64))
    return Generated(prompt.id, text, tokens, logprob, prompt.lost)
