"""From the text of a prompt to a request that the engine takes. No TensorFlow."""

import dataclasses
import sys

from support.settings import check_fits, default_length


def given_prompt(prompt, prompt_file):
    """The prompt that flags or a pipe give, or None if there is a terminal to ask at."""
    if prompt is not None:
        return prompt
    if prompt_file is None and sys.stdin.isatty():
        return None
    try:
        if prompt_file is None:
            text = sys.stdin.read().removeprefix('\ufeff')  # as of files
        else:
            with open(prompt_file, encoding='utf-8-sig') as f:  # Windows editors add a mark
                text = f.read()
    except UnicodeDecodeError as error:
        source = 'standard input' if prompt_file is None else prompt_file
        raise ValueError(f'{source} is not UTF-8 text: {error}') from error
    return text.removesuffix('\n')


def request(text, encoder, n_ctx, settings, any_length=False):
    """The tokens of a prompt and the settings for it; ValueError if it is empty or does not fit.

    any_length: the user asks for no length, so it is half the context or the room left.
    """
    tokens = encoder.encode(text)
    if not tokens:
        raise ValueError('Prompt should not be empty!')
    if any_length:
        settings = dataclasses.replace(settings, length=default_length(len(tokens), n_ctx))
    check_fits(len(tokens), settings.length, n_ctx)
    return tokens, settings
