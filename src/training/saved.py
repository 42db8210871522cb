"""What a training run's folder holds: checkpoints by their steps, and what others put there."""

import os
import re

from loading.model_files import WEIGHTS, lacking, list_folder, weights
from support.files import replacing
from training import metrics
from training.text import CORPUS

LOCK = 'lock'  # in the folder of a run, for the process that writes there
VOCABULARY = ('encoder.json', 'vocab.bpe')
SIZES = 'hparams.json'
BEST = 'best'  # a folder in that of a run: its best model so far
KINDS = ('model', 'optimizer')  # of checkpoints
# The files of a checkpoint, with the cache of int8 weights, and what is being written of them.
CHECKPOINT = re.compile(
    rf'(?:{"|".join(KINDS)})-(\d+)\.(?:index|data-\d+-of-\d+|int8)(?:\.tempstate\d+|\.new)?'
)


def checkpoint_files(folder):
    """Yield (path, step) for each file of checkpoints, the half-written ones among them."""
    for name in list_folder(folder):
        if found := CHECKPOINT.fullmatch(name):
            yield os.path.join(folder, name), int(found[1])


def complete_steps(folder, kind):
    """The steps of which a folder holds complete files of a kind, a set: an index comes last."""
    found = (re.fullmatch(rf'{kind}-(\d+)\.index', name) for name in list_folder(folder))
    return {int(match[1]) for match in found if match}


def last_step(folder):
    """The step whose weights a run's `checkpoint` file names; 0 if there are none yet.

    Raises ValueError if the file names something else, or is lost: the weights that are there are
    not to be lost with it.
    """
    path = os.path.join(folder, 'checkpoint')
    if not os.path.exists(path):
        return first_saved(folder)
    found = re.fullmatch(r'model-([1-9]\d*)', os.path.basename(weights(folder)))
    if found is None:
        raise ValueError(f'{path} does not name weights of a training run, such as model-100')
    missing = lacking(folder, [f'{found[0]}.{ending}' for ending in WEIGHTS])
    if missing:
        there = named(complete_steps(folder, 'model')) or 'no weights'
        raise ValueError(
            f'{path} names {found[0]}, but {", ".join(missing)} is not there; there are {there}'
        )
    return int(found[1])


def first_saved(folder):
    """The step whose weights a run has saved but not named in `checkpoint`; 0 if there is none.

    A run that is killed then leaves its first weights in this state. They get their name now.
    """
    steps = complete_steps(folder, 'model')
    if not steps:
        return 0
    path = os.path.join(folder, 'checkpoint')
    newest = f'model_checkpoint_path: "model-{max(steps)}"'
    if len(steps) > 1 or steps != complete_steps(folder, 'optimizer'):
        raise ValueError(
            f'{folder} holds {named(steps)} but no file `checkpoint`, which says what training '
            f'goes on from: write the line {newest} to {path}, or choose another name'
        )
    with replacing(path) as file:
        file.write(newest + '\n')
    return max(steps)


def refuse_to_replace(folder, name, own_vocabulary):
    """Raise ValueError if a folder where no run has begun holds what a new one would write.

    own_vocabulary: whether the run takes the vocabulary that is there.
    """
    there = set(list_folder(folder))
    if 'checkpoint' in there:
        raise ValueError(
            f'{folder} is a model already: choose another name; --start {name} begins with it'
        )
    if there & set(VOCABULARY) and not own_vocabulary:
        raise ValueError(
            f'{folder} holds a vocabulary already: choose another name, or train from scratch '
            'with it, without --start and --vocabulary'
        )
    written = {SIZES, metrics.NAME, 'events', BEST, CORPUS}
    if LOCK in there:
        written.remove(CORPUS)  # of a start that failed while or after it encoded the text
    others = sorted(n for n in there if n in written or CHECKPOINT.fullmatch(n))
    if others:
        raise ValueError(
            f'{folder} holds {few(others)} already, which training would replace: choose '
            'another name'
        )


def refuse_weights_of_others(folder, step):
    """Raise ValueError for weights in a run's folder that it would replace and has not written.

    step: the one that the run goes on from.
    """
    best = os.path.join(folder, BEST)
    later = [file for place in (folder, best) for file in checkpoint_files(place) if file[1] > step]
    noted = metrics.noted(metrics.read(folder)) if later else ()
    others = [path for path, number in later if number not in noted]
    others += [
        os.path.join(best, name)
        for name in list_folder(best)
        if name.endswith('.index') and not CHECKPOINT.fullmatch(name)
    ]
    if others:
        raise ValueError(
            f'{few(sorted(set(others)))} would be replaced, and training has not written '
            'it: move it elsewhere, or choose another name'
        )


def named(steps):
    """The weights of steps by their names: model-100, model-200."""
    return few([f'model-{step}' for step in sorted(steps)])


def few(names):
    """Names for a message, of more than four only the first ones and the last."""
    return ', '.join(names if len(names) <= 4 else [*names[:2], '…', names[-1]])
