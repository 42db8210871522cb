"""CBT and Winograd: which of several texts a model finds likeliest. No TensorFlow."""

from typing import NamedTuple

import numpy as np

import detokenizers
from scored_windows import split_tokens


class Choice(NamedTuple):
    """A question with several answers, which may be scored in several ways.

    ways: for each way a list with, for each answer, a pair of prompt and continuation, in tokens.
    answer: index of the right one.
    """

    ways: tuple[list[tuple[list[int], list[int]]], ...]
    answer: int

    @property
    def pairs(self):
        return [pair for way in self.ways for pair in way]

    @property
    def cost(self):
        """Tokens that are read; a prompt that several pairs have is read once."""
        prompts = {tuple(prompt) for prompt, _ in self.pairs}
        return sum(map(len, prompts)) + self.scored

    @property
    def scored(self):
        return sum(len(continuation) for _, continuation in self.pairs)


def cloze_choices(questions, scorer, context, _stride):
    """Choices of CBT: the probability of a candidate and of the rest of its sentence.

    All ten texts are encoded as a whole and compared from the first token in which any two differ:
    what they share adds the same to each.
    """
    choices = []
    for question in questions:
        texts = [''.join(detokenizers.cbt_question(question, c)) for c in question.candidates]
        way = compared([scorer.encoder.encode(text) for text in texts], scorer, context)
        choices.append(Choice((way,), question.candidates.index(question.answer)))
    return choices


def schema_choices(schemas, scorer, context, _stride):
    """Choices of Winograd schemas, after Trinh and Le 2018: in full and in part.

    full: the probability of the sentence with a candidate in place of the pronoun.
    partial: the probability of what follows the candidate, given all up to it.
    """
    choices = []
    for schema in schemas:
        befores = [schema.before + substitute(schema, candidate) for candidate in schema.candidates]
        splits = [split_tokens(scorer.encoder, before, schema.after) for before in befores]
        full = compared([prompt + ending for prompt, ending in splits], scorer, context)
        start = scorer.encoder.end_of_text
        partial = [
            (fitting([start] + prompt, len(ending), context), ending) for prompt, ending in splits
        ]
        choices.append(Choice((full, partial), schema.answer))
    return choices


def compared(texts, scorer, context):
    """Pairs that tell which of several texts, lists of tokens, is the likeliest.

    What all have in common is the prompt, behind <|endoftext|>; if that is longer than the context
    lets it be, it loses the same tokens on its left for all.
    """
    n_common = min(map(len, texts)) - 1
    for n, tokens in enumerate(zip(*texts, strict=False)):
        if len(set(tokens)) > 1:
            n_common = min(n, n_common)
            break
    longest = max(len(text) - n_common for text in texts)
    prompt = fitting([scorer.encoder.end_of_text] + texts[0][:n_common], longest, context)
    return [(prompt, text[n_common:]) for text in texts]


def fitting(prompt, n_scored, context):
    """The end of a prompt, so that n_scored tokens behind it are predicted from `context` at most.

    Raises ValueError if not one token of it is left.
    """
    if n_scored > context:
        raise ValueError(f'{n_scored} tokens are to be scored with a context of {context}')
    return prompt[-(context + 1 - n_scored) :]


POSSESSIVES = ('my', 'your', 'his', 'her', 'its', 'our', 'their')
# Behind these "her" is not a possessive: it stands for a person, and no noun follows.
NO_NOUN = frozenset(
    'about after and as at because before but by for from if in into '
    'of on or out so than that to up when while with'.split()
)
LOWERED = ('a', 'an', 'the', 'my', 'your', 'his', 'her', 'its', 'our', 'their', 'it', 'he', 'she')


def substitute(schema, candidate):
    """A candidate as it stands in place of the pronoun of its schema.

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


def score_choices(scorer, choices, progress=None):
    """The credit of each Choice in each way of scoring, float64 [choices, ways].

    It is 1 if the right answer is the likeliest one, 1 / n if it is one of n likeliest, which is
    what drawing among them would give on average, else 0.
    """
    pairs = [pair for choice in choices for pair in choice.pairs]
    totals = iter(
        [s.total for s in scorer.score_continuations(pairs, progress=progress, ranks=False)]
    )
    return np.array(
        [
            [credit([next(totals) for _ in way], choice.answer) for way in choice.ways]
            for choice in choices
        ]
    )


def credit(totals, answer):
    """1 / n if totals[answer] is one of n that none exceeds, else 0."""
    best = max(totals)
    return totals.count(best) ** -1.0 if totals[answer] == best else 0.0
