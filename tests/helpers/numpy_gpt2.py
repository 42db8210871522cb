"""GPT-2 in NumPy, one sequence at a time: an oracle that shares no code with src/."""

import numpy as np


def layer_norm(x, g, b):
    centred = x - x.mean(axis=-1, keepdims=True)
    return g * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) + b


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def logits(weights, tokens, n_head):
    """weights: variables by name, 'model/wte' and so on; tokens: [S] -> float64 [S, V]."""
    w = {name.removeprefix('model/'): np.asarray(v, np.float64) for name, v in weights.items()}

    def linear(x, name):
        return x @ w[name + '/w'][0] + w[name + '/b']

    def normed(x, name):
        return layer_norm(x, w[name + '/g'], w[name + '/b'])

    n = len(tokens)
    x = w['wte'][tokens] + w['wpe'][:n]
    for layer in range(sum(name.endswith('ln_1/g') for name in w)):
        h = f'h{layer}/'
        heads = np.split(linear(normed(x, h + 'ln_1'), h + 'attn/c_attn'), 3 * n_head, axis=-1)
        attended = []
        for q, k, v in zip(heads[:n_head], heads[n_head:-n_head], heads[-n_head:], strict=True):
            scores = q @ k.T / np.sqrt(q.shape[-1])
            scores[np.triu_indices(n, 1)] = -np.inf
            attended.append(softmax(scores) @ v)
        x = x + linear(np.concatenate(attended, axis=-1), h + 'attn/c_proj')
        x = x + linear(gelu(linear(normed(x, h + 'ln_2'), h + 'mlp/c_fc')), h + 'mlp/c_proj')
    return normed(x, 'ln_f') @ w['wte'].T


def load_weights(checkpoint):
    """Read a checkpoint into a dict of arrays by variable name."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(checkpoint))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
