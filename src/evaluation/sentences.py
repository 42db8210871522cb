"""The sentences of a text, by the rules of pysbd (Sadvilkar and Neumann 2020). No TensorFlow."""

import functools
import itertools

from evaluation.packages import version_of

SPLITTER = version_of('pysbd')


def sentences(text, language='en'):
    """Yield the sentences of a text, without white space around them; none is empty.

    A sentence ends with its line at the latest, so a heading or caption is one by itself.
    language: an ISO 639-1 code that pysbd has rules for.
    """
    for line in text.split('\n'):
        if line.strip():
            yield from filter(None, map(str.strip, segmenter(language).segment(line)))


def first_sentences(text, n, language='en'):
    """The first n sentences of a text, a list."""
    return list(itertools.islice(sentences(text, language), n))


@functools.cache
def segmenter(language):
    import pysbd

    return pysbd.Segmenter(language=language, clean=False)


def check_splitter(splitter):
    """Raise ValueError for any but the one that there is, in the version that is installed."""
    if splitter != SPLITTER:
        raise ValueError(f'splitter is {splitter!r}, and there is only {SPLITTER!r}')
