"""How fast texts become 8-grams, and how fast a set of them grows and answers.

    python benchmarks/overlap.py [--megabytes 50] [--capacity 12500000] [--vocabulary FOLDER]

The text is the words of Moby Dick's first chapters in random order, so that nearly all 8-grams
differ. A filter for more (--capacity) is slower, since it does not fit into the processor's cache.
Each part of the text goes through all steps, so that a slow moment of the machine meets them all.
"""

import argparse
import random
import resource
import time

from encode import MOBY_DICK, load, released_vocabulary  # puts src/ on the path

from ngrams.bloom_filter import BloomFilter
from ngrams.exact_set import ExactSet
from ngrams.text import ngrams

PART = 2**21  # characters


def texts(n_bytes):
    """Yield texts of PART characters, n_bytes in all."""
    words = [word for word in MOBY_DICK.read_text('utf-8').split() if word.isascii()]
    chance = random.Random(0)
    for _ in range(0, n_bytes, PART):
        yield ' '.join(chance.choices(words, k=PART // 5))[:PART]


def timed(seconds, name, function):
    start = time.perf_counter()
    result = function()
    seconds[name] = seconds.get(name, 0) + time.perf_counter() - start
    return result


def main(megabytes, capacity, vocabulary):
    encoder = load(vocabulary or released_vocabulary())
    encoder.encode('')  # builds the fast path
    known, exact, seconds, size = BloomFilter(capacity), ExactSet(), {}, 0
    known.words |= 0  # or the system would give the memory while it is measured
    for text in texts(megabytes * 10**6):
        size += len(text)
        batches = timed(seconds, 'text to 8-grams', lambda text=text: list(ngrams([text], encoder)))
        for batch in batches:
            add = f'add to a filter of {known.bytes / 1e6:,.0f} MB'
            timed(seconds, add, lambda batch=batch: known.add(batch.windows))
            timed(seconds, 'ask it, all found', lambda batch=batch: known.contains(batch.windows))
            other = batch.windows[:, ::-1]
            timed(seconds, 'ask it, none found', lambda other=other: known.contains(other))
            if size <= 10 * PART:
                timed(seconds, 'add to an exact set', lambda batch=batch: exact.add(batch.windows))
    n_exact = exact.added / known.added
    for name, spent in seconds.items():
        share = n_exact if 'exact' in name else 1
        rate = f'{size * share / spent / 1e6:6.1f} MB/s'
        print(f'{name:32}{rate} {spent / known.added / share * 1e9:8,.0f} ns an 8-gram')
    print(f'{known.added:,} 8-grams, false positives {known.false_positives():.1e}')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f'at most {peak:,.0f} MB of memory, {len(exact.ngrams):,} 8-grams of the exact set included'
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--megabytes', type=int, default=50)
    parser.add_argument('--capacity', type=int, default=12_500_000)
    parser.add_argument('--vocabulary')
    main(**vars(parser.parse_args()))
