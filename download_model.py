"""Download the released GPT-2 models, resumed and verified: `python3 download_model.py 124M`."""

import difflib
import functools
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'src'))

from downloads import fetch, transport
from support import command_line, stopping
from support.files import building, expand

MANIFEST = os.path.join(sys.path[0], 'loading', 'released_models.json')
RELEASE, HUB = 'release', 'hub'
EXIT_WRONG_FILES = 1  # the status if --verify finds a file that is missing or wrong
TABLE_MAGIC = bytes.fromhex('57fb808b247547db')  # ends every table file, as TensorFlow's index is


def download_model(
    *models: str,
    models_dir: str = 'models',
    base_url: str = None,
    source: str = RELEASE,
    verify: bool = False,
):
    """Download released GPT-2 models into models_dir/NAME, resuming and verifying every file.

    Files already there and right are left alone; wrong ones are replaced once the new ones are
    verified. Results go to standard output, progress to standard error.

    models: 124M, 355M, 774M, 1558M, one or more; the names of 2019 (117M, 345M, 762M, 1542M) work.
    models_dir: where the model folders are; `~` and environment variables are expanded.
    base_url: a mirror with the layout NAME/FILE: http(s)://..., file://... or a folder; the default
        is the address of the source.
    source: release, or hub for the same weights as files of Hugging Face, which are converted
    verify: download nothing, print a line for each file, and exit with status 1 if one is missing
        or wrong.
    """
    with open(MANIFEST, encoding='utf-8') as f:
        manifest = json.load(f)
    if not models:
        raise ValueError(f'name at least one model to download: {menu(manifest)}')
    names = dict.fromkeys(released_name(model, manifest) for model in models)
    if source not in (RELEASE, HUB):
        raise ValueError(f'source is {source!r}, neither {RELEASE} nor {HUB}')
    if source == HUB and not verify:
        base = None if base_url is None else fetch.base_address(expand(base_url))
        for name in names:
            obtain_from_hub(name, manifest, expand(models_dir), base)
        return
    base = fetch.base_address(expand(base_url or manifest['base_url']))
    models_dir = expand(models_dir)
    files = [f for name in names for f in files_of(name, manifest, models_dir, base)]
    if verify:
        if not all([report(file) or is_dispensable(file) for file in files]):
            sys.exit(EXIT_WRONG_FILES)
        return
    needed = [file for file in files if not (os.path.exists(file.path) and report(file))]
    fetch.require_space(needed, models_dir)
    with stopping.keeping(fetch.KEPT):
        for file in needed:
            obtain(file)


def menu(manifest):
    """The released models and their download sizes, in one line."""
    gigabytes = {
        name: sum(f.get('size', f.get('predicted_size', 0)) for f in model['files'].values()) / 1e9
        for name, model in manifest['models'].items()
    }
    return ', '.join(f'{name} ({size:.1f} GB)' for name, size in gigabytes.items())


def released_name(model, manifest):
    """The name a model has now; says so on standard error when given the one it had in 2019."""
    old_names = manifest['old_names']
    if model in manifest['models']:
        return model
    if model in old_names:
        new = old_names[model]
        parameters = manifest['models'][new]['parameters']
        print(
            f'{model} is now called {new}: the old name came from a miscount, '
            f'the model has {parameters:,} parameters',
            file=sys.stderr,
        )
        return new
    near = difflib.get_close_matches(model, [*manifest['models'], *old_names], n=1)
    hint = f', did you mean {near[0]}?' if near else ''
    raise ValueError(f'unknown model {model!r}{hint} (released: {menu(manifest)})')


def files_of(name, manifest, models_dir, base):
    """The files of a model, as fetch.RemoteFile, in the order in which they are fetched.

    `checkpoint` comes last: TensorFlow looks there for what a folder holds.
    """
    checks = {
        'hparams.json': functools.partial(check_hparams, manifest['models'][name]['hparams']),
        'model.ckpt.index': check_index,
        'model.ckpt.meta': check_meta,
    }
    return [
        fetch.RemoteFile(
            url=f'{base}/{name}/{file}',
            path=os.path.join(models_dir, name, file),
            check=checks.get(file),
            **entry,
        )
        for file, entry in manifest['models'][name]['files'].items()
    ]


def check_hparams(expected, path):
    with open(path, encoding='utf-8') as f:
        try:
            hparams = json.load(f)
        except RecursionError:
            hparams = '[[…'
    if hparams != expected:
        raise ValueError(f'hyperparameters {transport.said(hparams)} instead of {expected}')


def check_index(path):
    with open(path, 'rb') as f:
        if not f.read().endswith(TABLE_MAGIC):
            raise ValueError('not the index of a TensorFlow checkpoint, or not all of it')


def check_meta(path):
    with open(path, 'rb') as f:
        if b'model/wte' not in f.read():
            raise ValueError('not a graph of GPT-2: it has no variable model/wte')


def report(file):
    """Print whether a file is there and right; returns that too."""
    return fetch.report(file.path, lambda: fetch.verify(file))


def is_dispensable(file):
    return file.optional and not os.path.exists(file.path)


def obtain(file):
    """Download a file and print the result; an optional file that cannot be had is passed over."""
    try:
        print(f'downloaded {file.path}: {fetch.fetch(file)}')
    except fetch.DownloadError as error:
        if not file.optional:
            raise
        print(f'passed over, not needed to run the model: {error}', file=sys.stderr)


def obtain_from_hub(name, manifest, models_dir, base):
    """Download a model from its repository at Hugging Face, and convert it to the 2019 layout.

    What comes out is verified as the files of the release are: they are the same to the byte.
    base: of a mirror, or None.
    """
    from conversion.hugging_face import read_hugging_face
    from conversion.released import write_released

    files = files_of(name, manifest, models_dir, '')
    needed = [file for file in files if not file.optional]
    if all([os.path.exists(file.path) and report(file) for file in needed]):
        return
    folder, source = os.path.join(models_dir, name), os.path.join(models_dir, f'{name}-hub')
    if os.path.exists(folder):
        raise ValueError(f'{folder} is there, and not right: remove it first')
    fetched = files_of_hub(name, manifest, source, base)
    fetch.require_space([*fetched, *needed], models_dir)
    with stopping.keeping(fetch.KEPT):
        for file in fetched:
            if not (os.path.exists(file.path) and report(file)):
                obtain(file)
    with building(folder) as unfinished:
        write_released(read_hugging_face(source), unfinished)
        for file in needed:
            check(file, os.path.join(unfinished, os.path.basename(file.path)))
    shutil.rmtree(source)
    for file in needed:
        report(file)


def files_of_hub(name, manifest, folder, base):
    """The files of a model's repository at Hugging Face, as fetch.RemoteFile."""
    hub, own = manifest['hub'], manifest['models'][name]['hub']
    base = (
        f'{base}/{name}'
        if base
        else (f'{hub["base_url"]}/{own["repository"]}/resolve/{own["revision"]}')
    )
    return [
        fetch.RemoteFile(
            url=f'{base}/{file}',
            path=os.path.join(folder, file),
            **(entry | own['files'].get(file, {})),
        )
        for file, entry in hub['files'].items()
    ]


def check(file, path):
    """Raise ValueError if a file that was converted is not that of the release."""
    try:
        fetch.verify(file, path)
    except fetch.WrongFile as error:
        raise ValueError(
            f'what was converted is not {file.path} of the release: {error}'
        ) from error


if __name__ == '__main__':
    command_line.run(download_model)
