"""What other ecosystems call the tensors of GPT-2. No TensorFlow."""

import re

GGUF = {
    'model/wte': 'token_embd.weight',
    'model/wpe': 'position_embd.weight',
    'model/ln_f/g': 'output_norm.weight',
    'model/ln_f/b': 'output_norm.bias',
}
GGUF_LAYER = {
    'ln_1': 'attn_norm',
    'attn/c_attn': 'attn_qkv',
    'attn/c_proj': 'attn_output',
    'ln_2': 'ffn_norm',
    'mlp/c_fc': 'ffn_up',
    'mlp/c_proj': 'ffn_down',
}
LAYER = re.compile(r'model/h(\d+)/(.+)/([gbw])')


def hugging_face(name):
    """model/h0/attn/c_attn/w -> h.0.attn.c_attn.weight, as GPT2Model has it; nanoGPT has it too."""
    parts = re.sub(r'^h(\d+)/', r'h/\1/', name.removeprefix('model/')).split('/')
    if parts[-1] in ('g', 'w', 'b'):
        return '.'.join([*parts[:-1], 'bias' if parts[-1] == 'b' else 'weight'])
    return '.'.join([*parts, 'weight'])


def gguf(name):
    """model/h0/attn/c_attn/w -> blk.0.attn_qkv.weight, as llama.cpp has it."""
    if name in GGUF:
        return GGUF[name]
    layer, part, kind = LAYER.fullmatch(name).groups()
    return f'blk.{layer}.{GGUF_LAYER[part]}.{"bias" if kind == "b" else "weight"}'
