#!/usr/bin/env python3
"""Write a model with random weights: for tests, benchmarks and trying things without a download."""

import json
import os
import shutil

from encoder import get_encoder
from hparams import HParams
from loading.model_files import folder_of
from loading.startup import quiet
from support import command_line, stopping
from support.checks import check_whole
from support.files import building, expand, open_named


def make_random_model(
    name: str,
    vocabulary: str,
    models_dir: str = 'models',
    n_merges: int = None,
    n_ctx: int = 1024,
    n_embd: int = 768,
    n_head: int = 12,
    n_layer: int = 12,
    seed: int = 0,
):
    """Write models/NAME with random weights in the released layout.

    The weights are those that training would start from, so the model writes gibberish.

    Args:
        name: the new model's name, a folder that is not there yet
        vocabulary: a folder that holds encoder.json and vocab.bpe
        models_dir: the folder of all models
        n_merges: keep so many of the vocabulary's merges, the most frequent ones; None keeps all
        n_ctx: positions the model can see
        n_embd: width of its hidden states
        n_head: attention heads in a layer
        n_layer: layers
        seed: the same seed gives the same weights
    """
    hparams = HParams(n_ctx=n_ctx, n_embd=n_embd, n_head=n_head, n_layer=n_layer)
    if n_merges is not None:
        check_whole('n_merges', n_merges, least=0)
    check_whole('seed', seed, least=0, below=2**63)
    folder = folder_of(name, expand(models_dir))
    if os.path.exists(folder):
        raise ValueError(f'{folder} is there already')
    with building(folder) as unfinished:
        hparams.override_from_dict({'n_vocab': write_vocabulary(vocabulary, unfinished, n_merges)})
        check_room(unfinished, hparams)
        write_weights(unfinished, hparams, seed)
    with stopping.keeping(f'{folder} is written'):
        print(f'wrote {folder}', flush=True)


def write_vocabulary(source, folder, n_merges):
    """Copy a vocabulary, or its first n_merges merges with ids counted anew; return its size."""
    parent, name = os.path.split(os.path.normpath(source))
    encoder = get_encoder(name, parent)
    ids, merges = encoder.encoder, list(map(' '.join, encoder.bpe_ranks))
    if n_merges is not None:
        dropped = {merge.replace(' ', '') for merge in merges[n_merges:]}
        merges = merges[:n_merges]
        kept = [token for token in sorted(ids, key=ids.get) if token not in dropped]
        ids = {token: i for i, token in enumerate(kept)}
    with open_named(os.path.join(folder, 'encoder.json')) as f:
        json.dump(ids, f)
    with open_named(os.path.join(folder, 'vocab.bpe')) as f:
        f.write('\n'.join(['#version: 0.2', *merges, '']))
    return len(ids)


def check_room(folder, hparams):
    """Raise ValueError for weights that the disk has no room for, before they fill the memory."""
    width = hparams.n_embd
    embeddings = (hparams.n_vocab + hparams.n_ctx + 2) * width
    size = 4 * (embeddings + hparams.n_layer * (12 * width + 13) * width)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ValueError(
            f'the disk is full: weights of these sizes take {size / 1e6:,.1f} MB, and '
            f'{free / 1e6:,.1f} MB are free in {os.path.dirname(folder)}'
        )


def write_weights(folder, hparams, seed):
    """Write hparams.json and a checkpoint of freshly initialized variables."""
    with quiet():
        import tensorflow.compat.v1 as tf

        import model
        from loading import checkpoint

    with open_named(os.path.join(folder, 'hparams.json')) as f:
        json.dump(hparams.values(), f)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        model.model(hparams, tf.zeros([1, 1], tf.int32))
        session.run(tf.global_variables_initializer())
        checkpoint.save(session, folder, tf.trainable_variables())


if __name__ == '__main__':
    command_line.run(make_random_model)
