"""Byte-level byte-pair encoding: text to token ids and back, with the ids of the 2019 release.

A text is split into words (SPLIT), the bytes of a word are written as printable characters, and
inside each word the neighbouring pair that comes first in the list of merges is joined, again and
again, until no listed pair is left (Sennrich et al. 2016; Radford et al. 2019, section 2.2).

`Encoder` does this in plain Python. Where it is proven to give the same ids, tiktoken does the
same work faster: see `Encoder.fast_path`.
"""

import functools
import hashlib
import heapq
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

from support.files import check_is_file

END_OF_TEXT = '<|endoftext|>'
# The digest of GPT-2's merges, one a line.
RELEASED_MERGES_SHA256 = '04e3597d7996f292ca9b8b7285ca4d58a6ae171ac47d73fc7140ceb0c7a6bbc0'

CHUNK_CHARACTERS = 2**18  # a long text is encoded in pieces of about this size
CACHED_WORDS = 2**16  # the readable path keeps the ids of so many words
CACHED_WORD_CHARACTERS = 64  # longer words are not cached: they rarely come again


def word_pattern():
    r"""Return the pattern that splits a text into words, and its class of whitespace.

    It splits exactly as the pattern of 2019 does,
    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    with \p{L}, \p{N} and \s spelled out as in Unicode 9.0, which that release used: the package
    `regex` of 2026 puts 42,161 characters into other classes, so ids would depend on the installed
    library. With the classes spelled out `regex` splits at a sixth of the speed of `re` or less
    (Moby Dick at 1.5 million characters a second for 9.3, Chinese at 0.75 for 12.6).
    The group lets tiktoken's engine try all that it holds in one pass; the branch that ends in $
    spares it from backtracking over a long run at the end of a text.
    """
    path = os.path.join(os.path.dirname(__file__), 'unicode_9_classes.json')
    with open(path, encoding='utf-8') as file:
        classes = json.load(file)
    letter, number, space = (
        ''.join('-'.join(chr(int(end, 16)) for end in span.split('-')) for span in spans.split())
        for spans in (classes['letter'], classes['number'], classes['space'])
    )
    pattern = (
        rf"(?:'(?:[stmd]|re|ve|ll)| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
        rf'|[{space}]+$)|[{space}]+(?![^{space}])|[{space}]'
    )
    return pattern, space


PATTERN, SPACE = word_pattern()
SPLIT = re.compile(PATTERN)
BOUNDARY = re.compile(f'[{SPACE}][^{SPACE}]')


