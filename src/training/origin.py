"""What a training run starts from: folder, vocabulary, sizes, weights. No TensorFlow."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys

from encoder import Encoder, get_encoder
from hparams import HParams, read_hparams
from loading.model_files import (
    find_model,
    folder_of,
    load_encoder,
    remedy,
    weights,
)
from support.documents import STANDARD_INPUT
from support.files import HELD, check_is_file, lock, replacing, shown
from training import optimizers
from training.saved import (
    LOCK,
    SIZES,
    VOCABULARY,
    last_step,
    refuse_to_replace,
    refuse_weights_of_others,
)

SETUP = 'training.json'  # in the folder of a run: how it was started
# What decides which text a step reads, which variables are trained and what the optimizer saves of
# them: a run keeps these.
FIXED = (
    *('start', 'vocabulary', 'train_only', 'optimizer'),
    *('data', 'text', 'validation', 'validation_data', 'separator', 'window', 'seed'),
    *('batch_size', 'accumulate', 'processes'),
)
# What runs were started with whose training.json is from before there was a choice.
EARLIER = {'optimizer': optimizers.DEFAULT, 'separator': None}


@dataclasses.dataclass
class Origin:
    """Where a run starts, or goes on.

    folder: of the new model.  source: of the vocabulary.  step: how many are done and saved.
    weights, slots: checkpoints, as Trainer takes them.  remedy: if these are damaged.
    """

    folder: str
    source: str
    encoder: Encoder
    hparams: HParams
    step: int = 0
    weights: str | None = None
    slots: str | None = None
    remedy: str = ''


def find_origin(name, models_dir, start=None, vocabulary=None, sizes=None):
    """Find what the run of this name begins with: itself, another model, or a vocabulary.

    start: the model to fine-tune.  vocabulary: the model whose vocabulary a new one takes; None is
        for a folder that holds one.  sizes: dict of those asked for, of HParams.
    Raises ValueError if it is not there, has other sizes, or if the name is that of a model without
    a run.
    """
    sizes = sizes or {}
    folder = folder_of(name, models_dir)
    if read_setup(folder) is None:
        refuse_to_replace(folder, name, own_vocabulary=start is None and vocabulary is None)
    else:
        step = last_step(folder)
        refuse_weights_of_others(folder, step)
        if step:
            origin = continued(folder, name, models_dir, step)
            check_sizes(sizes, origin.hparams, folder)
            return origin
    if start is None:
        return from_scratch(folder, folder_of(vocabulary or name, models_dir), sizes)
    if vocabulary is not None:
        raise ValueError(f'--vocabulary is for training from scratch: {start} has its own')
    origin = from_model(folder, start, models_dir)
    check_sizes(sizes, origin.hparams, start)
    return origin


def check_sizes(asked, hparams, model):
    """Raise ValueError if a model that is there has not the sizes asked for."""
    for flag, size in asked.items():
        own = getattr(hparams, flag)
        if size != own:
            raise ValueError(
                f'{model} has {flag} {own}, which --{flag} {size} cannot change: only a new model, '
                'trained from scratch, has sizes to choose'
            )


def from_model(folder, start, models_dir):
    source = find_model(start, models_dir)
    encoder = load_encoder(start, models_dir)
    hparams = read_hparams(os.path.join(source, SIZES))
    advice = remedy(start, models_dir)
    if len(encoder.encoder) != hparams.n_vocab:
        raise ValueError(
            f'{source} has {len(encoder.encoder)} tokens in encoder.json but '
            f'n_vocab={hparams.n_vocab} in hparams.json; {advice}'
        )
    return Origin(folder, source, encoder, hparams, weights=weights(source), remedy=advice)


def continued(folder, name, models_dir, step):
    return Origin(
        folder,
        folder,
        load_encoder(name, models_dir),
        read_hparams(os.path.join(folder, SIZES)),
        step,
        weights=os.path.join(folder, f'model-{step}'),
        slots=os.path.join(folder, f'optimizer-{step}'),
        remedy=f'{folder}/checkpoint may name an older step; to start anew, remove {folder}',
    )


def from_scratch(folder, source, sizes):
    if not holds_vocabulary(source):
        raise ValueError(
            f'{source} holds no vocabulary: --start with a model, name one with --vocabulary, or '
            'make one with src/train_encoder.py'
        )
    parent, name = os.path.split(source)
    encoder = get_encoder(name, parent)
    return Origin(folder, source, encoder, HParams(n_vocab=encoder.n_vocab, **sizes))


def holds_vocabulary(folder):
    return all(os.path.isfile(os.path.join(folder, name)) for name in VOCABULARY)


def read_setup(folder):
    """How the run in a folder was started, a dict; None if there is no run."""
    path = os.path.join(folder, SETUP)
    if not os.path.exists(path):
        return None
    try:
        check_is_file(path)
        with open(path, encoding='utf-8') as file:
            setup = json.load(file)
        if not isinstance(setup, dict):
            raise ValueError('it holds no settings')
        return setup
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f'cannot read {path}: {error}; remove {folder} to start anew') from error


def check_setup(origin, settings):
    """Compare settings, a dict, with those that a run was started with.

    Raises ValueError if one of those that are FIXED has changed, once there are weights; before
    that all may change. Other changes are noted on standard error.
    """
    if not origin.step:
        return
    before = EARLIER | read_setup(origin.folder)
    missing = [name for name in FIXED if name in settings and name not in before]
    if missing:
        raise ValueError(
            f'{os.path.join(origin.folder, SETUP)} is damaged: it lacks {", ".join(missing)}; '
            'choose another name, or put it there as it was'
        )
    theirs, ours = comparable(before), comparable(settings)
    changed = {n: before[n] for n in settings if n in before and theirs[n] != ours[n]}
    for name in FIXED:
        if name in changed:
            raise ValueError(
                f'{origin.folder} was started with {name} {changed[name]}, which cannot change '
                f'to {settings[name]}: choose another name'
            )
    for name, value in sorted(changed.items()):
        print(shown(f'note: {name} was {value}, now {settings[name]}'), file=sys.stderr)


def comparable(settings):
    """Settings in which one model or text has one spelling: texts, texts/ and /home/me/texts."""
    same = dict(settings)
    for name in ('start', 'vocabulary'):
        if isinstance(same.get(name), str):
            same[name] = os.path.normpath(same[name])
    for name in ('data', 'validation_data'):
        same[name] = place_of(same.get(name))
    if same.get('text'):
        same['data'] = None  # this fingerprint of it tells more
    return same


def place_of(source):
    """The absolute path of a source of text, or of each in a list."""
    if isinstance(source, list):
        return [place_of(each) for each in source]
    if not isinstance(source, str) or source == STANDARD_INPUT or '\0' in source:
        return source  # the last of these is damage, and no path
    return os.path.normcase(os.path.realpath(source))


@contextlib.contextmanager
def held(folder):
    """Make a folder, if need be, and train in it alone; ValueError if another process does."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, LOCK), 'ab') as file:
        try:
            lock(file)
        except HELD as error:
            raise ValueError(f'{folder} is being trained by another process') from error
        yield


def check_step(origin):
    """Raise ValueError if another process has trained on since the origin was found.

    To be called when the folder is held: what that process has saved would be lost.
    """
    if last_step(origin.folder) != origin.step:
        raise ValueError(
            f'another process has just trained in {origin.folder}: run the same command again'
        )


def write_setup(origin, settings):
    """Write down how a run is started, and make its folder that of a model without weights."""
    write_json(os.path.join(origin.folder, SETUP), settings)
    if origin.step:
        return
    if origin.source != origin.folder:
        for name in VOCABULARY:
            copy_whole(name, origin.source, origin.folder)
    write_json(os.path.join(origin.folder, SIZES), origin.hparams.values())


def copy_whole(name, source, folder):
    """Copy a file of one folder to another, where it appears whole or not at all."""
    with (
        open(os.path.join(source, name), 'rb') as theirs,
        replacing(os.path.join(folder, name), binary=True) as ours,
    ):
        shutil.copyfileobj(theirs, ours)


def write_json(path, values):
    with replacing(path) as file:
        json.dump(values, file, indent=2)
        file.write('\n')
