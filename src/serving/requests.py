"""From the body of a request to what is asked: every field is checked, none is ignored.

The functions are pure: bytes in, typed values out, or Refused with the field at fault. No
TensorFlow.
"""

import json
import re
import typing

from encoder import END_OF_TEXT, check_surrogates
from serving.errors import Refused, naming
from support.checks import check_switch, check_whole, is_number
from support.settings import SAMPLING, Settings, check_fits

MOST_LOGPROBS = 20  # OpenAI takes 5
MOST_STOPS = 16  # OpenAI takes 4; tasks of evaluations have more
LONGEST_STOP = 1000  # characters
MOST_BIAS = 100  # of a token's logit, either way
FORBIDDEN = -1e4  # the bias that forbids a token
MOST_PENALTY = 2
TOO_DEEP = 'the body is JSON of too many levels'


class Asked(typing.NamedTuple):
    """A request for completions.

    prompts: lists of token ids; each gets n choices, the best of best_of texts.
    settings: support.settings.Settings of all texts; its length is at least 1.
    max_tokens: 0 asks for the prompt alone, by echo.
    logprobs: how many most likely tokens are to be told of each position; None: nothing is told.
    bias: {token: number} added to logits.
    """

    prompts: list
    settings: Settings
    max_tokens: int
    n: int
    best_of: int
    stream: bool
    include_usage: bool
    logprobs: int | None
    echo: bool
    stops: tuple
    presence_penalty: float
    frequency_penalty: float
    bias: dict
    return_token_ids: bool


def read_object(data, fields):
    """The JSON object of a body, with no other than the named fields; null ones are left out."""
    try:
        found = json.loads(data.decode('utf-8'), parse_constant=no_number)
    except UnicodeDecodeError as error:
        raise Refused(400, f'byte {error.start} of the body is not UTF-8') from None
    except RecursionError:
        raise Refused(400, TOO_DEEP) from None
    except ValueError as error:
        raise Refused(400, f'the body is not JSON: {error}') from None
    if not isinstance(found, dict):
        raise Refused(400, 'the body is not a JSON object')
    for name in found:
        if name not in fields:
            raise Refused(400, f'there is no field {name!r} here', name)
    return {name: value for name, value in found.items() if value is not None}


def no_number(name):
    raise ValueError(f'{name} is no number of JSON')


def read_text(data, name, *more):
    """The text of a body whose one field is `name`; more: fields that it may have beside it."""
    text = read_object(data, (name, *more)).get(name)
    if not isinstance(text, str):
        raise Refused(400, f'{name} must be a text, not {kind_of(text)}', name)
    with naming(name):
        check_surrogates(text)
    return text


def read_tokens(data, encoder):
    """The token ids of a body {"tokens": [...]}."""
    tokens = read_object(data, ('tokens', 'model')).get('tokens')
    if not isinstance(tokens, list):
        raise Refused(400, f'tokens must be a list of token ids, not {kind_of(tokens)}', 'tokens')
    check_ids(tokens, encoder, 'tokens')
    return tokens


def read_completion(data, model, encoder, n_ctx, most_texts):
    """What the body of /v1/completions asks for: Asked.

    model: the name of the one that there is.
    n_ctx: of the model.
    most_texts: that one request may have.
    """
    fields = read_object(data, FIELDS)
    check_model(fields.get('model'), model)
    if 'suffix' in fields:
        raise Refused(400, 'GPT-2 continues texts and fills no gaps: leave out suffix', 'suffix')
    if not isinstance(fields.get('user', ''), str):
        raise Refused(400, f'user must be a text, not {kind_of(fields["user"])}', 'user')
    stream = switch(fields, 'stream')
    echo = switch(fields, 'echo')
    max_tokens = whole(fields, 'max_tokens', 16)
    if max_tokens == 0 and not echo:
        raise Refused(400, 'max_tokens 0 asks for nothing unless echo is true', 'max_tokens')
    n, best_of = choices_of(fields, stream, most_texts)
    asked = Asked(
        prompts=prompts_of(fields.get('prompt', ''), encoder, n_ctx, max_tokens),
        settings=settings_of(fields, max_tokens, encoder),
        max_tokens=max_tokens,
        n=n,
        best_of=best_of,
        stream=stream,
        include_usage=include_usage(fields, stream),
        logprobs=whole(fields, 'logprobs', None, below=MOST_LOGPROBS + 1),
        echo=echo,
        stops=stops_of(fields.get('stop', [])),
        presence_penalty=penalty(fields, 'presence_penalty'),
        frequency_penalty=penalty(fields, 'frequency_penalty'),
        bias=bias_of(fields.get('logit_bias', {}), encoder),
        return_token_ids=switch(fields, 'return_token_ids'),
    )
    n_texts = len(asked.prompts) * best_of
    if n_texts > most_texts:
        param = 'n' if len(asked.prompts) <= most_texts else 'prompt'
        message = f'a request may ask for {most_texts} texts, not {n_texts}'
        raise Refused(400, message, param)
    return asked


FIELDS = (
    *('model', 'prompt', 'suffix', 'user', 'max_tokens', 'n', 'best_of', 'stream'),
    *('stream_options', 'logprobs', 'echo', 'stop', 'seed', 'presence_penalty'),
    *('frequency_penalty', 'logit_bias', 'return_token_ids', *SAMPLING),
)


def check_model(asked, model):
    if asked is not None and asked != model:
        message = f'there is no model {asked!r} here, only {model!r}'
        raise Refused(404, message, 'model', 'model_not_found')


