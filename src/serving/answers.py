r"""From tokens to what is told of them: text, log-probabilities, OpenAI's objects. No TensorFlow.

A token's text_offset is the number of characters that the tokens before it make, the prompt's
first: the same streamed or not, with echo or without. Of an emoji of three tokens all three have
the offset of the emoji. A token that is no whole character alone is written "bytes:\xf0\x9f".
"""

import codecs
import secrets
import time
import typing

from generation.text_stream import TextStream


class Told(typing.NamedTuple):
    """A token as it is told of.

    logprob, top: None for the first token of a prompt; top is [(token, logprob)], best first.
    offset: of its first character, from the prompt's start.
    """

    token: int
    logprob: float | None
    top: list | None
    offset: int


class Piece(typing.NamedTuple):
    """What is new of a choice."""

    text: str
    told: list = []  # of Told, whose characters begin in the text
    finish_reason: str | None = None


class Text:
    """The text of a choice, whose tokens come one at a time.

    prompt: token ids. The bytes of a character that they begin belong to the text.
    tells_end: whether an end token is told of, though it adds nothing to the text.
    logprobs: of all tokens that came, to find the best text; also of the end token.
    n_tokens: that came, without the end token.
    """

    def __init__(self, encoder, prompt, stops, tells_end=False):
        self.encoder, self.tells_end = encoder, tells_end
        self.stream = TextStream(encoder, stops)
        self.start = len(self.stream.utf8.decode(encoder.decode_bytes(prompt)))
        self.waiting, self.logprobs, self.n_tokens = [], [], 0

    def add(self, new):
        """The Piece that is certain with a token, generation.continuous.New, and was not before."""
        self.logprobs.append(new.logprob)
        text = ''
        if new.end != 'end':
            offset = self.start + n_before(
                self.stream.utf8, self.stream.text, self.encoder, new.token
            )
            self.waiting.append(Told(new.token, new.logprob, new.top, offset))
            self.n_tokens += 1
            text = self.stream.add([new.token])
        if new.end:
            text += self.stream.finish()
        # Tokens are told of with their first character: those after a stop string never are.
        shown = self.start + self.stream.n_shown
        told = [one for one in self.waiting if one.offset < shown]
        self.waiting = [one for one in self.waiting if one.offset >= shown]
        if self.tells_end and new.end == 'end':
            told.append(Told(new.token, new.logprob, new.top, shown))
        reason = new.end and ('length' if new.end == 'length' else 'stop')
        return Piece(text, told, reason)

    @property
    def mean_logprob(self):
        return sum(self.logprobs) / len(self.logprobs)


def prompt_piece(encoder, prompt, logprobs=None, tops=None):
    """A prompt as a Piece, for echo; logprobs, tops: of each token, the first ones None."""
    utf8 = codecs.getincrementaldecoder('utf-8')(errors='replace')
    text, told = '', []
    nothing = [None] * len(prompt)
    for token, logprob, top in zip(prompt, logprobs or nothing, tops or nothing, strict=True):
        told.append(Told(token, logprob, top, n_before(utf8, text, encoder, token)))
        text += utf8.decode(encoder.decode_bytes([token]))
    return Piece(text, told)


def n_before(utf8, text, encoder, token):
    """How many characters come before a token: those of a text, and one that it leaves unfinished.

    utf8: the incremental decoder that has made the text, which holds the bytes of a character that
        has begun; unless the token goes on with it they become one, U+FFFD.
    """
    begun, _ = utf8.getstate()
    goes_on = all(byte & 0xC0 == 0x80 for byte in encoder.decode_bytes([token])[:1])
    return len(text) + (bool(begun) and not goes_on)


def joined(pieces):
    """Several pieces of one choice as one."""
    told = [one for piece in pieces for one in piece.told]
    reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
    return Piece(''.join(piece.text for piece in pieces), told, *reasons)


def choice_of(index, piece, asked, encoder, prompt=None):
    """OpenAI's object of a choice, or of a piece of it.

    prompt: its token ids, where they are to be told of.
    """
    choice = {'index': index, 'text': piece.text, 'finish_reason': piece.finish_reason}
    choice['logprobs'] = None
    if asked.logprobs is not None:
        choice['logprobs'] = logprobs_of(piece.told, asked, encoder)
    if asked.return_token_ids:
        choice['token_ids'] = [one.token for one in piece.told]
        if prompt is not None:
            choice['prompt_token_ids'] = prompt
    return choice


def logprobs_of(told, asked, encoder):
    """OpenAI's object of log-probabilities, in nats; with return_token_ids also top_ids."""

    def named(one):
        """The most likely tokens, and the token itself, by their texts."""
        pairs = [*one.top[: asked.logprobs], (one.token, one.logprob)]
        return {token_text(encoder, token): logprob for token, logprob in pairs}

    def listed(one):
        top = one.top[: asked.logprobs]
        return [[token, logprob, token_text(encoder, token)] for token, logprob in top]

    logprobs = {
        'tokens': [token_text(encoder, one.token) for one in told],
        'token_logprobs': [one.logprob for one in told],
        'top_logprobs': [None if one.top is None else named(one) for one in told],
        'text_offset': [one.offset for one in told],
    }
    if asked.return_token_ids:
        logprobs['top_ids'] = [None if one.top is None else listed(one) for one in told]
    return logprobs


def token_text(encoder, token):
    """A token as OpenAI writes it: its text, or its bytes if they are no whole characters."""
    data = encoder.decode_bytes([token])
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError:
        return 'bytes:' + ''.join(f'\\x{byte:02x}' for byte in data)


class Answer:
    """What the objects of one answer have in common, whole or in chunks.

    tells_usage: whether chunks have a field for it.
    """

    def __init__(self, model, seed, tells_usage=False):
        self.common = {
            'id': f'cmpl-{secrets.token_hex(12)}',
            'object': 'text_completion',
            'created': int(time.time()),
            'model': model,
        }
        self.seed, self.tells_usage = seed, tells_usage

    def whole(self, choices, usage):
        return self.common | {'choices': choices, 'usage': usage, 'seed': self.seed}

    def chunk(self, choices, usage=None):
        """A chunk of a stream; all but the last one have no usage: null where it is asked for."""
        chunk = self.common | {'choices': choices, 'seed': self.seed}
        return chunk | {'usage': usage} if self.tells_usage else chunk


def usage_of(asked, texts):
    """How many tokens were read and written; texts: all of them, those not chosen too."""
    n_prompt, n_new = sum(map(len, asked.prompts)), sum(text.n_tokens for text in texts)
    return {
        'prompt_tokens': n_prompt,
        'completion_tokens': n_new,
        'total_tokens': n_prompt + n_new,
    }


def best(texts, n):
    """The numbers of the n texts of the highest mean log-probability, best first."""
    order = sorted(range(len(texts)), key=lambda number: -texts[number].mean_logprob)
    return order[:n]
