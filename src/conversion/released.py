"""Model folders in the layout of the 2019 release. No TensorFlow."""

import json
import os

from conversion.bundle import read_bundle, write_bundle
from conversion.model import Model, Tensor, check_tensors, is_matrix, shapes_of
from conversion.vocabulary import fitted, read_json, read_vocabulary, write_vocabulary
from hparams import read_hparams
from loading.model_files import weights
from loading.training_variables import is_of_training
from support.files import open_named

ORIGIN = 'conversion.json'  # what a conversion must remember that the 2019 layout has no place for
CHECKPOINT = 'model.ckpt'


def is_released(folder):
    return os.path.isfile(os.path.join(folder, 'hparams.json'))


def read_released(folder):
    """The Model in a folder of the 2019 layout."""
    hparams = read_hparams(os.path.join(folder, 'hparams.json'))
    path = weights(folder)
    wanted = shapes_of(hparams)
    tensors = {
        name: matrix(tensor) if is_matrix(name) else tensor
        for name, tensor in read_bundle(path).items()
        if name in wanted or not is_of_training(name, wanted)
    }
    check_tensors(tensors, hparams, path)
    vocabulary = read_vocabulary(folder)
    if vocabulary is None:
        raise ValueError(f'{folder} has no encoder.json and vocab.bpe')
    vocabulary, remarks = fitted(vocabulary, hparams.n_vocab)
    return Model(hparams, tensors, vocabulary, activation_of(folder), remarks)


def matrix(tensor):
    """A matrix without the leading 1 that the 2019 files have."""
    return Tensor(tensor.shape[1:], lambda start, stop: tensor.rows(0, 1)[0][start:stop])


def activation_of(folder):
    """The activation that a model was trained with, where its conversion has noted another one."""
    path = os.path.join(folder, ORIGIN)
    return read_json(path).get('activation', 'gelu_new') if os.path.exists(path) else 'gelu_new'


def write_released(model, folder):
    """Write a Model into a folder that is there, as the 2019 release has it."""
    write_vocabulary(model.vocabulary, folder, 'encoder.json', 'vocab.bpe')
    with open_named(os.path.join(folder, 'hparams.json')) as file:
        file.write(json.dumps(model.hparams.values(), indent=2) + '\n')  # as in 2019, to the byte
    if model.activation != 'gelu_new':
        with open_named(os.path.join(folder, ORIGIN)) as file:
            json.dump({'activation': model.activation}, file)
    tensors = {
        name: ((1, *shape) if is_matrix(name) else shape, model.tensors[name])
        for name, shape in shapes_of(model.hparams).items()
    }
    write_bundle(os.path.join(folder, CHECKPOINT), tensors)
    with open_named(os.path.join(folder, 'checkpoint')) as file:
        file.write(
            f'model_checkpoint_path: "{CHECKPOINT}"\nall_model_checkpoint_paths: "{CHECKPOINT}"\n'
        )
