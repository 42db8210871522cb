"""Hyperparameters of the transformer. No TensorFlow: scripts read them before they import it."""

import dataclasses
import json

from support.checks import check_whole
from support.files import check_is_file


@dataclasses.dataclass(frozen=True)
class HParams:
    """The sizes that define a GPT-2, named as in the released hparams.json.

    Unknown names, values that are not whole numbers and widths that the heads do not divide are
    refused with a ValueError.
    """

    n_vocab: int = 0  # tokens in the vocabulary; 0 until a model's own number is known
    n_ctx: int = 1024  # positions that the model can see
    n_embd: int = 768  # width of the hidden states
    n_head: int = 12  # attention heads in a layer
    n_layer: int = 12

    def __post_init__(self):
        for name, value in self.values().items():
            check_whole(name, value, least=0 if name == 'n_vocab' else 1)
        if self.n_embd % self.n_head:
            raise ValueError(f'n_embd={self.n_embd} is not divisible by n_head={self.n_head}')

    def values(self):
        """All hyperparameters as a dict."""
        return dataclasses.asdict(self)

    def check_context(self, past_length, n_new):
        """Raise ValueError if lengths that are known exceed n_ctx: a GPU would read zeros there."""
        known = isinstance(past_length, int) and isinstance(n_new, int)
        if known and past_length + n_new > self.n_ctx:
            raise ValueError(f'{past_length} past and {n_new} new tokens exceed n_ctx={self.n_ctx}')

    def check_layers(self, memories):
        """Raise ValueError unless there is one memory, or one past, for each layer."""
        if len(memories) != self.n_layer:
            raise ValueError(f'{len(memories)} pasts or memories for n_layer={self.n_layer}')

    def override_from_dict(self, values):
        """Set several hyperparameters in place and return self, as 2019 research code expects.

        This is the one way to change an HParams: its attributes are read-only.
        """
        if not isinstance(values, dict):
            raise ValueError(f'hyperparameters must be a dict of names and numbers, not {values!r}')
        unknown = sorted(set(values) - set(self.values()))
        if unknown:
            known = ', '.join(self.values())
            raise ValueError(f'unknown hyperparameters {", ".join(unknown)}; known are {known}')
        checked = dataclasses.replace(self, **values)  # raises before anything is changed
        for name, value in checked.values().items():
            object.__setattr__(self, name, value)
        return self


def default_hparams():
    """The 124M model's sizes; n_vocab is left 0 for the model's own hparams.json to set."""
    return HParams()


def read_hparams(path):
    """Read an hparams.json. Raises ValueError, naming the file, when it does not hold a model."""
    try:
        check_is_file(path)
        with open(path, encoding='utf-8') as f:
            hparams = default_hparams().override_from_dict(json.load(f))
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f'cannot read the hyperparameters in {path}: {error}') from error
    if hparams.n_vocab == 0:
        raise ValueError(f'{path} does not say n_vocab')
    return hparams
