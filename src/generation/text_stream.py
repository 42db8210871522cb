"""The text of a sample, piece by piece as its tokens come. No TensorFlow."""

import codecs


def before_end(tokens, end_token):
    """Tokens as far as the end token, which is none of them; None: there is no end token."""
    return tokens[: tokens.index(end_token)] if end_token in tokens else tokens


class TextStream:
    """Turns tokens into text that can be shown at once, until the text ends.

    A text ends before <|endoftext|>, if stop_at_end says so, and before the first stop string to be
    complete. Pieces never hold half a character, nor the beginning of a stop string: these wait for
    what comes next. How many tokens come at a time changes nothing but where pieces are cut.

    encoder: encoder.Encoder.  stops: texts that end the text; empty ones are ignored.
    text: all that the tokens have given, with a stop string if one has come.
    ended: whether the text has ended; tokens that come later are ignored.
    """

    def __init__(self, encoder, stops=(), stop_at_end=False):
        self.encoder = encoder
        self.stops = [stop for stop in stops if stop]
        self.end_token = encoder.end_of_text if stop_at_end else None
        self.utf8 = codecs.getincrementaldecoder('utf-8')(errors='replace')
        self.text, self.ended = '', False
        self.n_shown = 0  # characters that have been returned
        self.n_certain = 0  # characters that no later token can make a part of a stop string

    def add(self, tokens):
        """The text that is certain with these tokens, a list of ids, and was not before."""
        known = before_end(tokens, self.end_token)
        for token in known:
            self._extend(self.encoder.decode_bytes([token]))
        return self.finish() if len(known) < len(tokens) else self._piece()

    def finish(self):
        """End the text: what waited for more tokens; bytes that are no character are marked."""
        self._extend(b'', final=True)
        if not self.ended:
            self.ended, self.n_certain = True, len(self.text)
        return self._piece()

    def _extend(self, data, final=False):
        if self.ended:
            return
        self.text += self.utf8.decode(data, final)
        begins = [self.text.find(stop, self.n_certain) for stop in self.stops]
        begins = [begin for begin in begins if begin >= 0]
        self.ended = bool(begins)
        self.n_certain = min(begins) if begins else len(self.text) - self._n_waiting()

    def _n_waiting(self):
        """How many of the last characters may be the beginning of a stop string."""
        longest = max(map(len, self.stops), default=1) - 1
        lengths = range(min(longest, len(self.text)), 0, -1)
        begins = (n for n in lengths if any(s.startswith(self.text[-n:]) for s in self.stops))
        return next(begins, 0)

    def _piece(self):
        piece = self.text[self.n_shown : self.n_certain]
        self.n_shown = self.n_certain
        return piece
