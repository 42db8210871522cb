"""Prompts that fit into the context, with room for what is generated. No TensorFlow."""

from evaluation.generating import Prompt


def room_for(choices, n_ctx):
    """The most tokens of a prompt; ValueError if what is generated leaves none."""
    room = n_ctx - choices['length']
    if room < 1:
        raise ValueError(
            f'length={choices["length"]} leaves no room for a prompt in a context of {n_ctx} tokens'
        )
    return room


def start_of(choices, encoder):
    """The tokens before the text of a prompt: <|endoftext|>, if the choices say so."""
    return [encoder.end_of_text] if choices['end_of_text_first'] else []


def fitted(id, tokens, room, shared=0):
    """The Prompt of the last `room` tokens.

    shared: so many first tokens are read for the prompts before it too; of a cut prompt none are.
    """
    lost = max(len(tokens) - room, 0)
    return Prompt(id, tokens[lost:], 0 if lost else shared, lost)