def bytes_to_unicode():
    """Map each of the 256 bytes to a printable character, so that tokens can be written as text.

    Bytes that are printable in Latin-1 keep their character; the other 68, among them the space,
    take the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}


class Encoder:
    """A byte-pair vocabulary: text to token ids and back.

    encoder: dict of token (str, in the alphabet of `bytes_to_unicode`) to id. Entries that are
      neither single bytes nor results of merges are special tokens, written as plain text.
    bpe_merges: list of (str, str), first merges first.
    errors: what decoding does with bytes that are not UTF-8, as in bytes.decode.
    Raises ValueError where the two do not fit together.
    """

    def __init__(self, encoder, bpe_merges, errors='replace'):
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {char: byte for byte, char in self.byte_encoder.items()}
        self.encoder = encoder
        self.special = check_vocabulary(encoder, bpe_merges, alphabet=self.byte_decoder)
        self.decoder = {i: token for token, i in encoder.items()}
        self.errors = errors
        self.bpe_ranks = {tuple(pair): rank for rank, pair in enumerate(bpe_merges)}
        self.cache = {}
        self._bytes_of_id = {
            i: token.encode('utf-8') if token in self.special else self._to_bytes(token)
            for token, i in encoder.items()
        }

    @property
    def n_vocab(self):
        """The number of ids, counting gaps: how many rows an embedding needs."""
        return max(self.decoder) + 1

    @property
    def end_of_text(self):
        """The id of <|endoftext|>, or None in a vocabulary without it."""
        return self.encoder.get(END_OF_TEXT)

    def encode(self, text, allowed_special=frozenset()):
        """Return the token ids of a text, as a list of int.

        allowed_special: names of special tokens to recognise in the text. By default none are:
          '<|endoftext|>' in a text is then ordinary characters, as in 2019.
        Raises ValueError for a name that is no special token here, and for lone surrogates.
        """
        if not isinstance(text, str):
            raise TypeError(f'encode takes a str, not {type(text).__name__}')
        check_surrogates(text)
        if not allowed_special:
            return self._encode_ordinary(text)
        allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
        if unknown := allowed - self.special:
            raise ValueError(
                f'not special tokens of this vocabulary: {", ".join(map(repr, sorted(unknown)))};'
                f' it has {", ".join(map(repr, sorted(self.special))) or "none"}'
            )
        longest_first = sorted(allowed, key=len, reverse=True)
        ids = []
        for n, part in enumerate(re.split(f'({"|".join(map(re.escape, longest_first))})', text)):
            ids += [self.encoder[part]] if n % 2 else self._encode_ordinary(part)
        return ids

    def encode_batch(self, texts, allowed_special=frozenset()):
        """Return a list of ids for each text, as `encode` does, using all cores."""
        texts = list(texts)
        n_threads = min(len(texts), os.cpu_count() or 1)
        rows = [None] * len(texts)
        self.encode('', allowed_special)  # builds the fast path once, before the threads need it

        def encode_every_nth(first):
            return [self.encode(text, allowed_special) for text in texts[first::n_threads]]

        with ThreadPoolExecutor(max(n_threads, 1)) as pool:
            for first, part in enumerate(pool.map(encode_every_nth, range(n_threads))):
                rows[first::n_threads] = part
        return rows

    def decode(self, ids):
        """Return the text of token ids; bytes that are not UTF-8 become U+FFFD by default."""
        return self.decode_bytes(ids).decode('utf-8', errors=self.errors)

    def decode_bytes(self, ids):
        """Return the bytes of token ids; a token may end inside a character.

        ids: iterable of int, or an integer array of one dimension.
        Raises ValueError naming an id that is not in the vocabulary.
        """
        ids = ids.tolist() if hasattr(ids, 'tolist') else ids
        try:
            return b''.join([self._bytes_of_id[i] for i in ids])
        except KeyError as error:
            raise ValueError(
                f'token id {error.args[0]} is not in the vocabulary'
                f' (ids 0 to {self.n_vocab - 1}, {len(self.decoder)} tokens)'
            ) from None

    def bpe(self, token):
        """Return the symbols that a word becomes, joined by spaces, as in 2019.

        token: str in the alphabet of `bytes_to_unicode`.
        """
        return ' '.join(self._merge(token))

    def _merge(self, word):
        """Join pairs in the order of the merges; word is a str, the result a list of str.

        In each round the listed pair of lowest rank is joined wherever it occurs, left to right.
        The symbols form a linked list and each pair knows its places, so that a word of n symbols
        takes O(n log n) steps: a joined symbol stays in the place of its left part.
        """
        symbols = list(word)
        before = list(range(-1, len(symbols) - 1))
        after = list(range(1, len(symbols) + 1))
        places = {}  # pair: the places where it was seen; some may be gone by the time it is joined
        queue = []  # (rank, pair) of the pairs in `places`

        def see(left, right):
            if left < 0 or right == len(symbols):
                return
            pair = symbols[left], symbols[right]
            if pair in places:
                places[pair].append(left)
            elif pair in self.bpe_ranks:
                places[pair] = [left]
                heapq.heappush(queue, (self.bpe_ranks[pair], pair))

        for right in range(1, len(symbols)):
            see(right - 1, right)
        while queue:
            _, pair = heapq.heappop(queue)
            for left in sorted(places.pop(pair)):
                right = after[left]
                if right == len(symbols) or (symbols[left], symbols[right]) != pair:
                    continue
                symbols[left], symbols[right] = symbols[left] + symbols[right], None
                after[left] = after[right]
                if after[right] < len(symbols):
                    before[after[right]] = left
                see(before[left], left)
                see(left, after[left])
        return [symbol for symbol in symbols if symbol is not None]

    def _encode_ordinary(self, text):
        encode_chunk = self.fast_path or self._encode_readably
        ids = []
        for chunk in chunks(text):
            ids += encode_chunk(chunk)
        return ids

    def _encode_readably(self, text):
        ids = []
        for word in SPLIT.findall(text):
            ids += self.cache.get(word) or self._encode_word(word)
        return ids

    def _encode_word(self, word):
        symbols = word.encode('utf-8').decode('latin-1').translate(self.byte_encoder)
        ids = [self.encoder[token] for token in self._merge(symbols)]
        if len(word) <= CACHED_WORD_CHARACTERS:
            if len(self.cache) >= CACHED_WORDS:
                self.cache.clear()
            self.cache[word] = ids
        return ids

    @functools.cached_property
    def fast_path(self):
        """tiktoken's encoder (str to list of int) where it gives our ids, else None.

        Set it to None to encode in plain Python.

        tiktoken does not know the merges: it joins the neighbours whose bytes together are the
        token of lowest rank. That is the same if (a) every merge joins bytes or results of earlier
        merges, (b) no two merges have one result, and (c) every result, encoded from its bytes,
        comes out as that one token. For by (a) ranks rise from join to join. Suppose tiktoken's
        next join, of x and y, makes a token t that merges make of another pair. All joins of lower
        rank are done, and within t's bytes none crossed their ends; so these bytes on their own
        would come to x, y too, where t's pair is not to be found: against (c).
        """
        if not self._ranks_decide():
            return None
        try:
            import tiktoken
        except ImportError:
            return None
        tokens = [*self.byte_decoder, *map(''.join, self.bpe_ranks)]
        ids = [self.encoder[token] for token in tokens]
        merged = ids[len(self.byte_decoder) :]
        ranks = ids if merged == sorted(merged) else range(len(ids))
        encode = tiktoken.Encoding(
            'byte pairs',
            pat_str=PATTERN,
            mergeable_ranks=dict(zip(map(self._to_bytes, tokens), ranks, strict=True)),
            special_tokens={},
        ).encode_ordinary
        return encode if ranks is ids else functools.partial(encode_and_map, encode, ids)

    def _ranks_decide(self):
        """Tell whether (a), (b) and (c) of `fast_path` hold."""
        known = set(self.byte_decoder)
        for position, (pair, rank) in enumerate(self.bpe_ranks.items()):
            if rank != position or not known.issuperset(pair) or ''.join(pair) in known:
                return False
            known.add(''.join(pair))
        merges = '\n'.join(map(' '.join, self.bpe_ranks)).encode('utf-8')
        if hashlib.sha256(merges).hexdigest() == RELEASED_MERGES_SHA256:
            return True  # has been checked; a test does so again
        return all(self._merge(token) == [token] for token in known)

    def _to_bytes(self, token):
        return bytes(map(self.byte_decoder.__getitem__, token))


def encode_and_map(encode, ids, text):
    """Encode a text to ranks and map these to ids."""
    return [ids[rank] for rank in encode(text)]


def chunks(text):
    """Cut a long text where a word ends anyway, so that memory stays bounded.

    A word ends before the last whitespace character of every run, whatever follows. Without cuts
    tiktoken's engine also gives up on runs of a million spaces.
    """
    start = 0
    while boundary := BOUNDARY.search(text, start + CHUNK_CHARACTERS):
        yield text[start : boundary.start()]
        start = boundary.start()
    yield text[start:]


def check_surrogates(text):
    """Raise ValueError for a text with half a UTF-16 pair, which has no bytes in UTF-8."""
    try:
        text.encode('utf-8')
    except UnicodeEncodeError as error:
        raise ValueError(
            f'character {error.start} of the text is the lone surrogate'
            f' U+{ord(text[error.start]):04X}, which is no character and cannot be encoded'
        ) from None


def check_vocabulary(encoder, bpe_merges, alphabet):
    """Return the special tokens of a vocabulary; raise ValueError where its parts do not fit."""
    if not isinstance(encoder, dict):
        raise ValueError(f'encoder.json holds a {type(encoder).__name__}, not token: id pairs')
    owner = {}
    for token, i in encoder.items():
        if type(i) is not int or not 0 <= i < 2**31:
            raise ValueError(f'encoder.json gives {token!r} the id {i!r}, not a whole number >= 0')
        if owner.setdefault(i, token) != token:
            raise ValueError(f'encoder.json gives id {i} to both {owner[i]!r} and {token!r}')
    if missing := [char for char in alphabet if char not in encoder]:
        raise ValueError(f'encoder.json lacks {len(missing)} of 256 byte tokens: {missing[0]!r}...')
    results = set(alphabet)
    for pair in bpe_merges:
        if ''.join(pair) not in encoder:
            raise ValueError(f'vocab.bpe merges {" ".join(pair)!r}, which encoder.json lacks')
        results.add(''.join(pair))
    special = set(encoder) - results
    ordinary = [t for t in special if not re.fullmatch(r'(?s)<.+>|\[.+\]', t)]
    if ordinary:
        raise ValueError(
            f'vocab.bpe ({len(bpe_merges)} merges) is truncated or belongs to another encoder.json:'
            f' no merge makes {min(ordinary)!r} ({len(ordinary)} such tokens)'
        )
    return special


def get_encoder(model_name, models_dir='models'):
    """Return the Encoder of models_dir/model_name, from its encoder.json and vocab.bpe.

    Raises ValueError where a file is missing, damaged, or does not fit the other one.
    """
    folder = os.path.join(models_dir, model_name)
    try:
        text = read_text(folder, 'encoder.json')
        try:
            encoder = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'encoder.json is damaged or truncated ({error})') from error
        return Encoder(encoder, parse_merges(read_text(folder, 'vocab.bpe')))
    except ValueError as error:
        raise ValueError(f'{folder}: {error}') from error


def read_text(folder, name):
    """Return the content of a UTF-8 file."""
    path = os.path.join(folder, name)
    check_is_file(path)
    try:
        with open(path, 'rb') as file:
            return file.read().decode('utf-8').replace('\r\n', '\n')
    except FileNotFoundError:
        raise ValueError(f'{name} is missing') from None
    except UnicodeDecodeError as error:
        raise ValueError(f'{name} is damaged: byte {error.start} is not UTF-8') from None


def parse_merges(text):
    """Return the merges of a vocab.bpe: a version line (optional), then two tokens a line."""
    merges = []
    for number, line in enumerate(text.rstrip('\n').split('\n'), start=1):
        if number == 1 and line.startswith('#version'):
            continue
        pair = tuple(line.split(' '))
        if len(pair) != 2 or not all(pair):
            raise ValueError(f'line {number} of vocab.bpe is not two tokens: {line[:80]!r}')
        merges.append(pair)
    return merges
