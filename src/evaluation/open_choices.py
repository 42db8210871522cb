"""What protocols leave open, as --choices sets it: coqa.length=30,nq.pairs=5. No TensorFlow."""

import json
import re

from evaluation.generating import GeneratingTask, generation_settings
from evaluation.tasks import TASKS
from support.checks import is_number
from support.settings import SAMPLING


def choices_of(names, text=None):
    """The choices of tasks that generate, {task: {choice: value}}: their defaults, but for `text`.

    names: of tasks; those that score have none.
    text: TASK.CHOICE=VALUE, several with commas between. A VALUE is JSON; texts need no quotes.
    Raises ValueError for what is no choice of one of these tasks, or none of its values.
    """
    generating = [name for name in names if isinstance(TASKS[name], GeneratingTask)]
    choices = {name: dict(TASKS[name].choices) for name in generating}
    # Other commas, as of lists, are followed by no TASK.CHOICE=.
    for given in re.split(r',\s*(?=\w+\.\w+\s*=)', text or ''):
        if given.strip():
            set_choice(choices, given)
    for name, own in choices.items():
        try:
            check(TASKS[name], own)
        except ValueError as error:
            raise ValueError(f'--choices: {name}: {error}') from error
    return choices


def check(task, choices):
    """Raise ValueError for choices of a task that cannot be meant, whatever its data."""
    if task.prompts:
        generation_settings(choices)
    if task.check:
        task.check(choices)


def set_choice(choices, given):
    """Set one of the choices by TASK.CHOICE=VALUE."""
    found = re.fullmatch(r'(\w+)\.(\w+)\s*=(.*)', given, re.DOTALL)
    if not found:
        raise ValueError(f'--choices takes TASK.CHOICE=VALUE, not {given!r}')
    task, choice, value = found.groups()
    if choice not in choices.get(task, {}):
        known = [f'{name}.{choice}' for name, own in choices.items() for choice in own]
        what = f'there are: {", ".join(known)}' if known else 'the tasks chosen have none'
        raise ValueError(f'--choices: there is no {task}.{choice}; {what}')
    choices[task][choice] = value_like(choices[task][choice], value, f'{task}.{choice}')


def value_like(default, text, name):
    """The value that a text stands for, of the type that the default has."""
    if isinstance(default, str) and not text.startswith('"'):
        return text
    try:
        value = json.loads(text, parse_constant=lambda infinite: None)
    except (ValueError, RecursionError):
        value = None
    # Of sampling parameters 1 is a default where 0.7 can be meant; Settings checks them.
    if is_number(default) and is_number(value) and name.split('.')[1] in SAMPLING:
        return value
    if type(value) is not type(default) or not alike(value, default):
        example = json.dumps(default, ensure_ascii=False)
        raise ValueError(f'--choices: {name} takes such as {example}, not {text!r}')
    return value


def alike(value, default):
    """Whether lists hold values of one type; of an empty default nothing is known."""
    either = default if isinstance(default, list) else []
    return not either or all(type(one) is type(either[0]) for one in value)
