"""How to sample: what a request asks for, checked before anything expensive starts.

Sampling parameters are declared here once, in `Settings`. From that come the engine's placeholders
and feeds, the arguments of `sample.sample_sequence`, the flags of both scripts with their help, the
words that lm_eval_model.py knows, and what a record of a sample says. A new one takes a field here
and a line in `sample.next_token`.
"""

import dataclasses
import inspect
import re
import secrets
import textwrap

from support.checks import check_switch, check_whole, is_number

LARGEST = 1e30  # of any number: far beyond any use, and safely a float32


def whole_number(name, value):
    check_whole(name, value, least=0, remark='0 truncates nothing')


def from_0(name, value):
    if not is_number(value) or not 0 <= value <= LARGEST:
        raise ValueError(
            f'{name} must be a number from 0 (always the most likely token) to {LARGEST:g} '
            f'(1 changes nothing), not {value!r}'
        )


def positive(name, value):
    if not is_number(value) or not 1 / LARGEST <= value <= LARGEST:
        raise ValueError(
            f'{name} must be a number from {1 / LARGEST:g} to {LARGEST:g} (1 changes nothing), '
            f'not {value!r}'
        )


def from_0_to_1(name, value):
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f'{name} must be from 0 (truncates nothing) to 1, not {value!r}')


def above_0_to_1(name, value):
    if not is_number(value) or not 0 < value <= 1:
        raise ValueError(
            f'{name} must be above 0 and at most 1, not {value!r} (1 truncates nothing: pass it '
            'where other code passes 0 for that)'
        )


def parameter(default, check, text, dtype='float32'):
    """A sampling parameter: its default, its check (name, value), its help, its tensor's dtype."""
    return dataclasses.field(
        default=default, metadata={'check': check, 'help': text, 'dtype': dtype}
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """One request's sampling settings; what cannot be meant is refused with a ValueError.

    length: new tokens for each sample, at least 1.
    <sampling parameters>
    seed: the same seed gives the same samples; None draws one.
    stop_at_end: a sample ends with the first <|endoftext|> it produces.
    """

    length: int
    temperature: float = parameter(
        1, from_0, 'divides the logits: lower is less random, 0 always takes the most likely token'
    )
    top_k: int = parameter(
        0,
        whole_number,
        'sample among the k most likely tokens only; 0 does not restrict, 40 is a good value',
        dtype='int32',
    )
    top_p: float = parameter(
        1,
        above_0_to_1,
        'sample from the fewest tokens that hold this probability (nucleus sampling, Holtzman et '
        'al. 2019, section 3.1); 1 does not restrict',
    )
    seed: int | None = None
    stop_at_end: bool = False
    min_p: float = parameter(
        0,
        from_0_to_1,
        'sample from tokens at least this many times as likely as the most likely one (Nguyen et '
        'al. 2024); 0 does not restrict, 0.05 is a good value',
    )
    typical_p: float = parameter(
        1,
        above_0_to_1,
        'sample from the tokens whose surprisal is nearest to the expected one, until they hold '
        'this probability (Meister et al. 2022); 1 does not restrict',
    )
    repetition_penalty: float = parameter(
        1,
        positive,
        'make tokens of the prompt and the sample less likely: divides their positive logits and '
        'multiplies their negative ones (Keskar et al. 2019, section 4.1); 1 changes nothing',
    )

    def __post_init__(self):
        if self.seed is None:
            object.__setattr__(self, 'seed', secrets.randbits(32))
        check_whole('length', self.length, least=1)
        check_whole('seed', self.seed, least=0, below=2**63)
        for name, field in SAMPLING.items():
            field.metadata['check'](name, getattr(self, name))
        check_switch('stop_at_end', self.stop_at_end)

    def sampling(self):
        """The sampling parameters as a dict."""
        return {name: getattr(self, name) for name in SAMPLING}

    def values(self):
        """All settings as a dict."""
        return dataclasses.asdict(self)


SAMPLING = {f.name: f for f in dataclasses.fields(Settings) if 'check' in f.metadata}
DEFAULTS = {name: field.default for name, field in SAMPLING.items()}


def takes_sampling_parameters(function):
    """Make a function that ends in `**more` take all sampling parameters in its place, by name.

    Its signature shows those that it does not name itself, so that they are flags of a script, and
    its docstring gets their help in the place of the line `<sampling parameters>`.
    """
    signature = inspect.signature(function)
    *named, _ = signature.parameters.values()
    missing = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
        )
        for name, f in SAMPLING.items()
        if name not in signature.parameters
    ]
    function.__signature__ = signature.replace(parameters=named + missing)
    return with_sampling_help(function)


def with_sampling_help(documented):
    """Put the help of all sampling parameters where a docstring says `<sampling parameters>`."""
    helps = {name: field.metadata['help'] for name, field in SAMPLING.items()}
    return with_help(documented, 'sampling parameters', helps)


def with_help(documented, marker, helps):
    """Put the help of parameters, {name: text}, where a docstring has a line `<marker>`."""

    def lines(found):
        indent = found[1]
        return '\n'.join(
            textwrap.fill(
                f'{name}: {text}', 100, initial_indent=indent, subsequent_indent=indent + '    '
            )
            for name, text in helps.items()
        )

    if documented.__doc__:  # python -OO leaves none
        documented.__doc__ = re.sub(
            f'^( *)<{marker}>$', lines, documented.__doc__, flags=re.MULTILINE
        )
    return documented


with_sampling_help(Settings)


def check_xla(xla):
    """Raise ValueError unless it says whether to compile, or leaves that open."""
    if xla is not None:
        check_switch('xla', xla)


def check_fits(n_prompt, length, n_ctx):
    """Raise ValueError unless a prompt and what follows it fit the model's context.

    n_prompt, length, n_ctx: tokens. The last token sampled is never fed back, hence the + 1.
    """
    if n_prompt < 1:
        raise ValueError('the prompt is empty: it must hold at least one token')
    if n_prompt + length > n_ctx + 1:
        room = n_ctx + 1 - n_prompt
        fit = f'at most {room} new tokens fit'
        if room <= 0:
            fit = f'at most {n_ctx + 1 - min(length, n_ctx)} prompt tokens fit'
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
