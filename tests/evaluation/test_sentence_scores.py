"""Single sentences are scored as StereoSet's authors score them."""

import math

import numpy as np
import pytest

from evaluation.sentence_scores import Compared, likelihoods, sentence_windows
from helpers.table_scorer import UNLIKELY, TableScorer
from helpers.texts import byte_encoder

ENCODER = byte_encoder()
END, V = ENCODER.end_of_text, ENCODER.n_vocab


def chosen(context):
    """After <|endoftext|> a has 1/4; after a alone b has 1/8; after ab alone c has 1/2."""
    table = np.full(V, UNLIKELY)
    known = {(END,): ('a', 1 / 4), (*b'a',): ('b', 1 / 8), (*b'ab',): ('c', 1 / 2)}
    letter, probability = known[context]  # any other context is an error
    table[ord(letter)] = math.log(probability)
    return table


def scored(scorer, *texts, context=1024):
    part = Compared([sentence_windows(text, scorer, context) for text in texts], None)
    [found] = likelihoods(scorer, [part])
    return part, found


def test_the_first_token_is_read_after_endoftext_and_the_others_without_it():
    scorer = TableScorer(ENCODER, chosen)
    part, [one, two, three] = scored(scorer, 'a', 'ab', 'abc')
    assert math.exp(one.mean) == pytest.approx(1 / 4)
    assert math.exp(two.mean) == pytest.approx((1 / 4 * 1 / 8) ** (1 / 2))
    assert math.exp(three.mean) == pytest.approx((1 / 4 * 1 / 8 * 1 / 2) ** (1 / 3))
    assert math.exp(-two.mean_of_rest) == pytest.approx(8)  # perplexities
    assert math.exp(-three.mean_of_rest) == pytest.approx(4)
    assert one.mean_of_rest == 0  # of no token
    assert (part.scored, part.cost) == (6, 2 + (2 + 2) + (2 + 3))


def test_a_sentence_longer_than_the_context_is_scored_in_windows():
    read = []

    def model(context):
        read.append(context)
        return np.full(V, -math.log(2))

    scorer = TableScorer(ENCODER, model)
    text = 'abcdefghijklm'
    _, [found] = scored(scorer, text, context=4)
    assert found.tokens == len(text) and found.mean == pytest.approx(-math.log(2))
    assert max(map(len, read)) == 4 and [END in context for context in read].count(True) == 1
