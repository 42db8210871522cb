"""How to sample: the knobs a user turns, checked before anything expensive starts."""

import dataclasses
import math
import numbers
import secrets

DTYPES = ('float32', 'bfloat16', 'int8')  # that models can run in (matrices.py)
MAX_TEMPERATURE = 1e30  # far beyond any use, and safely a float32


@dataclasses.dataclass(frozen=True)
class Settings:
    """One request's sampling settings; what cannot be meant is refused with a ValueError.

    length: new tokens for each sample, at least 1.
    temperature: divides the logits; 0 takes the likeliest token each time.
    top_k: samples among the k likeliest tokens; 0 truncates nothing.
    top_p: samples from the smallest set of tokens whose probability reaches p (nucleus sampling,
        Holtzman et al. 2019, section 3.1); 1 truncates nothing.
    seed: the same seed gives the same samples; None draws one.
    stop_at_end: a sample ends with the first <|endoftext|> it produces.
    """

    length: int
    temperature: float = 1
    top_k: int = 0
    top_p: float = 1
    seed: int | None = None
    stop_at_end: bool = False

    def __post_init__(self):
        if self.seed is None:
            object.__setattr__(self, 'seed', secrets.randbits(32))
        check_whole('length', self.length, least=1)
        check_whole('top_k', self.top_k, least=0, remark='0 truncates nothing')
        check_whole('seed', self.seed, least=0, below=2**63)
        if not is_number(self.temperature) or not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise ValueError(
                f'temperature must be a number from 0 to {MAX_TEMPERATURE:g}, '
                f'not {self.temperature!r}'
            )
        if not is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(
                f'top_p must be above 0 and at most 1 (1 truncates nothing), not {self.top_p!r}'
            )
        if not isinstance(self.stop_at_end, bool):
            raise ValueError(f'stop_at_end must be True or False, not {self.stop_at_end!r}')

    def values(self):
        """All settings as a dict."""
        return dataclasses.asdict(self)


def check_dtype(dtype):
    """Raise ValueError unless models can run in it."""
    if dtype not in DTYPES:
        raise ValueError(f'dtype must be one of {", ".join(DTYPES)}, not {dtype!r}')


def check_xla(xla):
    """Raise ValueError unless it says whether to compile, or leaves that open."""
    if xla is not None and not isinstance(xla, bool):
        raise ValueError(f'xla must be True or False, not {xla!r}')


def is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_whole(name, value, least, below=math.inf, remark=None):
    """Raise ValueError unless `value` is an integer with least <= value < below."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value < below:
        limit = '' if below == math.inf else f' and below {below}'
        remark = f' ({remark})' if remark else ''
        raise ValueError(
            f'{name} must be a whole number of at least {least}{limit}{remark}, not {value!r}'
        )


def check_fits(n_prompt, length, n_ctx):
    """Raise ValueError unless a prompt and what follows it fit the model's context.

    n_prompt, length, n_ctx: tokens. The last token sampled is never fed back, hence the + 1.
    """
    if n_prompt < 1:
        raise ValueError('the prompt is empty: it must hold at least one token')
    if n_prompt + length > n_ctx + 1:
        room = n_ctx + 1 - n_prompt
        fit = f'at most {room} new tokens fit' if room > 0 else f'at most {n_ctx} prompt tokens fit'
        raise ValueError(
            f'a prompt of {n_prompt} tokens and {length} new ones exceed the context of '
            f'{n_ctx} tokens: {fit}'
        )


def default_length(n_prompt, n_ctx):
    """New tokens when the user asks for no number: half the context, as in 2019, or what is left.

    Raises ValueError when the prompt leaves no room at all.
    """
    check_fits(n_prompt, 1, n_ctx)
    return min(max(n_ctx // 2, 1), n_ctx + 1 - n_prompt)
