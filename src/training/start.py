"""Training as the script starts it: TensorFlow is imported only now, and says nothing."""

import contextlib
import functools
import sys

from loading.startup import load_cuda_solver, no_garbage_collection, note_idle_gpu, quiet


def addresses_of(processes, workers=None):
    """The processes that train together, a list of 'host:port'; None is one process alone.

    processes, workers: the flag of that name and the one that it had before, or None.
    Raises ValueError, for a number too: other scripts count processes by --workers.
    """
    if processes and workers:
        raise ValueError('--workers is the old name of --processes: give one of them')
    flag, text = ('--workers', workers) if workers else ('--processes', processes)
    if not text:
        return None
    addresses = text.split(',')
    if not all(':' in address for address in addresses):
        raise ValueError(
            f'{flag} {text}: training takes the addresses of all its processes, '
            '--processes host:port,host:port, and --task, which of them this one is'
        )
    if workers:
        note = 'note: --workers is now --processes; the old name goes with the next release'
        print(note, file=sys.stderr)
    return addresses


@contextlib.contextmanager
def meeting(addresses, task, shared):
    """The Group of the processes that train together, in a `with` block.

    addresses, task: the workers and the task of Group.  shared: what must be the same in all.
    Raises ValueError if it is not, or if they do not meet.
    """
    with contextlib.ExitStack() as stack:
        with quiet() as standard_error, no_garbage_collection():
            load_cuda_solver()
            from cluster.collective import Group
            from fast import session_config, tune_process

            tune_process(large_products=True)
            announce = functools.partial(print, file=standard_error)
            config = session_config(large_products=True)
            group = Group(addresses, task, config, announce=announce)
            stack.enter_context(group)
            group.check_same('the settings', repr(shared))
        yield group


def start_trainer(origin, plan, group, samples=False):
    """The Trainer of a run, for use in a `with` block.

    samples: whether it is to generate some.
    """
    with quiet(), no_garbage_collection():
        from training.trainer import Trainer

        trainer = Trainer(
            origin.hparams,
            plan,
            group,
            origin.encoder if samples else None,
            weights=origin.weights,
            slots=origin.slots,
            remedy=origin.remedy,
        )
    note_idle_gpu(trainer.on_gpu)
    return trainer


def start_run(origin, keep):
    """The TrainingRun that writes the folder of a run, for use in a `with` block."""
    from training.run_folder import TrainingRun

    return TrainingRun(origin.folder, keep, origin.step)
