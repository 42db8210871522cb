"""Folders of Hugging Face's GPT-2: config.json, weights, tokenizer. No TensorFlow."""

import json
import os
import re

from conversion import names
from conversion.config import config_of, inverse_layer_scale, read_config
from conversion.model import HEAD, Model, check_tensors, check_tied, shapes_of, tensors_of
from conversion.safetensors_file import read_safetensors, write_safetensors
from conversion.torch_file import read_torch
from conversion.vocabulary import (
    END,
    fitted,
    read_json,
    read_vocabulary,
    special_tokens,
    write_vocabulary,
)
from support.files import open_named

READERS = {'model.safetensors': read_safetensors, 'pytorch_model.bin': read_torch}
# What older files hold besides weights: masks of attention, which are the same in every model.
MASKS = re.compile(r'h\.\d+\.attn\.(bias|masked_bias)')


def is_hugging_face(folder):
    return os.path.isfile(os.path.join(folder, 'config.json'))


def read_hugging_face(folder):
    """The Model in a folder; ValueError, saying why, for one that is not the same function."""
    hparams, activation, remarks, config = read_config(os.path.join(folder, 'config.json'))
    found = {
        name.removeprefix('transformer.'): tensor
        for name, tensor in read_weights(folder).items()
        if not MASKS.fullmatch(name.removeprefix('transformer.'))
    }
    head = found.pop(HEAD, None)
    known = {names.hugging_face(name): name for name in shapes_of(hparams)}
    tensors = {known.get(name, name): tensor for name, tensor in found.items()}
    check_tensors(tensors, hparams, folder)
    if head is not None:
        check_tied(head, tensors['model/wte'], folder)
    elif config.get('tie_word_embeddings') is False:
        raise ValueError(f'{folder} has tie_word_embeddings false, but no {HEAD}')
    if config.get('scale_attn_by_inverse_layer_idx'):
        tensors = inverse_layer_scale(tensors, hparams)
    vocabulary = read_vocabulary(folder)
    if vocabulary is None:
        raise ValueError(
            f'{folder} has no vocabulary: vocab.json and merges.txt, or tokenizer.json'
        )
    vocabulary, more = fitted(vocabulary, hparams.n_vocab)
    return Model(hparams, tensors, vocabulary, activation, remarks + more)


def read_weights(folder):
    """All tensors of a folder, {name there: Tensor}, from one file or from several."""
    for name, read in READERS.items():
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return tensors_of(read(path), path)
        if os.path.exists(f'{path}.index.json'):
            index = read_json(f'{path}.index.json')
            try:
                files = sorted(set(index['weight_map'].values()))
                paths = [os.path.join(folder, os.path.basename(file)) for file in files]
            except (LookupError, TypeError, AttributeError) as error:
                raise ValueError(f'{path}.index.json names no files ({error!r})') from error
            found = {}
            for path in paths:
                found |= tensors_of(read(path), path)
            return found
    raise ValueError(f'{folder} has no weights: {" or ".join(READERS)}')


def write_hugging_face(model, folder, dtype='float32'):
    """Write a Model into a folder that is there, as GPT2LMHeadModel.from_pretrained reads it."""
    end = model.vocabulary.encoder.get(END)
    config = config_of(model.hparams, model.activation, dtype, end)
    write_json(config, folder, 'config.json')
    generation = {'_from_model_config': True, 'bos_token_id': end, 'eos_token_id': end}
    write_json(generation, folder, 'generation_config.json')
    write_vocabulary(model.vocabulary, folder, 'vocab.json', 'merges.txt')
    token = None if end is None else END
    tokenizer = {
        'tokenizer_class': 'GPT2Tokenizer',
        'model_max_length': model.hparams.n_ctx,
        'add_prefix_space': False,
        **dict.fromkeys(('bos_token', 'eos_token', 'unk_token'), token),
        'added_tokens_decoder': added_tokens(model.vocabulary),
    }
    write_json(tokenizer, folder, 'tokenizer_config.json')
    tensors = {
        f'transformer.{names.hugging_face(name)}': model.tensors[name]
        for name in shapes_of(model.hparams)
    }
    write_safetensors(os.path.join(folder, 'model.safetensors'), tensors, dtype)


def added_tokens(vocabulary):
    """What tokenizer_config.json says of special tokens, which are recognised in texts there."""
    switches = dict.fromkeys(('lstrip', 'normalized', 'rstrip', 'single_word'), False)
    ids = sorted(vocabulary.encoder[token] for token in special_tokens(vocabulary))
    names = {i: token for token, i in vocabulary.encoder.items()}
    return {str(i): {'content': names[i], **switches, 'special': True} for i in ids}


def write_json(content, folder, name):
    with open_named(os.path.join(folder, name)) as file:
        json.dump(content, file, indent=2)
        file.write('\n')
