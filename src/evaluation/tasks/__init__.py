"""The zero-shot tasks, {name: Task}: each module of this folder has some in its own TASKS.

The paper (Radford et al. 2019) leaves much of each protocol open; an entry says what is done here.
"""

import importlib
import pkgutil

PAPER = ('lambada', 'cbt', 'language_modeling', 'winograd')  # first, in the paper's order
OTHERS = sorted({module.name for module in pkgutil.iter_modules(__path__)} - set(PAPER))
TASKS = {
    name: task
    for module in (*PAPER, *OTHERS)
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
