"""Choosing among texts: which of several a model finds most likely. No TensorFlow."""

from typing import NamedTuple

import numpy as np

from evaluation.metric import accuracy
from evaluation.task import Task
from evaluation.texts import fitting


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


def choice_task(read, split, detokenizer, texts_of, normalisation, column=None):
    """A Task of questions: the answer is the most likely of several whole texts.

    texts_of: example -> (texts, list of str; index of the right one).  The others: see Task.
    """
    return Task(
        read,
        split,
        detokenizer,
        parts=choices_among(texts_of),
        score=score_choices,
        columns=('right',),
        resampled='questions',
        metrics={'accuracy': accuracy('right', 'questions', normalisation, column)},
    )


def choices_among(texts_of):
    """The `parts` of such a Task: a Choice for each example.

    All texts are encoded as a whole and compared from the first token in which any two differ:
    what they share adds the same to each.
    """

    def parts(examples, scorer, context, _stride):
        choices = []
        for texts, answer in map(texts_of, examples):
            way = compared([scorer.encoder.encode(text) for text in texts], scorer, context)
            choices.append(Choice((way,), answer))
        return choices

    return parts


def compared(texts, scorer, context):
    """Pairs that tell which of several texts, lists of tokens, is the most likely.

    What all have in common is the prompt, after <|endoftext|>; if that is longer than the context
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


def score_choices(scorer, choices, progress=None):
    """The credit of each Choice in each way of scoring, float64 [choices, ways].

    It is 1 if the right answer is the most likely one; 1 / n if n are equally likely and it is one
    of them, which is what drawing among them would give on average; else 0.
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
