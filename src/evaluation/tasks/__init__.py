"""The zero-shot tasks, {name: Task or GeneratingTask}: each module here has some in its own TASKS.

The paper (Radford et al. 2019) leaves much of each protocol open; an entry says what is done here.
"""

import importlib
import pkgutil
from importlib import metadata

PAPER = (  # first, in the paper's order
    'lambada',
    'cbt',
    'language_modeling',
    'winograd',
    'coqa',
    'summarization',
    'translation',
    'natural_questions',
)
FOUND = {module.name for module in pkgutil.iter_modules(__path__)}
TASKS = {
    name: task
    for module in (*(name for name in PAPER if name in FOUND), *sorted(FOUND - {*PAPER}))
    for name, task in importlib.import_module(f'{__name__}.{module}').TASKS.items()
}


def find_tasks(names):
    """The names of tasks in a text such as 'lambada,ptb' or 'all', in the order of TASKS.

    Raises ValueError for a name that is no task.
    """
    wanted = [name.strip() for name in names.split(',') if name.strip()]
    if wanted == ['all']:
        return list(TASKS)
    unknown = [name for name in wanted if name not in TASKS]
    if unknown or not wanted:
        what = f'there is no task {unknown[0]!r}' if unknown else 'no task is named'
        raise ValueError(f'{what}; there are: {", ".join(TASKS)}, and all')
    return [name for name in TASKS if name in wanted]


def check_packages(names):
    """Raise ValueError if tasks of these names need packages that are not installed."""
    missing = {}
    for name in names:
        for package in getattr(TASKS[name], 'requires', ()):
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                missing.setdefault(name, []).append(package)
    if missing:
        needed = sorted({package for packages in missing.values() for package in packages})
        verb = 'needs' if len(missing) == 1 else 'need'
        raise ValueError(f'{", ".join(missing)} {verb} more: pip install {" ".join(needed)}')
