"""The same numbers, faster: other weights, kernels, tensor-parallel shards, compiled programs.

Other packages enter by the names below alone, and the readable core knows none of this. Nothing is
imported before it is asked for: whoever only checks a dtype needs no TensorFlow.
"""

import importlib

from support.settings import with_help

# {what weights can be stored in and multiplied as: (the module with its kinds of weights, help)}
DTYPES = {
    'float32': (None, 'is exact'),
    'bfloat16': ('fast.bfloat16', 'is for processors with instructions for it'),
    'int8': (
        'fast.int8',
        'takes half the memory and makes sampling about twice as fast on x86 processors with VNNI '
        '(Intel since 2019, AMD since Zen 4), slower on others',
    ),
}

_MODULES = {
    'Decoding': 'decoding',  # for generating
    'Store': 'weights',  # for a KV cache between runs
    'Stored': 'getters',  # for scoring
    'Variables': 'getters',  # for validating
    'trained_matrix': 'getters',  # for training
    'attention_in_parts': 'attention',
    'has_int8_kernel': 'int8',
    'session_config': 'session',
    'tune_process': 'session',
    'decode_compiled': 'xla_step',
}
__all__ = ['DTYPES', 'check_dtype', 'takes_dtype', *_MODULES]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'fast.{_MODULES[name]}'), name)


def check_dtype(dtype, fast=True):
    """Raise ValueError unless models can run in it; the readable core alone runs in float32."""
    if dtype not in DTYPES:
        raise ValueError(f'dtype must be one of {", ".join(DTYPES)}, not {dtype!r}')
    if dtype != 'float32' and not fast:
        raise ValueError(f'fast=False computes in float32, not {dtype}')


def takes_dtype(function):
    """Put the help of a function's `dtype` where its docstring says `<dtype>`."""
    each = '; '.join(f'{name} {text}' for name, (_, text) in DTYPES.items())
    text = f'what weights are stored in and multiplied as: {each}'
    return with_help(function, 'dtype', {'dtype': text})
