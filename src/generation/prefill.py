"""Which tokens the rows of a running batch hold, and what is read into them next. No TensorFlow.

The token at position p of a row's text is in slot p of its row of the KV cache. What a prompt has
in common with a text that any row holds is copied from there instead of being read: example pairs,
a story, the turns of a conversation before this one.

Two ways to decide whose turn it is:

*Patiently*, where all texts are wanted and none sooner than others. The longest prompts come first
of those that share a beginning, for the others copy it from them; prompts of about one size are
read together.

*Fairly*, where clients wait and texts of others run. A piece or two are read between steps. Every
other piece is for the prompt of which the least is left: a short one waits for a piece or two,
however long the others are. The pieces between are for the one that has waited longest: it gets
half of all reading, whoever else comes, and so none starves.
"""

import typing

import numpy as np

# A prompt waits for another to be read if so many of its tokens can be copied then. To read once
# more takes about as long as that many tokens.
WORTH_WAITING = 64


class Piece(typing.NamedTuple):
    """What is read at a time into J rows, S tokens of each."""

    rows: list  # [J]
    sources: list  # [J], rows that hold what comes before the tokens
    begins: list  # [J], the position of the first token
    tokens: np.ndarray  # int32 [J, S]; those beyond a prompt's end are overwritten before seen


class Held:
    """The tokens that the cache has of each row's text, and the prompts that are not read yet.

    tokens: int32 [B, n_ctx], of which the first lengths [B] are held.
    unread: {row: all that the row is to hold before its first step}, in the order in which they
        came.
    """

    def __init__(self, n_rows, n_ctx):
        self.tokens = np.zeros([n_rows, n_ctx], np.int32)
        self.lengths = np.zeros(n_rows, np.int32)
        self.unread = {}
        self.n_pieces, self.begun = 0, []  # pieces so far; rows that have read a part of a prompt

    def begin(self, row, prompt):
        """Let a row begin with a prompt, of which a step reads the last token."""
        if len(prompt) > 1:
            self.unread[row] = np.asarray(prompt[:-1], np.int32)
        else:
            self.lengths[row] = 0

    def add(self, row, token):
        """A step has read a token."""
        self.tokens[row, self.lengths[row]] = token
        self.lengths[row] += 1

    def limit(self, n_slots, rows=slice(None)):
        """Rows have no more than so many slots any more."""
        np.minimum(self.lengths[rows], n_slots, out=self.lengths[rows])

    def arrange(self, order, n_kept):
        """Let row i be what row order[i] was, and those from n_kept on hold nothing."""
        self.tokens, self.lengths = self.tokens[order], self.lengths[order]
        self.lengths[n_kept:] = 0
        places = {old: new for new, old in enumerate(order)}
        self.unread = {places[row]: prompt for row, prompt in self.unread.items()}

    def slots_needed(self, row):
        """How many slots a row needs to read its prompt and to take a step."""
        return max(int(self.lengths[row]), len(self.unread.get(row, ()))) + 1

    def source(self, prompt):
        """The row that holds the most of a prompt's beginning, and how many tokens of it."""
        width = min(len(prompt), self.tokens.shape[1])
        known = self.tokens[:, :width] == prompt[:width]
        known &= np.arange(width) < self.lengths[:, None]
        lengths = np.where(known.all(axis=1), width, known.argmin(axis=1))
        row = int(lengths.argmax())
        return row, int(lengths[row])

    def next_piece(self, each, total, capacity, patiently=False):
        """The next Piece: up to so many tokens of each prompt, and of all together.

        capacity: slots of the cache.  patiently: see above; otherwise fairly.
        """
        sources = {row: self.source(prompt) for row, prompt in self.unread.items()}
        # A row is copied by reading it, so at least one token is read.
        begins = {row: min(n, len(self.unread[row]) - 1) for row, (_, n) in sources.items()}
        left = {row: len(self.unread[row]) - begin for row, begin in begins.items()}
        # Patiently, who has begun is read to the end: others may copy all of it then.
        ready = [row for row in self.begun if patiently and row in self.unread]
        ready = ready or self._ready(self._order(left, patiently), begins)
        first = min(ready, key=lambda row: magnitude(left[row])) if patiently else ready[0]
        rows, width = self._beside(first, ready, left, each, total)
        self.n_pieces += 1
        tokens = np.zeros([len(rows), width], np.int32)
        begins = [min(begins[row], capacity - width) for row in rows]
        for some, row, begin in zip(tokens, rows, begins, strict=True):
            piece = self.unread[row][begin : begin + width]
            some[: len(piece)] = piece
        return Piece(rows, [sources[row][0] for row in rows], begins, tokens)

    def _order(self, left, patiently):
        """Rows in the order of whose turn it is, {row: tokens left}."""
        if patiently:
            return sorted(left, key=lambda row: len(self.unread[row]), reverse=True)
        return list(left) if self.n_pieces % 2 else sorted(left, key=left.get)

    def _ready(self, order, known):
        """Those that have little in common with others before them that they do not know."""
        ready = []
        for row in order:
            prompt = self.unread[row]
            common = (in_common(self.unread[other], prompt) for other in ready)
            if max(common, default=0) - known[row] < WORTH_WAITING:
                ready.append(row)
        return ready

    def _beside(self, first, ready, left, each, total):
        """The rows that are read together with one of those ready, and how many tokens of each."""
        size = magnitude(left[first])
        others = [row for row in ready if row != first and magnitude(left[row]) == size]
        rows, width = [first], min(left[first], each)
        for row in sorted(others, key=left.get):
            wider = max(width, min(left[row], each))
            if wider * (len(rows) + 1) > total:
                break
            rows.append(row)
            width = wider
        return rows, width

    def take(self, piece):
        """A Piece has been read."""
        for row, begin in zip(piece.rows, piece.begins, strict=True):
            prompt = self.unread[row]
            end = min(begin + piece.tokens.shape[1], len(prompt))
            self.tokens[row, :end], self.lengths[row] = prompt[:end], end
            if end == len(prompt):
                del self.unread[row]
        self.begun = [row for row in piece.rows if row in self.unread]


def magnitude(n):
    """Numbers of tokens that take about as long to read have the same."""
    return max(n, WORTH_WAITING).bit_length()


def in_common(a, b):
    """How many first tokens of two arrays are equal."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n
