"""Corpus BLEU (Papineni et al. 2002) by sacrebleu, in two variants.

BLEU is a function of ten sums over the sentences: so it gets its interval from drawing sentences
anew. No TensorFlow.
"""

import functools
from typing import NamedTuple

import numpy as np

from evaluation.metric import Metric
from evaluation.packages import version_of

ORDERS = range(1, 5)  # n of the n-grams
STATISTICS = (
    *(f'matches_{n}' for n in ORDERS),
    *(f'ngrams_{n}' for n in ORDERS),
    'tokens',
    'reference_tokens',
)


class Variant(NamedTuple):
    """How texts become tokens, and what becomes of an n-gram precision of 0.

    tokenize, smooth: as sacrebleu names them.  moses: whether texts become Moses' tokens before.
    """

    name: str
    tokenize: str
    smooth: str
    moses: bool = False

    @property
    def columns(self):
        return tuple(f'{self.name}_{statistic}' for statistic in STATISTICS)

    @property
    def signature(self):
        """What sacrebleu prints of itself, and the tokens that it gets if they are no texts."""
        version = version_of('sacrebleu').partition(' ')[2]
        own = f'nrefs:1|case:mixed|eff:no|tok:{self.tokenize}|smooth:{self.smooth}'
        tokens = f', tokens of Moses by {version_of("sacremoses")}' if self.moses else ''
        return f'{own}|version:{version}{tokens}'


SACREBLEU = Variant('bleu', '13a', 'exp')
# multi-bleu.perl on tokenized texts, as most of what the paper compares with: any precision of 0
# makes the whole 0.
MULTI_BLEU = Variant('multi_bleu', 'none', 'none', moses=True)
VARIANTS = (SACREBLEU, MULTI_BLEU)
COLUMNS = tuple(column for variant in VARIANTS for column in variant.columns)
REQUIRES = ('sacrebleu', 'sacremoses')


def bleu_rows(hypotheses, references, language):
    """The statistics of each sentence in each variant, float64 [sentences, COLUMNS].

    hypotheses, references: lists of str.  language: of both, an ISO 639-1 code.
    """
    return np.concatenate(
        [statistics(variant, hypotheses, references, language) for variant in VARIANTS], axis=1
    )


def statistics(variant, hypotheses, references, language):
    from sacrebleu.metrics import BLEU

    prepared = moses_tokens(language) if variant.moses else str
    # force: texts that are tokenized already are what is meant here
    bleu = BLEU(tokenize=variant.tokenize, smooth_method=variant.smooth, force=True)
    rows = np.zeros([len(hypotheses), len(STATISTICS)])
    for row, *pair in zip(rows, hypotheses, references, strict=True):
        hypothesis, reference = map(prepared, pair)
        score = bleu.corpus_score([hypothesis], [[reference]])
        row[:] = *score.counts, *score.totals, score.sys_len, score.ref_len
    return rows


def moses_tokens(language):
    """The function that writes a text as its Moses tokens, with spaces between."""
    from sacremoses import MosesTokenizer

    return functools.partial(MosesTokenizer(language).tokenize, return_str=True)


def bleu(variant, sums):
    """BLEU of 0 to 100.  sums: {column of the variant: sum of its statistic}."""
    from sacrebleu.metrics import BLEU

    values = [round(sums[column]) for column in variant.columns]
    matches, ngrams, lengths = values[:4], values[4:8], values[8:]
    return BLEU.compute_bleu(matches, ngrams, *lengths, smooth_method=variant.smooth).score


def bleu_metrics(column, what):
    """{name: Metric} of both variants.

    column: of published_results.json.  what: what of the generated text is compared.
    """
    return {
        variant.name: Metric(
            'BLEU',
            None,
            None,
            'sentences',
            f'{what}; {variant.signature}',
            column,
            of_sums=functools.partial(bleu, variant),
        )
        for variant in VARIANTS
    }
