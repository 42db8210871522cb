"""A set of n-grams in few bytes each, which never denies one that it holds: a Bloom filter.

Bloom 1970, with an item's bits in few words, so that few places in memory are visited (Qiao, Li
and Chen 2011, "One memory access Bloom filters and their generalization"). An n-gram has 24 bits:
four in each of six words of 64 bits. The six words and their bits are drawn by SplitMix64 (Steele,
Lea and Flood 2014) from the hash of the n-gram:

    number j of 6:   |  40 bits: which word  |  6 bits  |  6 bits  |  6 bits  |  6 bits  |
                                                   which four of the word's 64 bits

One that is not held is taken for held if all its 24 bits are set by others. How likely that is
depends on nothing but how full the words are, so it is known exactly, whatever was added.

Shapes: N n-grams, n tokens each, W words.
"""

import math
import os

import numpy as np

from support.checks import check_whole

BOUND = 1e-8  # the paper's: of all n-grams that are not held so many are taken for held
N_WORDS, N_BITS = 6, 4
# At 42.3 bits an item the chance reaches BOUND; with this little more it is 0.77 of it. A plain
# filter needs 38.5 for 24 bits, and four times as many places in memory.
BITS_PER_ITEM = 43
FEWEST_WORDS = 2**16  # in much smaller filters chance would fill some more than others
SLICE = 2**15  # n-grams at a time: their hashes stay in the processor's cache
MANY_WORDS = 2**20  # words at a time, where all are visited
GAMMA, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of SplitMix64
U64 = np.uint64
ONES = np.array([number.bit_count() for number in range(2**16)], np.uint8)


def words_for(capacity):
    """How many words of 64 bits a filter has."""
    return max(math.ceil(capacity * BITS_PER_ITEM / 64), FEWEST_WORDS)


def check_memory(n_bytes):
    """Raise ValueError if the machine has less memory, where that can be asked."""
    try:
        there = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError):
        return
    if n_bytes > there:
        raise ValueError(
            f'the filter needs {megabytes(n_bytes)} of memory, more than the {megabytes(there)} of '
            'this machine: give a smaller --capacity'
        )


def megabytes(n_bytes):
    return f'{n_bytes / 1e6:,.1f} MB'


class BloomFilter:
    """A set of n-grams that takes a share of at most BOUND of all others for its own.

    capacity: how many different n-grams it has room for.
    words, added: of a filter that was saved; None and 0 make an empty one.
    `words` [W]: its bits.  `added`: how many n-grams were added, equal ones too.
    """

    def __init__(self, capacity, words=None, added=0):
        check_whole('capacity', capacity, least=1, below=2**40)
        self.capacity, self.added = capacity, added
        if words is None:
            check_memory(8 * words_for(capacity))
            words = np.zeros(words_for(capacity), '<u8')
        self.words = words
        self._check_at = capacity  # as long as fewer were added there is room

    @property
    def bytes(self):
        return self.words.nbytes

    def add(self, windows):
        """Add n-grams [N, n]. Raises ValueError if there are too many for the bound."""
        for hashes in hashes_of(windows):
            for number in range(N_WORDS):
                self._set(*places(hashes, number, len(self.words)))
        self.added += len(windows)
        if self.added > self._check_at:
            self.check()
            room = self.capacity - self.distinct()
            self._check_at = self.added + max(room, self.capacity // 16)

    def _set(self, indices, bits):
        """Set bits [N] in the words of these indices [N].

        Of several that meet in one word NumPy keeps the last: the others are set again.
        """
        while len(indices):
            self.words[indices] |= bits
            lost = np.flatnonzero(self.words[indices] & bits != bits)
            indices, bits = indices[lost], bits[lost]

    def contains(self, windows):
        """Whether each of the n-grams [N, n] is held: [N] bool."""
        return np.concatenate([self._holds(h) for h in hashes_of(windows)] or [np.zeros(0, bool)])

    def _holds(self, hashes):
        left = np.arange(len(hashes))  # those that nothing speaks against so far
        for number in range(N_WORDS):
            indices, bits = places(hashes[left], number, len(self.words))
            left = left[self.words[indices] & bits == bits]
        held = np.zeros(len(hashes), bool)
        held[left] = True
        return held

    def merge(self, other):
        """Add all that another filter holds. Raises ValueError for one of another capacity."""
        if other.capacity != self.capacity:
            raise ValueError(
                f'filters for {self.capacity:,} and {other.capacity:,} 8-grams cannot be merged: '
                'make them with the same --capacity'
            )
        for start in range(0, len(self.words), MANY_WORDS):
            part = slice(start, start + MANY_WORDS)
            self.words[part] |= other.words[part]
        self.added += other.added
        self.check()

    def check(self):
        """Raise ValueError if more n-grams were added than the bound allows."""
        if self.false_positives() > BOUND:
            raise ValueError(
                f'there are more than {self.capacity:,} different 8-grams in the training text: '
                f'begin again with more room, --capacity {2 * self.capacity}'
            )

    def false_positives(self):
        """The share of all n-grams not held that are taken for held, exactly: by the words."""
        return self._mean(lambda ones: (ones / 64) ** N_BITS) ** N_WORDS

    def distinct(self):
        """About how many different n-grams are held, by the share of bits that are set.

        Of n of them a bit is set by none with probability exp(-n p), where p is that one sets it
        (Swamidass and Baldi 2007).
        """
        unset = 1 - self._mean(lambda ones: ones / 64)
        p = N_WORDS / len(self.words) * (1 - (63 / 64) ** N_BITS)
        return round(-math.log(max(unset, 1e-300)) / p)

    def _mean(self, function):
        """The mean over all words of a function of how many of their bits are set."""
        counts = np.zeros(65, np.int64)
        for start in range(0, len(self.words), MANY_WORDS):
            part = self.words[start : start + MANY_WORDS]
            ones = ONES[part.view('<u2')].reshape(-1, 4).sum(axis=1, dtype=np.int64)
            counts += np.bincount(ones, minlength=65)
        return float(counts @ function(np.arange(65)) / len(self.words))


def hashes_of(windows):
    """Yield hashes of n-grams [N, n], a slice at a time: uint64.

    Two n-grams have the same with probability 2**-64. With 10**10 in a filter that makes a false
    positive of 1 in 2 * 10**9, a twentieth of BOUND, for which BITS_PER_ITEM has room.
    """
    for start in range(0, len(windows), SLICE):
        part = windows[start : start + SLICE]
        hashes = np.zeros(len(part), U64)
        for column in part.T:
            hashes = mixed(hashes + U64(GAMMA) + column.astype(U64))
        yield hashes


def places(hashes, number, n_words):
    """Word `number` of each n-gram, as an index [N], and its bits in this word: [N] uint64."""
    drawn = mixed(hashes + U64((number + 1) * GAMMA % 2**64))
    bits = np.zeros(len(drawn), U64)
    for shift in range(0, 6 * N_BITS, 6):
        bits |= U64(1) << (drawn >> U64(shift) & U64(63))
    return ((drawn >> U64(24)) * (n_words / 2**40)).astype(np.int64), bits


def mixed(numbers):
    """The output function of SplitMix64, one to one on uint64 (Stafford's variant 13)."""
    numbers = numbers ^ numbers >> U64(30)
    numbers *= U64(MIX_1)
    numbers ^= numbers >> U64(27)
    numbers *= U64(MIX_2)
    numbers ^= numbers >> U64(31)
    return numbers
