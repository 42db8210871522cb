"""Hugging Face's GPT-2 with the weights of a checkpoint, for tests that compare with it."""

import re

from helpers import numpy_gpt2


def load(checkpoint, sizes, **settings):
    """The model in evaluation mode.

    sizes: dict, as in hparams.json.  settings: of transformers.GPT2Config, beside the sizes.
    """
    import torch
    import transformers

    config = transformers.GPT2Config(
        vocab_size=sizes['n_vocab'],
        n_positions=sizes['n_ctx'],
        bos_token_id=None,
        eos_token_id=None,
        **{name: sizes[name] for name in ('n_embd', 'n_head', 'n_layer')},
        **settings,
    )
    network = transformers.GPT2LMHeadModel(config).eval()
    weights = numpy_gpt2.load_weights(checkpoint)
    # Its linear layers are [in, out], like ours.
    network.transformer.load_state_dict(
        {
            name_of(name): torch.tensor(v.squeeze(0) if v.ndim == 3 else v)
            for name, v in weights.items()
        }
    )
    return network


def name_of(variable):
    """model/h0/attn/c_attn/w -> h.0.attn.c_attn.weight"""
    name = re.sub(r'^h(\d+)/', r'h/\1/', variable.removeprefix('model/')).replace('/', '.')
    if name in ('wte', 'wpe'):
        return name + '.weight'
    return name.removesuffix('.b') + '.bias' if name.endswith('.b') else name[:-2] + '.weight'
