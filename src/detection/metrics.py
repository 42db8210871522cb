"""How well scores tell machine text from human text. NumPy only.

Scores are one number a text, higher for text that looks more like the machine's: arrays `human` [n]
and `machine` [m]. A text is called machine if its score is strictly above a threshold.
"""

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000
SEED = 0


def auroc(human, machine):
    """The probability that a machine text scores higher than a human one; a tie counts half.

    It is the area under the ROC curve, and the Mann-Whitney U statistic by n * m.
    """
    human, machine = checked(human), checked(machine)
    below = np.searchsorted(human, machine, side='left')
    not_above = np.searchsorted(human, machine, side='right')
    return float((below + not_above).sum() / (2 * len(human) * len(machine)))


def checked(scores):
    """Scores in ascending order, float64; ValueError for none, or for one that is NaN."""
    scores = np.asarray(scores, np.float64)
    if not len(scores):
        raise ValueError('there is no score to measure')
    if not (scores[:-1] <= scores[1:]).all():  # as those of a Draw are
        scores = np.sort(scores)
    if np.isnan(scores[-1]):
        raise ValueError('a score is not a number: leave out texts without tokens')
    return scores


def threshold_at(human, false_positive_rate):
    """The smallest threshold that at most this share of the human scores is above."""
    human = checked(human)
    allowed = int(false_positive_rate * len(human) + 1e-9)  # .29 * 100 is less than 29
    return -np.inf if allowed >= len(human) else float(human[-1 - allowed])


def true_positives(machine, threshold):
    """The share of machine texts above a threshold."""
    return float((checked(machine) > threshold).mean())


def accuracy(human, machine, threshold):
    """The share of texts that a threshold calls rightly, both classes counting equally."""
    return (true_positives(machine, threshold) + 1 - true_positives(human, threshold)) / 2


def best_threshold(human, machine):
    """The threshold with the best accuracy, in the middle between two scores."""
    human, machine = checked(human), checked(machine)
    scores = np.unique(np.concatenate([human, machine]))
    # Called machine are those above each score, or all.
    humans = np.append(0, np.searchsorted(human, scores, side='right')) / len(human)
    machines = np.append(0, np.searchsorted(machine, scores, side='right')) / len(machine)
    best = int(np.argmax(humans - machines))
    if best == 0:
        return -np.inf
    return float(scores[best - 1 : best + 1].mean())


def best_accuracy(human, machine):
    """The accuracy at the best threshold of these very texts: more than others will see."""
    return accuracy(human, machine, best_threshold(human, machine))


def intervals(measure, human, machine, documents=None, seed=SEED, resamples=RESAMPLES):
    """The 95 % intervals of figures that are measured on two sets of scores.

    Documents, of which a text or several texts are, are drawn anew with replacement in each class;
    the interval holds the middle 95 % (percentile method, Efron and Tibshirani 1993, 13.3).

    measure: (human, machine) -> figures, a sequence of k floats.
    documents: of which document each text is, two lists beside the scores; None: each its own.
    Returns float64 [k, 2], low and high; NaN where a class has fewer than two documents.
    """
    draws = [Draw(*pair) for pair in zip((human, machine), documents or (None, None), strict=True)]
    random = np.random.RandomState(seed)  # its numbers are promised to stay the same
    if min(draw.n_documents for draw in draws) < 2:
        return np.full([len(measure(human, machine)), 2], np.nan)
    figures = [measure(*(draw.scores(random) for draw in draws)) for _ in range(resamples)]
    tail = (1 - LEVEL) / 2
    return np.quantile(np.array(figures, np.float64), [tail, 1 - tail], axis=0).T


class Draw:
    """Draws the documents of a class anew, and gives the scores of their texts, ascending."""

    def __init__(self, scores, documents=None):
        scores = np.asarray(scores, np.float64)
        if documents is None:
            documents = range(len(scores))
        numbers = {document: number for number, document in enumerate(dict.fromkeys(documents))}
        document = np.array([numbers[document] for document in documents], int)
        self.n_documents = len(numbers)
        order = np.argsort(scores, kind='stable')  # once, and not for each of the draws
        self.all, self.document = scores[order], document[order]

    def scores(self, random):
        drawn = random.randint(self.n_documents, size=self.n_documents)
        times = np.bincount(drawn, minlength=self.n_documents)
        return np.repeat(self.all, times[self.document])
