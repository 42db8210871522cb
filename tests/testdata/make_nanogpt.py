"""Make tests/testdata/nanogpt and pytorch_model with PyTorch: what torch.save writes, and logits.

    python tests/testdata/make_nanogpt.py

ckpt.pt is a checkpoint as nanoGPT's train.py saves it (nn.Linear, GELU with erf, an embedding with
more rows than tokens); logits.npy are what its forward pass computes for TOKENS. pytorch_model has
the same weights as older versions of transformers saved them: whole, with masks and the output
layer, and in two parts.
"""

import pathlib

import numpy as np
import torch
from torch.nn import functional as F

FOLDER = pathlib.Path(__file__).parent / 'nanogpt'
PYTORCH_MODEL = FOLDER.with_name('pytorch_model')
N_LAYER, N_HEAD, N_EMBD, BLOCK_SIZE, N_VOCAB = 2, 2, 8, 16, 288
TOKENS = [256, 72, 101, 108, 108, 111, 0, 255]


def weights(bias):
    torch.manual_seed(0)
    shapes = {
        'attn.c_attn': (3 * N_EMBD, N_EMBD),
        'attn.c_proj': (N_EMBD, N_EMBD),
        'mlp.c_fc': (4 * N_EMBD, N_EMBD),
        'mlp.c_proj': (N_EMBD, 4 * N_EMBD),
    }
    state = {
        'wte.weight': 0.3 * torch.randn(N_VOCAB, N_EMBD),
        'wpe.weight': 0.1 * torch.randn(BLOCK_SIZE, N_EMBD),
    }
    for name in [f'h.{i}.{part}' for i in range(N_LAYER) for part in ('ln_1', 'ln_2')] + ['ln_f']:
        state[f'{name}.weight'] = 1 + 0.1 * torch.randn(N_EMBD)
        if bias:
            state[f'{name}.bias'] = 0.1 * torch.randn(N_EMBD)
    for i in range(N_LAYER):
        for part, shape in shapes.items():
            state[f'h.{i}.{part}.weight'] = 0.3 * torch.randn(*shape)
            if bias:
                state[f'h.{i}.{part}.bias'] = 0.1 * torch.randn(shape[0])
    state = {f'_orig_mod.transformer.{name}': tensor for name, tensor in state.items()}
    return state | {'_orig_mod.lm_head.weight': state['_orig_mod.transformer.wte.weight']}


def logits(state):
    w = {name.removeprefix('_orig_mod.transformer.'): tensor for name, tensor in state.items()}

    def norm(x, name):
        return F.layer_norm(x, (N_EMBD,), w[f'{name}.weight'], w.get(f'{name}.bias'), 1e-5)

    def linear(x, name):
        return F.linear(x, w[f'{name}.weight'], w.get(f'{name}.bias'))

    x = w['wte.weight'][TOKENS] + w['wpe.weight'][: len(TOKENS)]
    for i in range(N_LAYER):
        q, k, v = linear(norm(x, f'h.{i}.ln_1'), f'h.{i}.attn.c_attn').split(N_EMBD, dim=-1)
        q, k, v = (t.view(len(TOKENS), N_HEAD, -1).transpose(0, 1) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(0, 1).reshape(len(TOKENS), N_EMBD)
        x = x + linear(y, f'h.{i}.attn.c_proj')
        inner = F.gelu(linear(norm(x, f'h.{i}.ln_2'), f'h.{i}.mlp.c_fc'))
        x = x + linear(inner, f'h.{i}.mlp.c_proj')
    return norm(x, 'ln_f') @ w['wte.weight'].T


class Foreign:
    """What a file that does harm would hold: its pickle asks for os.system."""

    def __reduce__(self):
        import os

        return os.system, ('touch executed',)


def save(name, state, bias):
    args = {
        'n_layer': N_LAYER,
        'n_head': N_HEAD,
        'n_embd': N_EMBD,
        'block_size': BLOCK_SIZE,
        'bias': bias,
        'vocab_size': N_VOCAB,
        'dropout': 0.0,
    }
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    checkpoint = {
        'model': state,
        'optimizer': optimizer.state_dict(),
        'model_args': args,
        'iter_num': 10,
        'best_val_loss': torch.tensor(3.5),
        'config': {'dataset': 'openwebtext', 'learning_rate': 6e-4, 'compile': True},
    }
    torch.save(checkpoint, FOLDER / name)


def save_pytorch_model():
    state = {name.removeprefix('_orig_mod.'): t for name, t in weights(bias=True).items()}
    matrices = ('c_attn.weight', 'c_proj.weight', 'c_fc.weight')
    state = {n: t.T.contiguous() if n.endswith(matrices) else t for n, t in state.items()}
    state['lm_head.weight'] = state['transformer.wte.weight']
    mask = torch.ones(1, 1, BLOCK_SIZE, BLOCK_SIZE).tril()
    for i in range(N_LAYER):
        state[f'transformer.h.{i}.attn.bias'] = mask.to(torch.uint8)
        state[f'transformer.h.{i}.attn.masked_bias'] = torch.tensor(-1e4)
    PYTORCH_MODEL.mkdir(exist_ok=True)
    torch.save(state, PYTORCH_MODEL / 'pytorch_model.bin')
    names = [name for name in state if name.startswith('transformer.') and 'bias' not in name]
    others = [name for name in state if name.startswith('transformer.') and 'bias' in name]
    for number, some in enumerate((names, others), 1):
        part = {name.removeprefix('transformer.'): state[name] for name in some}
        torch.save(part, PYTORCH_MODEL / f'pytorch_model-0000{number}-of-00002.bin')


FOLDER.mkdir(exist_ok=True)
save('ckpt.pt', weights(bias=True), True)
save('ckpt_without_bias.pt', weights(bias=False), False)
for name, bias in (('logits.npy', True), ('logits_without_bias.npy', False)):
    np.save(FOLDER / name, logits(weights(bias)).numpy())
torch.save({'model': Foreign()}, FOLDER / 'foreign.pt')
half = torch.arange(6.0).reshape(2, 3)
torch.save(
    {
        'half': half.half(),
        'bfloat16': half.bfloat16(),
        'double': half.double(),
        'transposed': half.T,
        'part': half[1],
        'scalar': torch.tensor(7.0),
        'parameter': torch.nn.Parameter(half),
    },
    FOLDER / 'dtypes.pt',
)
torch.save(half, FOLDER / 'old.pt', _use_new_zipfile_serialization=False)
save_pytorch_model()
