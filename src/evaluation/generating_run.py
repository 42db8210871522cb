"""Runs of tasks that generate: each text is kept as it ends, and figures come from the texts.

No TensorFlow.
"""

import contextlib
import os
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from evaluation.generated_texts import GeneratedTexts
from evaluation.generating import (
    GeneratingTask,
    check_prompts,
    generated,
    generation_settings,
)
from evaluation.task import figures
from evaluation.tasks import TASKS
from support.files import replacing


class GeneratingRun(NamedTuple):
    """A task that generates, with its settings.

    examples: those that --limit leaves.  pairs: what example pairs are drawn from, or None.
    data: digest of both.
    """

    name: str
    task: GeneratingTask
    examples: list
    pairs: list | None
    data: str
    context: int
    choices: dict

    @property
    def more(self):
        """The last argument of tasks that have pairs, a list of one or none."""
        return [] if self.pairs is None else [self.pairs]

    def prompts(self, encoder):
        """The prompts, whose texts fit into the context; [] for a baseline.

        Raises ValueError, with the task's name, for one that does not fit.
        """
        if self.task.baseline:
            return []
        try:
            prompts = self.task.prompts(
                self.examples, encoder, self.context, self.choices, *self.more
            )
            check_prompts(prompts, self.choices['length'], self.context)
        except ValueError as error:
            raise ValueError(f'{self.name}: {error}') from error
        return prompts

    def baseline(self):
        """The texts that need no model, {id: Generated}."""
        texts = self.task.baseline(self.examples, self.choices, *self.more)
        return {text.id: text for text in texts}

    def outcome(self, texts, code_version):
        """The figures of all texts, but for what was published, and the Markdown shown besides.

        texts: GeneratedTexts, or None for a baseline, whose texts the code of this version makes.
        """
        if texts is None:
            start = time.monotonic()
            of_task, made_by = self.baseline(), code_version
            seconds = time.monotonic() - start
        else:
            of_task, made_by = texts.texts, texts.made['code_version']
            seconds = texts.seconds
        of_all = {'texts_code_version': made_by, 'seconds': seconds}
        found = {name: figure | of_all for name, figure in self.figures(of_task).items()}
        table = self.task.table
        return found, table and table(self.examples, of_task, self.choices)

    def figures(self, texts):
        """What of the figures the texts alone decide, {id: Generated}: a pure function of them."""
        rows = np.asarray(self.task.rows(self.examples, texts, self.choices), np.float64)
        if not np.isfinite(rows).all():
            raise ValueError(f'{self.name}: its texts have figures that are no numbers')
        lost = [text.lost for text in texts.values()]
        of_all = {
            'context': self.context,
            'stride': None,
            'choices': self.choices,
            'baseline': self.task.baseline and (self.task.published_as or self.name),
            'prompts': len(texts),
            'prompts_cut': sum(n > 0 for n in lost),
            'tokens_cut': sum(lost),
            'data': self.data,
        }
        found = figures(self.task, rows, self.context)
        return {name: figure | of_all for name, figure in found.items()}

    def finished_texts(self, encoder, results):
        """The texts of a task that is finished, {id: Generated}; ValueError if they are gone."""
        if self.task.baseline:
            return self.baseline()
        path = results.texts_path(self.name)
        if not os.path.exists(path):
            raise ValueError(f'{path} is gone: there are no texts of {self.name} to export')
        with results.texts(self.name, self.data, self.choices, self.prompts(encoder)) as texts:
            if not texts.complete:
                raise ValueError(f'{path} has not all texts of {self.name}: they are not exported')
            return texts.texts


class Work(NamedTuple):
    """What there is to do for a run.  texts: the GeneratedTexts so far, or None for a baseline."""

    run: GeneratingRun
    prompts: list
    texts: GeneratedTexts | None

    @property
    def todo(self):
        """The prompts whose texts are not there, each with its place among all: [(n, Prompt)]."""
        return [(n, p) for n, p in enumerate(self.prompts) if p.id not in self.texts.texts]

    @property
    def cost(self):
        """Tokens that are read and generated at most."""
        return sum(cost_of(prompt, self.run.choices) for _, prompt in self.todo)


def cost_of(prompt, choices):
    """The tokens that a prompt costs at most: those read, but for what is shared, and new ones."""
    return len(prompt.tokens) - prompt.shared + choices['length']


@contextlib.contextmanager
def opened_texts(runs, encoder, results):
    """The Work of runs, with their files of texts open in the `with` block.

    Raises ValueError, before a model is loaded, for prompts that do not fit and for texts that are
    there but were made otherwise.
    """
    with contextlib.ExitStack() as stack:
        work = []
        for run in tqdm(runs, desc='tokenizing', unit=' tasks', leave=False, disable=None):
            prompts, texts = run.prompts(encoder), None
            if not run.task.baseline:
                texts = results.texts(run.name, run.data, run.choices, prompts)
                stack.enter_context(texts)
            work.append(Work(run, prompts, texts))
        yield work


def generate_all(work, start_engine, results, bar, rows=None):
    """Generate what is not there yet, and write the figures of each task when it is done.

    start_engine: loads the model, which nothing needs if all texts are there.
    """
    with contextlib.ExitStack() as stack:
        engine = None
        for one in work:
            bar.set_description(one.run.name)
            if one.todo and engine is None:
                engine = stack.enter_context(start_engine())
            if one.todo:
                generate_rest(one, engine, bar, rows)
            finish_texts(one, results)


def finish_texts(work, results):
    """Write the figures of a run whose texts are all there."""
    run = work.run
    found, table = run.outcome(work.texts, results.code_version)
    results.add(run.name, found, table, run.task.warning)


def generate_rest(work, engine, bar, rows=None):
    """Generate the texts that are not there yet, `rows` at a time."""
    choices = work.run.choices
    work.texts.start()
    for prompt, text in generate_some(engine, work.todo, choices, bar.update, rows):
        work.texts.add(text)
        bar.update(cost_of(prompt, choices) - len(text.tokens))


def generate_some(engine, todo, choices, progress=None, rows=None):
    """Yield pairs of Prompt and Generated, as the texts end, `rows` at a time.

    What a text is depends on its prompt and its place among all prompts alone.

    todo: [(place, Prompt)].  progress: called with the number of tokens that are newly generated.
    """
    from generation.continuous import Request  # which needs TensorFlow

    requests = [Request(prompt.tokens, n) for n, prompt in todo]
    stops, more = choices.get('stops', []), {} if rows is None else {'rows': rows}
    for number, completion in engine.complete(
        requests, generation_settings(choices), stops=stops, progress=progress, **more
    ):
        _, prompt = todo[number]
        text = generated(prompt, completion, engine.encoder, stops)
        if not np.isfinite(text.logprob):
            raise ValueError(
                'the model gives log-probabilities that are no numbers: its weights may be damaged'
            )
        yield prompt, text


def check_exports(names):
    """Raise ValueError if none of the tasks of these names has anything to export."""
    if not any(getattr(TASKS[name], 'export', None) for name in names):
        raise ValueError(f'--export: no official script reads texts of {", ".join(names)}')


def export_texts(runs, encoder, results, folder):
    """Write what the official scripts of the data sets read: FOLDER/TASK/FILE."""
    for run in runs:
        if not getattr(run.task, 'export', None):
            continue
        texts = run.finished_texts(encoder, results)
        place = os.path.join(folder, run.name)
        os.makedirs(place, exist_ok=True)
        for name, content in run.task.export(run.examples, texts, run.choices).items():
            with replacing(os.path.join(place, name)) as file:
                file.write(content)
