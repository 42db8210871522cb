"""Answers against references: token F1 and exact match, as for SQuAD and CoQA. No TensorFlow.

As the official scripts count them: evaluate-v1.0.py of stanfordnlp/coqa-baselines and
orqa/utils/eval_utils.py of google-research/language.
"""

import re
import string
import unicodedata
from collections import Counter

ARTICLES = re.compile(r'\b(a|an|the)\b')
PUNCTUATION = str.maketrans('', '', string.punctuation)  # deletes it: a-team becomes ateam


def normalise(text):
    """A text as it is compared: lower case, no ASCII punctuation, no articles, single spaces."""
    return ' '.join(ARTICLES.sub(' ', text.lower().translate(PUNCTUATION)).split())


def exact_match(answer, reference):
    """Whether two texts are equal once they are normalised."""
    return normalise(answer) == normalise(reference)


def f1(answer, reference):
    """2 · common words / words of both, as multisets; of nothing and nothing it is 1."""
    answer, reference = normalise(answer).split(), normalise(reference).split()
    if not answer or not reference:
        return float(answer == reference)
    common = (Counter(answer) & Counter(reference)).total()
    return 2 * common / (len(answer) + len(reference))


def leave_one_out(score, answer, references):
    """The mean, over the references, of the best score against all the others.

    It is how CoQA counts, so that a model is compared with as many references as a person is. Of
    one reference alone it is the score.
    score: (answer, reference) -> number.
    """
    scores = [score(answer, reference) for reference in references]
    if len(scores) == 1:
        return float(scores[0])
    others = (scores[:n] + scores[n + 1 :] for n in range(len(scores)))
    return sum(map(max, others)) / len(scores)


def agreement(score, answers):
    """The mean, over several answers, of the best score against the others: how CoQA counts people.

    score: (answer, reference) -> number.
    """
    best = [
        max(score(answer, other) for other in answers[:n] + answers[n + 1 :])
        for n, answer in enumerate(answers)
    ]
    return sum(best) / len(best)


def matches_any(answer, references):
    """Whether an answer is one of the references, as Natural Questions counts.

    Texts are decomposed first (Unicode NFD): é of one code point and of two are the same.
    """
    found = normalise(decomposed(answer))
    return any(found == normalise(decomposed(reference)) for reference in references)


def decomposed(text):
    return unicodedata.normalize('NFD', text)
