#!/usr/bin/env python3
"""Convert a model between the 2019 layout and the files of Hugging Face, nanoGPT and llama.cpp."""

import os
import sys

from conversion.cut import cut_to_vocabulary
from conversion.kinds import (
    DTYPES,
    GGUF,
    KINDS,
    check_dtype,
    kind_to_write,
    read_model,
    write_model,
)
from support import command_line, stopping
from support.files import expand, shown


def convert(
    source: str, target: str, kind: str = None, dtype: str = 'float32', vocabulary: str = None
):
    """Convert a model into TARGET, which is not there yet; the kinds are in src/conversion.

    What is not the same function as GPT-2 is refused. Remarks say what else differs.

    Args:
        source: a folder of the 2019 layout or of Hugging Face, a GGUF file, or a ckpt.pt of nanoGPT
        target: what to write: a file NAME.gguf, or a folder
        kind: of the target: released, hugging_face or gguf; None is gguf for NAME.gguf, the 2019
            layout for what comes from elsewhere, and else Hugging Face's
        dtype: of the weights written: float32, and for Hugging Face float16 or bfloat16, for GGUF
            float16 or q8_0
        vocabulary: a folder with encoder.json and vocab.bpe, for a ckpt.pt, which has none
    """
    source, target = expand(source), expand(target)
    check_target(target, kind, dtype)
    found, model = read_model(source, None if vocabulary is None else expand(vocabulary))
    model = cut_to_vocabulary(model)
    for remark in model.remarks:
        print(f'{shown(source)}: {shown(remark)}', file=sys.stderr)
    kind = kind or kind_to_write(target, found)
    write_model(model, kind, target, dtype)
    with stopping.keeping(f'{target} is written'):
        print(f'wrote {shown(target)}: {kind}, {dtype}, from {found}', flush=True)


def check_target(target, kind, dtype):
    """Raise ValueError for what cannot be written, before anything is read."""
    if os.path.lexists(target):
        raise ValueError(f'{target} is there already')
    if kind not in (None, *KINDS):
        raise ValueError(f'kind is {kind!r}, not one of {", ".join(KINDS)}')
    known = list(dict.fromkeys(name for names in DTYPES.values() for name in names))
    if dtype not in known:
        raise ValueError(f'dtype is {dtype!r}, not one of {", ".join(known)}')
    if kind or target.endswith('.gguf'):
        check_dtype(kind or GGUF, dtype)


if __name__ == '__main__':
    command_line.run(convert)
