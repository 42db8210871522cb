"""Where models are: models/<name>/ in the released layout. No TensorFlow."""

import hashlib
import json
import os
import re
import shlex
import subprocess

from encoder import get_encoder
from hparams import read_hparams
from support.files import check_is_file, expand

with open(os.path.join(os.path.dirname(__file__), 'released_models.json'), encoding='utf-8') as f:
    MANIFEST = json.load(f)
RELEASED = tuple(MANIFEST['models'])
FILES = ('encoder.json', 'vocab.bpe', 'hparams.json', 'checkpoint')
BESIDE_WEIGHTS = ('hparams.json', 'encoder.json', 'vocab.bpe')  # decide results as weights do
WEIGHTS = ('index', 'data-00000-of-00001')  # endings; nothing needs .meta, the graph of 2019
# A field of a `checkpoint` file, or a comment: a protocol buffer's text, which people write, too.
FIELD = re.compile(r"""\#.*|(\w+)\s*:\s*(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)')""")
NAMING = 'model_checkpoint_path'  # the field that names the weights in use


class ModelFiles:
    """What is read of a model before its weights: its folder, hparams and encoder.

    model_name, models_dir: as the scripts take them.
    encoder: its tokenizer, if it has been loaded already.
    with_end: whether the vocabulary must have <|endoftext|>.
    Raises ValueError, with what would help, if the model is not there, damaged, or if its
    vocabulary is not of the size that hparams.json gives.
    """

    def __init__(self, model_name, models_dir='models', encoder=None, with_end=False):
        self.folder = find_model(model_name, models_dir)
        self.remedy = remedy(model_name, models_dir)
        self.hparams = read_hparams(os.path.join(self.folder, 'hparams.json'))
        load = load_encoder_with_end if with_end else load_encoder
        self.encoder = encoder or load(model_name, models_dir)
        n_tokens, n_vocab = len(self.encoder.encoder), self.hparams.n_vocab
        if n_tokens != n_vocab:
            raise ValueError(
                f'{self.folder} has {n_tokens} tokens in encoder.json '
                f'but n_vocab={n_vocab} in hparams.json; {self.remedy}'
            )


def find_model(model_name, models_dir='models'):
    """The folder of a model.

    models_dir: str; `~` and environment variables are expanded, as in 2019.
    Raises ValueError with the command that would fix it when the name leads out of models_dir or
    the model, or one of its files, is not there.
    """
    models_dir = expand(models_dir)
    folder = folder_of(model_name, models_dir)
    if not os.path.isdir(folder):
        raise ValueError(
            f'there is no model {model_name!r} in {models_dir}; {remedy(model_name, models_dir)}'
        )
    missing = lacking(folder, FILES)
    advice = remedy(model_name, models_dir)
    if missing in ([], ['checkpoint']) and (hint := what_to_write(folder)):
        advice = f'{hint}; or {advice}' if model_name in RELEASED else hint
    if not missing:
        try:
            prefix = os.path.basename(weights(folder))
        except ValueError as error:
            raise ValueError(f'{error}; {advice}') from error
        missing = lacking(folder, [f'{prefix}.{ending}' for ending in WEIGHTS])
    if missing:
        raise ValueError(f'{folder} lacks {", ".join(missing)}; {advice}')
    return folder


def load_encoder(model_name, models_dir='models'):
    """The tokenizer of a model. Raises ValueError, with what would help, if it is damaged."""
    try:
        parent, name = os.path.split(folder_of(model_name, expand(models_dir)))
        return get_encoder(name, parent)
    except ValueError as error:
        raise ValueError(f'{error}; {remedy(model_name, models_dir)}') from error


def load_encoder_with_end(model_name, models_dir='models'):
    """`load_encoder`, for texts that begin with <|endoftext|>; ValueError if there is none."""
    encoder = load_encoder(model_name, models_dir)
    if encoder.end_of_text is None:
        folder = folder_of(model_name, expand(models_dir))
        raise ValueError(f'the vocabulary in {folder} has no <|endoftext|> to start texts with')
    return encoder


def vocabulary_sha256(encoder):
    """Return a hexadecimal digest of an encoder's tokens, ids and merges."""
    vocabulary = [sorted(encoder.encoder.items()), list(encoder.bpe_ranks)]
    return hashlib.sha256(json.dumps(vocabulary).encode('utf-8')).hexdigest()


def lacking(folder, names):
    return [name for name in names if not os.path.isfile(os.path.join(folder, name))]


