"""The files that an evaluation writes: results, a table of them, and what is scored so far.

    NAME.json               all figures of a model, and how they were made
    NAME.md                 the same as a table
    NAME.TASK.jsonl         the texts of a task that generates, see generated_texts.py
    NAME.unfinished/        while there is work to do: TASK.jsonl holds the rows scored so far, and
                            lock is held by the process that writes here

No TensorFlow.
"""

import contextlib
import glob
import json
import os

from evaluation.generated_texts import GeneratedTexts
from evaluation.journal import DAMAGE, check_origin
from evaluation.progress import Progress
from evaluation.table import table
from evaluation.tasks import TASKS
from support.files import HELD, lock, replacing

with open(os.path.join(os.path.dirname(__file__), 'published_results.json'), encoding='utf-8') as f:
    PUBLISHED = json.load(f)
BASELINES_TRACED = PUBLISHED.get('baselines_from_figure', {})
MAKES_TEXTS = ('model', 'model_fingerprint', 'dtype', 'sources')  # of what all results share


class ResultsFile:
    """The results of one model in one setting; use it in a `with` block.

    path: of the JSON file, which is made if it is not there.
    origin: dict of what all results in the file share, of JSON types; see zero_shot.py.
    code_version: of the code that writes now.
    restart: forget what is there.
    keep_texts: but not the generated texts, and take them even if another version of the code made
      them.
    tasks: {task: {metric: figure}}, what is finished.
    tables, warnings: {task: Markdown}, what tasks have to show besides, and to say of the figures.
    Raises ValueError, and leaves the files as they are, if they hold other results or another
    process is writing.
    """

    def __init__(self, path, origin, code_version, restart=False, keep_texts=False):
        self.path, self.origin, self.restart = path, origin, restart
        self.code_version, self.keep_texts = code_version, keep_texts
        self.table_path = path.removesuffix('.json') + '.md'
        self.unfinished = path.removesuffix('.json') + '.unfinished'
        self.tasks, self.tables, self.warnings = {}, {}, {}

    def __enter__(self):
        os.makedirs(self.unfinished, exist_ok=True)
        path = os.path.join(self.unfinished, 'lock')
        self.lock = open(path, 'ab')
        try:
            lock(self.lock)
            if not os.path.samestat(os.stat(path), os.fstat(self.lock.fileno())):
                raise BlockingIOError(f'{path} is the lock of a later process')
        except (*HELD, FileNotFoundError) as error:  # or the one before has just removed it
            self.lock.close()
            raise ValueError(f'another process is writing {self.path}') from error
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self):
        begun = glob.glob(os.path.join(glob.escape(self.unfinished), '*.jsonl'))
        if self.restart:
            remove(self.path, self.table_path, *begun)
            if not self.keep_texts:
                remove(*map(self.texts_path, TASKS))
        elif os.path.exists(self.path):
            content = self._read()
            self.tasks = content['tasks']
            self.tables, self.warnings = (content.get(name, {}) for name in ('tables', 'warnings'))
            # The process that wrote this may have died before it came to the rest.
            self._write_table(content)
            remove(*(path for path in begun if task_of(path) in self.tasks))
        elif os.path.lexists(self.table_path):
            raise ValueError(
                f'{self.table_path} is there already without {self.path}: choose another '
                '--results_dir, or forget it with --restart'
            )

    def _read(self):
        try:
            with open(self.path, encoding='utf-8') as file:
                content = json.load(file)
            table(content)  # which wants all that there should be
            text_of(content)
        except DAMAGE as error:
            raise ValueError(
                f'{self.path} holds no results of an evaluation, or damaged ones: choose another '
                '--results_dir, or forget it with --restart'
            ) from error
        check_origin(self.path, content, self.origin)
        return content

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            if os.listdir(self.unfinished) == ['lock']:
                os.remove(os.path.join(self.unfinished, 'lock'))
                os.rmdir(self.unfinished)
        self.lock.close()

    @property
    def content(self):
        """What the JSON file holds."""
        more = {'tables': self.tables, 'warnings': self.warnings}
        more = {name: texts for name, texts in more.items() if texts}
        return self.origin | {'code_version': self.code_version, 'tasks': self.tasks} | more

    def has(self, task, data, choices=None):
        """Whether a task is finished.  data: digest of its examples.  choices: see GeneratingTask.

        Raises ValueError if it is, but with other data or choices.
        """
        for figure in self.tasks.get(task, {}).values():
            where = f'{task} in {self.path}'
            check_origin(where, figure.get('choices', {}), choices or {})
            check_origin(where, figure, {'data': data})
        return task in self.tasks

    def progress(self, task, data, width, most):
        """The Progress of a task.  width, most: of its rows, as Progress takes them."""
        path = os.path.join(self.unfinished, f'{task}.jsonl')
        return Progress(path, self.origin | {'task': task, 'data': data}, width, most)

    def texts_path(self, task):
        """Where the texts are that the model generates for a task."""
        return self.path.removesuffix('.json') + f'.{task}.jsonl'

    def texts(self, task, data, choices, prompts):
        """The GeneratedTexts of a task."""
        origin = {name: self.origin[name] for name in MAKES_TEXTS}
        origin |= {'code_version': self.code_version, 'task': task, 'data': data}
        origin |= {'choices': choices}
        return GeneratedTexts(self.texts_path(task), origin, prompts, self.keep_texts)

    def add(self, task, figures, table=None, warning=None):
        """Take what there is of a task that is finished into the files."""
        for figure in figures.values():
            published, traced = self._published(figure)
            figure['published'], figure['published_from_figure'] = published, traced
            known = None not in (published, figure['value'])
            figure['difference'] = figure['value'] - published if known else None
        for texts, text in ((self.tables, table), (self.warnings, warning)):
            if text:
                texts[task] = text
        self.tasks[task] = figures
        content = self.content
        with replacing(self.path) as file:
            file.write(text_of(content))
        self._write_table(content)
        remove(os.path.join(self.unfinished, f'{task}.jsonl'))

    def _published(self, figure):
        """What the paper has in a figure's place, or None, and whether it is traced from a figure.

        That is for the model, or for what needs none.
        """
        column, baseline = figure['column'], figure.get('baseline')
        if baseline:
            values = PUBLISHED['baselines'].get(column, {})
            return values.get(baseline), baseline in BASELINES_TRACED.get(column, ())
        model = PUBLISHED['models'].get(self.origin['model'], {'results': {}})
        return model['results'].get(column), column in model.get('from_figure', ())

    def _write_table(self, content):
        with replacing(self.table_path) as file:
            file.write(table(content))


def text_of(content):
    """What is written of results, in JSON as it is defined: without Infinity and NaN."""
    return json.dumps(content, indent=2, allow_nan=False) + '\n'


def task_of(path):
    """The task that a file of rows is of."""
    return os.path.basename(path).removesuffix('.jsonl')


def remove(*paths):
    """Remove files, if they are there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