def switch(fields, name):
    with naming(name):
        check_switch(name, fields.get(name, False))
    return fields.get(name, False)


def whole(fields, name, default, least=0, **more):
    """A field that is a whole number, or its default where there is none."""
    if name not in fields:
        return default
    with naming(name):
        check_whole(name, fields[name], least, **more)
    return fields[name]


def choices_of(fields, stream, most_texts):
    """n and best_of."""
    n = whole(fields, 'n', 1, least=1, below=most_texts + 1)
    best_of = whole(fields, 'best_of', n, least=1, below=most_texts + 1)
    if best_of < n:
        raise Refused(400, f'best_of must be at least n, which is {n}, not {best_of}', 'best_of')
    if stream and best_of > n:
        raise Refused(
            400, 'which text is the best shows at the end: no best_of in a stream', 'best_of'
        )
    return n, best_of


def include_usage(fields, stream):
    options = fields.get('stream_options')
    if options is None:
        return False
    if not stream:
        raise Refused(400, 'stream_options are for streams: set stream', 'stream_options')
    if not isinstance(options, dict) or set(options) - {'include_usage'}:
        message = 'stream_options must be an object whose one field is include_usage'
        raise Refused(400, message, 'stream_options')
    return switch({k: v for k, v in options.items() if v is not None}, 'include_usage')


def settings_of(fields, max_tokens, encoder):
    """The sampling parameters; errors name the field at fault."""
    given = {name: fields[name] for name in SAMPLING if name in fields}
    for name, value in given.items():
        with naming(name):
            SAMPLING[name].metadata['check'](name, value)
    # What truncates nothing in the vocabulary fits into an int32 there.
    given['top_k'] = min(given.get('top_k', 0), encoder.n_vocab)
    seed = whole(fields, 'seed', None, below=2**63)
    return Settings(length=max(max_tokens, 1), seed=seed, stop_at_end=True, **given)


def prompts_of(value, encoder, n_ctx, max_tokens):
    """The prompts, lists of token ids: of a text, texts, a list of ids, or lists of ids."""
    if isinstance(value, str):
        prompts = [value]
    elif not isinstance(value, list) or not value:
        message = 'prompt must be a text, a list of texts, of token ids, or of lists of these'
        raise Refused(400, f'{message}, not {kind_of(value)}', 'prompt')
    else:
        prompts = [value] if type(value[0]) is int else value
    tokens = [tokens_of(prompt, encoder) for prompt in prompts]
    with naming('prompt'):
        for prompt in tokens:
            # What max_tokens 0 asks for is read, unlike the last token that is written.
            check_fits(len(prompt), max(max_tokens, 1), n_ctx)
    return tokens


def tokens_of(prompt, encoder):
    """The token ids of a prompt: a text, or ids. An empty text is <|endoftext|>, as with OpenAI."""
    if isinstance(prompt, str):
        with naming('prompt'):
            return encoder.encode(prompt or END_OF_TEXT, allowed_special={END_OF_TEXT})
    if not isinstance(prompt, list):
        raise Refused(400, f'a prompt is a text or token ids, not {kind_of(prompt)}', 'prompt')
    check_ids(prompt, encoder, 'prompt')
    return prompt


def check_ids(tokens, encoder, param):
    for token in tokens:
        if type(token) is not int:
            raise Refused(400, f'{param} holds {kind_of(token)} where a token id stands', param)
        if token not in encoder.decoder:
            message = f'token id {token} is not in the vocabulary (ids 0 to {encoder.n_vocab - 1})'
            raise Refused(400, message, param)


def stops_of(value):
    """The stop strings, a tuple."""
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise Refused(400, f'stop must be a text or a list of up to {MOST_STOPS} texts', 'stop')
    if len(stops) > MOST_STOPS:
        raise Refused(400, f'stop may hold {MOST_STOPS} texts, not {len(stops)}', 'stop')
    if not all(0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise Refused(400, f'a stop string has 1 to {LONGEST_STOP} characters', 'stop')
    with naming('stop'):
        for stop in stops:
            check_surrogates(stop)
    return tuple(stops)


def penalty(fields, name):
    return number(fields.get(name, 0), name, MOST_PENALTY)


def number(value, name, most):
    """A number from -most to most."""
    if not is_number(value) or not -most <= value <= most:
        raise Refused(400, f'{name} must be a number from {-most} to {most}, not {value!r}', name)
    return float(value)


def bias_of(value, encoder):
    """{token: what is added to its logit} of {"id": -100..100}."""
    if not isinstance(value, dict):
        message = f'logit_bias must be an object of token ids, not {kind_of(value)}'
        raise Refused(400, message, 'logit_bias')
    bias = {}
    for key, given in value.items():
        token = int(key) if re.fullmatch('[0-9]{1,9}', key) else key
        if token not in encoder.decoder:
            message = f'logit_bias: {key!r} is no token id of the vocabulary'
            raise Refused(400, message, 'logit_bias')
        added = number(given, 'logit_bias', MOST_BIAS)
        bias[token] = FORBIDDEN if added == -MOST_BIAS else added
    return bias


def kind_of(value):
    """What a value of JSON is, in words."""
    if isinstance(value, list) and not value:
        return 'an empty list'
    kinds = {str: 'a text', bool: 'true or false', int: 'a number', float: 'a number'}
    return (kinds | {list: 'a list', dict: 'an object', type(None): 'nothing'})[type(value)]