def folder_of(model_name, models_dir):
    """The folder of a model that may not be there; ValueError if it is outside models_dir."""
    relative = os.path.normpath(model_name) if model_name else '.'
    # On Windows, C:name and \\name lead elsewhere too.
    drive = os.path.splitdrive(relative)[0]
    if drive or relative.split(os.sep)[0] in ('', '.', '..'):
        raise ValueError(f'model name {model_name!r} does not name a folder inside {models_dir}')
    return os.path.join(models_dir, relative)


def weights(folder):
    """The weights in use, a path without endings, as the `checkpoint` file of the folder says.

    Of a longer path in it only the name counts: training writes the place where it ran, and folders
    move. Raises ValueError if the file names nothing.
    """
    path = os.path.join(folder, 'checkpoint')
    try:
        check_is_file(path)
        with open(path, encoding='utf-8') as f:
            fields = FIELD.findall(f.read())
    except (OSError, ValueError):
        fields = []
    named = [double or single for name, double, single in fields if name == NAMING]
    name = re.split(r'[/\\]', unescape(named[-1]))[-1] if named else ''
    if not name:
        raise ValueError(f'{path} names no checkpoint')
    return os.path.join(folder, name)


def what_to_write(folder):
    """Which weights are in a folder, and what its `checkpoint` file is to say; '' if none are."""
    names = {file.removesuffix('.index') for file in list_folder(folder)}
    names = {name for name in names if not lacking(folder, [f'{name}.{e}' for e in WEIGHTS])}
    # In the order of their steps; training keeps its optimizer's variables beside the weights.
    order = {name: int(''.join(re.findall(r'\d', name)) or 0) for name in names}
    there = sorted((n for n in names if not n.startswith('optimizer-')), key=order.get)
    if not there:
        return ''
    path = os.path.join(folder, 'checkpoint')
    return f'to use {" or ".join(there[-3:])}, write into {path}: {NAMING}: "{there[-1]}"'


def fingerprint(folder):
    """16 hexadecimal digits that stand for a model's weights: the index holds all checksums."""
    with open(f'{weights(folder)}.index', 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def digests_beside(folder):
    """{name: 16 hexadecimal digits} of the files of a model that decide results beside its weights.

    For the settings of a job, which tell of a model with the same weights and another vocabulary.
    """
    digests = {}
    for name in BESIDE_WEIGHTS:
        with open(os.path.join(folder, name), 'rb') as f:
            digests[name] = hashlib.sha256(f.read()).hexdigest()[:16]
    return digests


def check_model(folder, weights, settings):
    """Raise ValueError unless a model is the one that a job is for.

    weights: its fingerprint.  settings: dict that has its `digests_beside`, too.
    """
    if (found := fingerprint(folder)) != weights:
        raise ValueError(f'the weights in {folder} are {found}, not {weights}')
    for name, found in digests_beside(folder).items():
        if found != settings.get(name):
            raise ValueError(f'{name} in {folder} is {found}, not {settings.get(name)}')


def unescape(text):
    """What a string in a protocol buffer's text form stands for: \\303\\251 is an e with acute."""
    escaped = text.encode('utf-8').decode('unicode_escape', errors='replace')
    return escaped.encode('latin-1', errors='replace').decode('utf-8', errors='replace')


def remedy(model_name, models_dir):
    """What a user whose model is not there, or damaged, can do."""
    where = '' if models_dir == 'models' else f' --models_dir {shell_word(str(models_dir))}'
    if model_name in MANIFEST['old_names']:
        new = MANIFEST['old_names'][model_name]
        return f'it is now called {new}: {remedy(new, models_dir)}'
    if model_name in RELEASED:
        advice = f'get it with: python3 download_model.py {model_name}{where}'
        if os.path.isdir(os.path.join(expand(models_dir), 'demo')):
            advice += ' (--model_name demo works now)'
        return advice
    folder, failed = expand(models_dir), os.path.normpath(model_name)
    there = sorted(n for n in list_folder(folder) if n != failed and is_model(folder, n))
    have = f'there are: {", ".join(there)}' if there else 'there is no other'
    return f'{have}; {", ".join(RELEASED)} come with: python3 download_model.py NAME{where}'


def shell_word(text):
    """A text as a shell's user has to type it."""
    return subprocess.list2cmdline([text]) if os.name == 'nt' else shlex.quote(text)


def list_folder(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def is_model(models_dir, name):
    return not lacking(os.path.join(models_dir, name), FILES)
