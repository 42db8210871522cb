"""Which kind of files a model is in, by their content; reading and writing of each kind."""

import os

from conversion.gguf_file import is_gguf, read_gguf, write_gguf
from conversion.hugging_face import is_hugging_face, read_hugging_face, write_hugging_face
from conversion.nanogpt import read_nanogpt
from conversion.released import is_released, read_released, write_released
from conversion.torch_file import is_torch
from conversion.vocabulary import read_vocabulary
from support.files import building

RELEASED, HUGGING_FACE, GGUF = 'released', 'hugging_face', 'gguf'
KINDS = (RELEASED, HUGGING_FACE, GGUF)  # that can be written
PARTS = ('.safetensors', '.bin', '.index', '.data-00000-of-00001')  # of models that are folders
DTYPES = {
    RELEASED: ('float32',),
    HUGGING_FACE: ('float32', 'float16', 'bfloat16'),
    GGUF: ('float32', 'float16', 'q8_0'),
}


def read_model(path, vocabulary=None):
    """The kind of a model's files, and the conversion.model.Model in them.

    vocabulary: a folder with a vocabulary, for files that have none.
    Raises ValueError if there is no model, or none that is the same function as GPT-2.
    """
    if is_released(path):
        return RELEASED, read_released(path)
    if is_hugging_face(path):
        return HUGGING_FACE, read_hugging_face(path)
    if is_gguf(path):
        return GGUF, read_gguf(path)
    if os.path.isfile(path) and path.endswith(PARTS):
        raise ValueError(f'{path} is a part of a model: give the folder that it is in')
    if is_torch(path):
        return 'nanogpt', read_nanogpt(path, vocabulary_of(path, vocabulary))
    if not os.path.exists(path):
        raise ValueError(f'there is no {path}')
    if os.path.isfile(os.path.join(path, 'checkpoint')):
        raise ValueError(
            f'{path} has a checkpoint but no hparams.json: copy hparams.json, encoder.json and '
            'vocab.bpe there from the model that its training began with'
        )
    raise ValueError(
        f'{path} is no model: neither a folder with hparams.json (2019) or config.json (Hugging '
        'Face), nor a GGUF file, nor a ckpt.pt of nanoGPT'
    )


def vocabulary_of(path, folder):
    found = None if folder is None else read_vocabulary(folder)
    if found is None:
        raise ValueError(
            f'{path} has no vocabulary: give --vocabulary FOLDER with encoder.json and vocab.bpe, '
            'as of the model 124M'
        )
    return found


def kind_to_write(path, source):
    """The kind that a model is to be written in, if nobody says: GGUF by its name, or the other."""
    if path.endswith('.gguf'):
        return GGUF
    return HUGGING_FACE if source == RELEASED else RELEASED


def check_dtype(kind, dtype):
    if dtype not in DTYPES[kind]:
        raise ValueError(f'{kind} has {", ".join(DTYPES[kind])}, not {dtype}')


def write_model(model, kind, path, dtype='float32'):
    """Write a model whole, or not at all.

    Raises ValueError for a dtype that the kind of files does not have.
    """
    check_dtype(kind, dtype)
    if kind == GGUF:
        name = os.path.splitext(os.path.basename(path))[0]
        write_gguf(model, path, dtype, name)
        return
    with building(path) as unfinished:
        if kind == RELEASED:
            write_released(model, unfinished)
        else:
            write_hugging_face(model, unfinished, dtype)
