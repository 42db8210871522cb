"""The texts that a scripted engine gives for the prompts of a task."""

from typing import NamedTuple

from evaluation import generating
from evaluation.task import figures


class Request(NamedTuple):
    prompt: list


def continued(engine, task, examples, *pairs, rows=2, **choices):
    """{id: Generated} of a GeneratingTask.  choices: others than the task's own."""
    choices = task.choices | choices
    prompts = task.prompts(examples, engine.encoder, engine.hparams.n_ctx, choices, *pairs)
    settings, stops = generating.generation_settings(choices), choices['stops']
    requests = [Request(prompt.tokens) for prompt in prompts]
    found = [
        generating.generated(prompts[n], completion, engine.encoder, stops)
        for n, completion in engine.complete(requests, settings, stops=stops, rows=rows)
    ]
    assert sorted(text.id for text in found) == sorted({prompt.id for prompt in prompts})
    return {text.id: text for text in found}


def values(task, examples, generated, **choices):
    """{metric: value} of the texts."""
    found = figures(task, task.rows(examples, generated, task.choices | choices), context=1024)
    return {name: figure['value'] for name, figure in found.items()}
