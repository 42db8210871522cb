"""The same numbers, faster: other weights, kernels, tensor-parallel shards, compiled programs.

Other packages enter by the names below alone, and the readable core knows none of this. Nothing is
imported before it is asked for: whoever only checks a dtype needs no TensorFlow.
"""

import importlib

from support.checks import check_whole
from support.settings import with_help

# {what weights can be stored in and multiplied as: (the module with its kinds of weights, help)}
DTYPES = {
    'float32': (None, 'is exact'),
    'bfloat16': (
        'fast.bfloat16',
        'makes sampling one text of a large model up to 1.6 times as fast; several take as long as '
        'in float32, on processors without instructions for it longer',
    ),
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
    'why_slow': 'processor',
    'decode_compiled': 'xla_step',
}
__all__ = [
    'DTYPES',
    'check_dtype',
    'number_of_shards',
    'shards_of_file',
    'takes_dtype',
    'takes_shards',
    *_MODULES,
]


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


def takes_shards(function):
    """Put the help of a function's `shards` where its docstring says `<shards>`."""
    text = (
        'parts of each layer computed side by side (tensor parallelism); None is 2 where that was '
        'faster: on two cores, for large models even on one; and 1 elsewhere, which shares each '
        'matmul among all cores'
    )
    return with_help(function, 'shards', {'shards': text})


def number_of_shards(shards, xla=None):
    """The n_shards of an engine by the flags --shards and --xla; ValueError for what cannot be."""
    if shards is not None:
        check_whole('shards', shards, least=1)
    if not xla:
        return shards
    if (shards or 1) > 1:
        raise ValueError('XLA shares its programs among cores itself: leave out --shards or --xla')
    return 1


def shards_of_file(shards, dtype):
    """The n_shards of an engine whose text goes into a file, and what the file says of it, a dict.

    Whoever goes on with the file, on a machine with other cores, is to write the same text. In
    float32 it does not depend on the number of shards. In other dtypes each shard rounds by itself,
    so that two write another text than one: there it is one, unless `shards` is another number.
    """
    if dtype == 'float32':
        return shards, {}
    return shards or 1, {'shards': shards or 1}
