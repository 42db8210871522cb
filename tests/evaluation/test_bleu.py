"""Corpus BLEU from sums over sentences, against sacrebleu's of the whole corpus and by hand."""

import math
import random

import pytest
import sacrebleu
from sacrebleu.metrics import BLEU

from evaluation.bleu import (
    COLUMNS,
    MULTI_BLEU,
    SACREBLEU,
    VARIANTS,
    Variant,
    bleu,
    bleu_rows,
    statistics,
)

SIGNATURES = [
    Variant('any', tokenize, smooth)
    for tokenize in ('13a', 'intl', 'none', 'char')
    for smooth in ('exp', 'none')
]
WORDS = [
    'the',
    'a',
    'cat',
    'dog',
    'sat',
    'ran',
    'on',
    'mat',
    ',',
    '.',
    '3,5',
    "don't",
    '«oui»',
    'É',
]


def corpus(seed, sentences=30):
    """Hypotheses that share n-grams of all orders with their references, some of them empty."""
    draw = random.Random(seed)
    references = [' '.join(draw.choices(WORDS, k=draw.randint(1, 15))) for _ in range(sentences)]
    hypotheses = [
        ' '.join(word for word in text.split() if draw.random() < 0.8) for text in references
    ]
    return hypotheses, references


def sums(variant, rows):
    return dict(zip(variant.columns, rows.sum(axis=0), strict=True))


@pytest.mark.parametrize('variant', SIGNATURES, ids=lambda v: f'{v.tokenize}-{v.smooth}')
def test_ten_sums_are_all_that_corpus_bleu_needs(variant):
    metric = BLEU(tokenize=variant.tokenize, smooth_method=variant.smooth, force=True)
    for seed in range(5):
        hypotheses, references = corpus(seed, sentences=1 + 8 * seed)
        whole = metric.corpus_score(hypotheses, [references])
        rows = statistics(variant, hypotheses, references, 'en')
        assert bleu(variant, sums(variant, rows)) == whole.score
        assert str(metric.get_signature()) == variant.signature


def test_rows_are_the_statistics_of_both_variants_side_by_side():
    hypotheses, references = corpus(0)
    rows = bleu_rows(hypotheses, references, 'en')
    assert rows.shape == (30, len(COLUMNS)) == (30, 20)
    columns = dict(zip(COLUMNS, rows.sum(axis=0), strict=True))
    expected = sacrebleu.corpus_bleu(hypotheses, [references], force=True).score  # 13a, exp
    assert bleu(SACREBLEU, columns) == expected
    assert bleu(MULTI_BLEU, columns) != expected


def test_a_corpus_worked_out_by_hand():
    """6 and 5 tokens against 6 and 5: 10 of 11, 7 of 9, 5 of 7, 3 of 5 n-grams are right."""
    hypotheses = ['the cat sat on the mat', 'a dog ran here now']
    references = ['the cat sat on a mat', 'a dog ran here now']
    matches, totals = (5 + 5, 3 + 4, 2 + 3, 1 + 2), (11, 9, 7, 5)
    expected = 100 * math.prod(m / t for m, t in zip(matches, totals, strict=True)) ** 0.25
    columns = dict(zip(COLUMNS, bleu_rows(hypotheses, references, 'en').sum(axis=0), strict=True))
    for variant in VARIANTS:
        assert bleu(variant, columns) == pytest.approx(expected, rel=1e-12)


def test_a_short_hypothesis_pays_for_its_length():
    rows = bleu_rows(['the cat sat on'], ['the cat sat on the mat'], 'en')
    columns = dict(zip(COLUMNS, rows.sum(axis=0), strict=True))
    assert bleu(SACREBLEU, columns) == pytest.approx(100 * math.exp(1 - 6 / 4), rel=1e-12)


def test_moses_tokens_are_counted_in_the_variant_of_multi_bleu():
    """13a leaves l'homme and -t-il as they are; Moses splits l off."""
    rows = bleu_rows(["L'homme dort."], ["L'homme dort."], 'fr')[0]
    columns = dict(zip(COLUMNS, rows, strict=True))
    assert columns['bleu_tokens'] == 3  # L'homme dort .
    assert columns['multi_bleu_tokens'] == 4  # L' homme dort .


def test_multi_bleu_is_0_where_one_precision_is_and_sacrebleu_is_not():
    rows = bleu_rows(['the cat ran off today'], ['the cat sat on a mat'], 'en')
    columns = dict(zip(COLUMNS, rows.sum(axis=0), strict=True))
    assert bleu(MULTI_BLEU, columns) == 0 < bleu(SACREBLEU, columns)


@pytest.mark.parametrize('hypotheses', [['', ''], ['z', 'z'], ['', 'the cat sat on a mat']])
def test_degenerate_translations_have_figures(hypotheses):
    rows = bleu_rows(hypotheses, ['the cat sat on a mat', 'a dog'], 'en')
    columns = dict(zip(COLUMNS, rows.sum(axis=0), strict=True))
    for variant in VARIANTS:
        assert 0 <= bleu(variant, columns) <= 100
