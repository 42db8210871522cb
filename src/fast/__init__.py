"""The same numbers, faster: other weights, kernels, tensor-parallel shards, compiled programs.

Other packages enter by the names below alone, and the readable core knows none of this. Nothing is
imported before it is asked for: whoever only checks a dtype needs no TensorFlow.
"""

import importlib

# {what weights can be stored in and multiplied as: the module with its kinds of weights}
DTYPES = {
    'float32': None,
    'bfloat16': 'fast.bfloat16',
    'int8': 'fast.int8',
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
__all__ = ['DTYPES', 'check_dtype', *_MODULES]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'fast.{_MODULES[name]}'), name)


def check_dtype(dtype):
    """Raise ValueError unless models can run in it."""
    if dtype not in DTYPES:
        raise ValueError(f'dtype must be one of {", ".join(DTYPES)}, not {dtype!r}')
