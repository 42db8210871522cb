"""Embeddings with more rows than the vocabulary has tokens, as nanoGPT fills them up to 50,304.

The rows without a token are cut off, for nothing could be written for their tokens. What that
changes is measured: the probability that the model gives them. No TensorFlow.
"""

import numpy as np

from conversion.model import Model
from encoder import Encoder, parse_merges

PROBE = 'The quick brown fox jumps over the lazy dog, and nobody knows why it does so every day.'
EPSILON = 1e-5


def cut_to_vocabulary(model):
    """The Model with one row of the embedding for each token, and a remark where rows were cut."""
    n_rows, n_tokens = model.hparams.n_vocab, len(model.vocabulary.encoder)
    if n_rows == n_tokens:
        return model
    sizes = model.hparams.values() | {'n_vocab': n_tokens}
    embedding = model.tensors['model/wte']
    remark = (
        f'cut off {n_rows - n_tokens} rows of the embedding that have no token: their probability '
        f'on a sentence of English was {probability_of_rest(model, n_tokens):.1e}'
    )
    return Model(
        type(model.hparams)(**sizes),
        model.tensors | {'model/wte': embedding.cut(n_tokens)},
        model.vocabulary,
        model.activation,
        [*model.remarks, remark],
    )


def probability_of_rest(model, n_tokens):
    """The mean probability after a sentence of all tokens from n_tokens on."""
    encoder = Encoder(model.vocabulary.encoder, parse_merges(model.vocabulary.merges))
    tokens = encoder.encode(PROBE)[: model.hparams.n_ctx]
    states = hidden_states(model, tokens)
    logits = np.concatenate(
        [states @ block.T for block in model.tensors['model/wte'].blocks()], axis=-1
    )
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return float((p[:, n_tokens:].sum(axis=-1) / p.sum(axis=-1)).mean())


def hidden_states(model, tokens):
    """The forward pass of model.py in NumPy, a matrix in memory at a time: [tokens, E]."""

    def read(name):
        return model.tensors[f'model/{name}'].whole()

    def norm(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return centred / scale * read(f'{name}/g') + read(f'{name}/b')

    def linear(x, name):
        return x @ read(f'{name}/w') + read(f'{name}/b')

    embedding = model.tensors['model/wte']
    x = np.concatenate([embedding.rows(token, token + 1) for token in tokens])
    x = x + model.tensors['model/wpe'].rows(0, len(tokens))
    for layer in range(model.hparams.n_layer):
        here = f'h{layer}'
        qkv = linear(norm(x, f'{here}/ln_1'), f'{here}/attn/c_attn')
        x = x + linear(attention(qkv, model.hparams.n_head), f'{here}/attn/c_proj')
        inner = linear(norm(x, f'{here}/ln_2'), f'{here}/mlp/c_fc')
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(inner, f'{here}/mlp/c_proj')
    return norm(x, 'ln_f')


def attention(qkv, n_head):
    """Causal attention of queries, keys and values [tokens, 3E]: [tokens, E]."""
    n, width = len(qkv), qkv.shape[1] // 3
    q, k, v = qkv.reshape(n, 3, n_head, width // n_head).transpose(1, 2, 0, 3)
    scores = q @ k.swapaxes(1, 2) / np.sqrt(width // n_head)
    scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (p / p.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, width)
