"""A model on its way from one kind of files to another: sizes, tensors by name, vocabulary.

Tensors are read a block of rows at a time, so that a model of any size needs little memory. Names
are those of the 2019 release. Matrices are [inputs, outputs]; there is no leading 1, which the 2019
files have. No TensorFlow.

Shapes: E width, V vocabulary, C context.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hparams import HParams

BLOCK = 2**22  # numbers, of which 16 MB of float32 are in memory at a time
HEAD = 'lm_head.weight'  # the output layer of Hugging Face's and nanoGPT's models
MOST_LAYERS = 10_000  # files may say anything, and names are made for each layer


class Tensor(NamedTuple):
    """A tensor that is read when it is asked for.

    rows: (start, stop) -> float32 array of these rows; of a vector, of these numbers.
    """

    shape: tuple
    rows: Callable

    def blocks(self):
        """Yield the tensor as consecutive float32 arrays of a bounded size."""
        step = max(BLOCK // max(math.prod(self.shape[1:]), 1), 1)
        for start in range(0, self.shape[0], step):
            yield self.rows(start, min(start + step, self.shape[0]))

    def whole(self):
        """All of it, for tensors that are known to be small."""
        return self.rows(0, self.shape[0])

    def cut(self, n):
        """The first n rows."""
        return self._replace(shape=(n, *self.shape[1:]))


def in_file(path, offset, shape, dtype):
    """A Tensor whose numbers are in a file from a byte on, row after row."""
    per_row = math.prod(shape[1:])

    def rows(start, stop):
        place = offset + start * per_row * dtype.itemsize
        numbers = np.fromfile(path, dtype, (stop - start) * per_row, offset=place)
        return numbers.reshape(-1, *shape[1:]).astype(np.float32, copy=False)

    return Tensor(shape, rows)


def transposed(tensor):
    """The transpose of a matrix, for files that have [outputs, inputs]."""
    return Tensor(tensor.shape[::-1], lambda start, stop: tensor.whole().T[start:stop])


def zeros(shape):
    return Tensor(shape, lambda start, stop: np.zeros((stop - start, *shape[1:]), np.float32))


class Vocabulary(NamedTuple):
    """A byte-level BPE vocabulary.

    encoder: dict of token to id.  merges: the text of vocab.bpe, or merges.txt, as it is.
    """

    encoder: dict
    merges: str


@dataclasses.dataclass
class Model:
    """What a reader finds and a writer takes.

    tensors: {name of 2019: Tensor}.
    activation: 'gelu_new' (tanh), as GPT-2 has it, or 'gelu' (erf).
    remarks: sentences on what differs from the source, for the user.
    """

    hparams: HParams
    tensors: dict
    vocabulary: Vocabulary
    activation: str = 'gelu_new'
    remarks: list = dataclasses.field(default_factory=list)


def shapes_of(hparams):
    """The shape of each tensor of a model by its name, in the order of the released files."""
    if hparams.n_layer > MOST_LAYERS:
        raise ValueError(f'n_layer is {hparams.n_layer}: no GPT-2 has more than {MOST_LAYERS:,}')
    width = hparams.n_embd
    shapes = {'model/wte': (hparams.n_vocab, width), 'model/wpe': (hparams.n_ctx, width)}
    for layer in range(hparams.n_layer):
        here = f'model/h{layer}'
        for norm in ('ln_1', 'ln_2'):
            shapes |= {f'{here}/{norm}/g': (width,), f'{here}/{norm}/b': (width,)}
        for name, n_in, n_out in (
            ('attn/c_attn', width, 3 * width),
            ('attn/c_proj', width, width),
            ('mlp/c_fc', width, 4 * width),
            ('mlp/c_proj', 4 * width, width),
        ):
            shapes |= {f'{here}/{name}/w': (n_in, n_out), f'{here}/{name}/b': (n_out,)}
    return shapes | {'model/ln_f/g': (width,), 'model/ln_f/b': (width,)}


def is_matrix(name):
    """Whether a tensor multiplies hidden states, as [inputs, outputs]."""
    return name.endswith('/w')


def check_tensors(tensors, hparams, source):
    """Raise ValueError unless tensors are exactly those of a model of these sizes.

    source: what they were read from, for the message.
    """
    wanted = shapes_of(hparams)
    if missing := sorted(set(wanted) - set(tensors)):
        raise ValueError(f'{source} lacks {len(missing)} of {len(wanted)} tensors: {missing[0]}…')
    if extra := sorted(set(tensors) - set(wanted)):
        raise ValueError(f'{source} holds {extra[0]}, which no GPT-2 has ({len(extra)} such)')
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f'{source} holds {name} with shape {list(tensors[name].shape)} where its sizes ask '
                f'for {list(shape)}'
            )


def tensors_of(content, path):
    """A dict of tensors by name, if a file holds one."""
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise ValueError(f'{path} does not hold tensors by name')
    return dict(content)


def check_tied(head, embedding, source):
    """Raise ValueError unless the output layer is the token embedding, as in GPT-2."""
    same = head.shape == embedding.shape and all(
        np.array_equal(one, other)
        for one, other in zip(head.blocks(), embedding.blocks(), strict=True)
    )
    if not same:
        raise ValueError(f'{source} has an {HEAD} of its own: GPT-2 has the token embedding there')
