#!/usr/bin/env python3
"""Write a model as TensorFlow's SavedModel, and as ONNX, for other programs and languages."""

import os

from conversion.onnx import check_package, write_onnx
from loading.startup import quiet
from support import command_line, stopping
from support.checks import check_switch
from support.files import building, expand, shown


def export(model_name: str, folder: str, models_dir: str = 'models', onnx: bool = False):
    """Write FOLDER, which is not there yet: 1/ with a SavedModel, and README.txt on its signatures.

    Args:
        model_name: the model, a folder of models_dir
        folder: what to write; it appears whole or not at all
        models_dir: the folder of all models
        onnx: write model.onnx, too, with the signature that gives logits (pip install tf2onnx)
    """
    check_switch('onnx', onnx)
    folder = expand(folder)
    if os.path.lexists(folder):
        raise ValueError(f'{folder} is there already')
    if onnx:
        check_package()
    with building(folder) as unfinished:
        with quiet():
            from conversion.saved_model import ENTRY, VERSION, write_saved_model
            from loading.loaded_model import LoadedModel

            loaded = LoadedModel(model_name, models_dir)
            write_saved_model(loaded, unfinished)
        if onnx:
            size = os.path.getsize(f'{loaded.weights}.data-00000-of-00001')
            saved = os.path.join(unfinished, VERSION)
            write_onnx(saved, ENTRY, os.path.join(unfinished, 'model.onnx'), size)
    with stopping.keeping(f'{folder} is written'):
        print(f'wrote {shown(folder)}', flush=True)


if __name__ == '__main__':
    command_line.run(export)
