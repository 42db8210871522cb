"""From the text of a prompt to a request that the engine takes. No TensorFlow."""

import dataclasses
import os
import sys

from support.settings import check_fits, default_length

LONGEST = 2**26  # characters, far more than any context holds: a device may go on for ever


def given_prompt(prompt, prompt_file):
    """The prompt that flags or a pipe give, or None if there is a terminal to ask at."""
    if prompt is None and prompt_file is None and sys.stdin.isatty():
        return None
    source = '--prompt' if prompt is not None else prompt_file or 'standard input'
    try:
        if prompt is not None:
            return as_typed(prompt)
        if prompt_file is None:
            text = sys.stdin.read(LONGEST).removeprefix('\ufeff')  # as of files
        else:
            with open(prompt_file, encoding='utf-8-sig') as f:  # Windows editors add a mark
                text = f.read(LONGEST)
    except UnicodeError as error:
        raise ValueError(f'{source} is not UTF-8 text: {error}') from error
    if len(text) == LONGEST:
        raise ValueError(f'{source} is too long for a prompt: it has {LONGEST} characters or more')
    return text.removesuffix('\n')


def as_typed(text):
    """The text of a flag. Bytes that the locale cannot read reach Python as lone surrogates."""
    try:
        text.encode('utf-8')
    except UnicodeEncodeError:
        return os.fsencode(text).decode('utf-8')
    return text


def request(text, encoder, n_ctx, settings, any_length=False, keep_end=False):
    """The tokens of a prompt and the settings for it; ValueError if it is empty or does not fit.

    any_length: the user asks for no length, so it is half the context or the room left.
    keep_end: of a prompt that leaves no room for the length, or for half the context if it may be
      any, take the last tokens, and say so on standard error.
    """
    tokens = encoder.encode(text)
    if not tokens:
        raise ValueError('Prompt should not be empty!')
    if keep_end:
        length = default_length(1, n_ctx) if any_length else settings.length
        tokens = end_of(tokens, n_ctx + 1 - length)  # the last token is never fed back
    try:
        if any_length:
            settings = dataclasses.replace(settings, length=default_length(len(tokens), n_ctx))
        check_fits(len(tokens), settings.length, n_ctx)
    except ValueError as error:
        raise ValueError(f'{error} (--keep_end takes the end of a prompt)') from None
    return tokens, settings


def end_of(tokens, n):
    """The last n tokens of a prompt, with a note on standard error if it has more."""
    if len(tokens) > n:
        print(f'note: of {len(tokens)} prompt tokens the last {n} are used', file=sys.stderr)
    return tokens[-n:]
