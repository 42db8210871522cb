"""The files that an evaluation writes: results, a table of them, and what is scored so far.

    NAME.json               all figures of a model, and how they were made
    NAME.md                 the same as a table
    NAME.unfinished/        while there is work to do: TASK.jsonl holds the rows scored so far, and
                            lock is held by the process that writes here

No TensorFlow.
"""

import contextlib
import glob
import json
import os

from evaluation.progress import DAMAGE, Progress, check_origin
from evaluation.table import table
from support.files import HELD, lock, replacing

with open(os.path.join(os.path.dirname(__file__), 'published_results.json'), encoding='utf-8') as f:
    PUBLISHED = json.load(f)


class ResultsFile:
    """The results of one model in one setting; use it in a `with` block.

    path: of the JSON file, which is made if it is not there.
    origin: dict of what all results in the file share, of JSON types; see zero_shot.py.
    code_version: of the code that writes now.
    restart: forget what is there.
    tasks: {task: {metric: figure}}, what is finished.
    Raises ValueError, and leaves the files as they are, if they hold other results or another
    process is writing.
    """

    def __init__(self, path, origin, code_version, restart=False):
        self.path, self.origin, self.restart = path, origin, restart
        self.code_version = code_version
        self.table_path = path.removesuffix('.json') + '.md'
        self.unfinished = path.removesuffix('.json') + '.unfinished'
        self.tasks = {}

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
        elif os.path.exists(self.path):
            content = self._read()
            self.tasks = content['tasks']
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
        return self.origin | {'code_version': self.code_version, 'tasks': self.tasks}

    def has(self, task, data):
        """Whether a task is finished.  data: digest of its examples.

        Raises ValueError if it is, but with other data.
        """
        for figure in self.tasks.get(task, {}).values():
            check_origin(f'{task} in {self.path}', figure, {'data': data})
        return task in self.tasks

    def progress(self, task, data, width, most):
        """The Progress of a task.  width, most: of its rows, as Progress takes them."""
        path = os.path.join(self.unfinished, f'{task}.jsonl')
        return Progress(path, self.origin | {'task': task, 'data': data}, width, most)

    def add(self, task, figures):
        """Take the figures of a task that is finished into the files."""
        model = PUBLISHED['models'].get(self.origin['model'], {'results': {}})
        for figure in figures.values():
            published = model['results'].get(figure['column'])
            figure['published'] = published
            known = None not in (published, figure['value'])
            figure['difference'] = figure['value'] - published if known else None
        self.tasks[task] = figures
        content = self.content
        with replacing(self.path) as file:
            file.write(text_of(content))
        self._write_table(content)
        remove(os.path.join(self.unfinished, f'{task}.jsonl'))

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
