"""ckpt.pt of nanoGPT: weights, sizes, and an optimizer that nobody asks for. No TensorFlow."""

from conversion import names
from conversion.config import ERF_REMARK
from conversion.model import (
    HEAD,
    Model,
    check_tensors,
    check_tied,
    is_matrix,
    shapes_of,
    tensors_of,
    transposed,
    zeros,
)
from conversion.torch_file import read_torch
from conversion.vocabulary import fitted
from hparams import HParams

SIZES = {
    'n_layer': 'n_layer',
    'n_head': 'n_head',
    'n_embd': 'n_embd',
    'n_ctx': 'block_size',
    'n_vocab': 'vocab_size',
}
PREFIX = 'transformer.'
COMPILED = '_orig_mod.'  # begins the names of a model that torch.compile compiled


def read_nanogpt(path, vocabulary):
    """The Model in a ckpt.pt.

    vocabulary: the Vocabulary that the model was trained with, which is not in the file: that of
      GPT-2. The rows of the embedding after its tokens, with which nanoGPT fills up to 50,304, are
      cut off.
    Raises ValueError, saying why, for what is no model of nanoGPT or has other tokens.
    """
    content = read_torch(path)
    try:
        hparams = HParams(**{ours: content['model_args'][its] for ours, its in SIZES.items()})
        found = tensors_of(content['model'], 'its model')
    except (LookupError, TypeError) as error:
        raise ValueError(f'{path} is no checkpoint of nanoGPT ({error!r})') from error
    except ValueError as error:
        raise ValueError(f'{path} is no checkpoint of nanoGPT: {error}') from error
    found = {name.removeprefix(COMPILED): tensor for name, tensor in found.items()}
    head = found.pop(HEAD, None)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in found.items()}
    wanted = shapes_of(hparams)
    known = {names.hugging_face(name): name for name in wanted}
    tensors = {
        known.get(name, name): transposed(tensor) if is_matrix(known.get(name, name)) else tensor
        for name, tensor in found.items()
        if not name.endswith('.attn.bias')  # a mask, where attention is not PyTorch's own
    }
    biases = {name: zeros(shape) for name, shape in wanted.items() if name.endswith('/b')}
    tensors = biases | tensors  # bias=False trains without, which is the same as zeros
    check_tensors(tensors, hparams, path)
    if head is not None:
        check_tied(head, tensors['model/wte'], path)
    n_tokens = len(vocabulary.encoder)
    if hparams.n_vocab < n_tokens:
        raise ValueError(
            f'{path} has {hparams.n_vocab:,} tokens and the vocabulary {n_tokens:,}: a model of '
            'characters has no vocabulary that GPT-2 could use'
        )
    vocabulary, remarks = fitted(vocabulary, hparams.n_vocab)
    return Model(hparams, tensors, vocabulary, 'gelu', [ERF_REMARK, *remarks])
