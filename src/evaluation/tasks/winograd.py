"""Winograd schemas: to which of two phrases a pronoun refers (Radford et al. 2019, section 3.4).

No TensorFlow.
"""

import os
import re
from typing import NamedTuple
from xml.etree import ElementTree

from evaluation.choices import Choice, compared, score_choices
from evaluation.data_files import DataFile
from evaluation.metric import accuracy
from evaluation.task import Task
from evaluation.texts import fitting
from scoring.windows import split_tokens

SCHEMAS = 273  # The schemas after these were added to the file later.
LARGEST_XML = 1_000_000  # Bytes. The published file has a ninth of that.
NEAR = re.compile(r'[,.;:!?\')\]-]')  # No space is before a text that begins so.


class Schema(NamedTuple):
    """A Winograd schema: before + pronoun + after is its text, white space made single spaces."""

    before: str  # ends with a space, or is empty
    pronoun: str
    after: str  # begins with a space or with punctuation
    candidates: list  # 2 phrases, str
    answer: int  # index into candidates


def read_winograd(data_dir='data', complete=True):
    """The first 273 schemas of the Winograd Schema Challenge, a list of Schema."""
    file = DataFile(data_dir, 'winograd', 'WSCollection.xml', complete)
    with file.complaints():
        if os.path.getsize(file.path) > LARGEST_XML:
            raise ValueError(f'it has more than {LARGEST_XML:,} bytes')
        try:
            elements = ElementTree.parse(file.path).getroot().findall('schema')
        except ElementTree.ParseError as error:
            raise ValueError(f'it is not XML ({error})') from error
        file.require(len(elements), 'schemas')
        return [schema(number, e) for number, e in enumerate(elements[:SCHEMAS], start=1)]


def schema(number, element):
    """The Schema in an element of the file."""
    before, pronoun, after, letter = (
        ' '.join(element.findtext(path, '').split())
        for path in ('text/txt1', 'text/pron', 'text/txt2', 'correctAnswer')
    )
    candidates = [' '.join((e.text or '').split()) for e in element.findall('answers/answer')]
    answer = {'A': 0, 'B': 1}.get(letter.rstrip('. ').upper())
    if not pronoun or not (before or after) or len(candidates) != 2 or not all(candidates):
        raise ValueError(f'schema {number} has not text, pronoun and two answers')
    if answer is None:
        raise ValueError(f'schema {number} has the correct answer {letter!r}, neither A nor B')
    if before:
        before += ' '
    if after and not NEAR.match(after):
        after = ' ' + after
    return Schema(before, pronoun, after, candidates, answer)


def schema_choices(schemas, scorer, context, _stride):
    """Choices of Winograd schemas, after Trinh and Le 2018: in full and in part.

    full: the probability of the sentence with a candidate in place of the pronoun.
    partial: the probability of what follows the candidate, given all up to it.
    """
    found = []
    for schema in schemas:
        befores = [schema.before + substitute(schema, candidate) for candidate in schema.candidates]
        splits = [split_tokens(scorer.encoder, before, schema.after) for before in befores]
        full = compared([prompt + ending for prompt, ending in splits], scorer, context)
        start = scorer.encoder.end_of_text
        partial = [
            (fitting([start] + prompt, len(ending), context), ending) for prompt, ending in splits
        ]
        found.append(Choice((full, partial), schema.answer))
    return found


POSSESSIVES = ('my', 'your', 'his', 'her', 'its', 'our', 'their')
# Before these "her" is not a possessive: it refers to a person, and no noun follows.
NO_NOUN = frozenset(
    'about after and as at because before but by for from if in into '
    'of on or out so than that to up when while with'.split()
)
LOWERED = ('a', 'an', 'the', 'my', 'your', 'his', 'her', 'its', 'our', 'their', 'it', 'he', 'she')


def substitute(schema, candidate):
    """A candidate as it is written in place of the pronoun of its schema.

    Articles and pronouns lose their capital inside a sentence, any first letter has one at the
    start of a sentence, and in place of a possessive the candidate takes 's.
    """
    first, space, rest = candidate.partition(' ')
    if starts_sentence(schema.before):
        candidate = candidate[:1].upper() + candidate[1:]
    elif first.lower() in LOWERED:
        candidate = first.lower() + space + rest
    if is_possessive(schema):
        candidate += "'" if rest.endswith('s') else "'s"  # the councilmen's, but the trees'
    return candidate


def starts_sentence(before):
    before = before.rstrip(' "\'\u201c\u2018')
    return not before or before[-1] in '.!?'


def is_possessive(schema):
    """Whether the pronoun is one before a noun: "her" is also the object of a verb."""
    pronoun, after = schema.pronoun.lower(), schema.after
    if pronoun != 'her':
        return pronoun in POSSESSIVES
    following = after.split()
    return after.startswith(' ') and bool(following) and following[0].strip('.,;') not in NO_NOUN


TASKS = {
    'winograd': Task(
        read_winograd,
        'all (the first 273 of WSCollection.xml)',
        'none',
        parts=schema_choices,
        score=score_choices,
        columns=('full', 'partial'),
        resampled='schemas',
        metrics={
            'accuracy_full': accuracy(
                'full', 'schemas', 'the more likely of 2: the whole sentence', 'winograd_full'
            ),
            'accuracy_partial': accuracy(
                'partial',
                'schemas',
                'the more likely of 2: what follows the candidate',
                'winograd_partial',
            ),
        },
    ),
}
