"""Scores of a whole text by which machine text is told from human text. No TensorFlow.

All come from one pass of the scoring model. Of the token at place t of n, by the distribution p_t
over the vocabulary that the model gives after the tokens before it: l_t is its log-probability, r_t
its rank from 1, H_t the entropy and s2_t the variance of the log-probability of a token drawn from
p_t, and c_t the probability of all tokens that rank before it.
"""

import collections

import numpy as np

TOP_K = 40  # the truncations that OpenAI sampled its data set with, or about so
NUCLEUS = 0.9
BUCKETS = (10, 100, 1000)  # GLTR's: the highest ranks of all buckets but the last
BINS = 10  # of the histogram of u
SEED = 0
MORE = ('second_moments', 'mass_before')  # of the scorer, besides ranks and details

RANKS = tuple(
    f'rank_{low + 1}_to_{high}' if high else f'rank_above_{low}'
    for low, high in zip((0, *BUCKETS), (*BUCKETS, None), strict=True)
)
MASSES = tuple(f'u_{n / BINS}_to_{(n + 1) / BINS}' for n in range(BINS))
NAMES = (
    'mean_logprob',
    'mean_log_rank',
    'lrr',
    'z',
    'mean_entropy',
    f'outside_top_{TOP_K}',
    f'outside_nucleus_{NUCLEUS}',
    *RANKS,
    *MASSES,
    'ln_tokens',
)


def features_of(scores):
    """The numbers of a text that a detector learns from: float64 [len(NAMES)], all finite.

    scores: scoring.windows.Scores of one text with nothing left out. GLTR's buckets and the bins of
    u are shares of the tokens.
    """
    n = len(scores.logprobs)
    return np.array(
        [
            scores.logprobs.mean(dtype=np.float64),
            np.log(scores.ranks).mean(),
            lrr(scores),
            z(scores),
            scores.entropies.mean(dtype=np.float64),
            outside_top_k(scores),
            outside_nucleus(scores),
            *gltr_counts(scores) / n,
            *u_counts(scores) / n,
            np.log(n),
        ]
    )


def lrr(scores):
    """The log-likelihood log-rank ratio, - sum l_t / sum ln r_t (Su et al. 2023).

    A text of nothing but first ranks is given one second rank, lest the ratio be infinite.
    """
    return -scores.total / max(np.log(scores.ranks).sum(), np.log(2))


def z(scores):
    """Fast-DetectGPT's analytic curvature with the scoring model alone (Bao et al. 2024).

    It is sum (l_t + H_t) / sqrt(sum s2_t): how much likelier the text is than one that the model
    would draw, in standard deviations. On the model's own samples without truncation the sum has
    mean 0 and variance sum E s2_t whatever the model is, as a sum of martingale differences.
    """
    above, variance = surplus(scores)
    return above / np.sqrt(variance) if variance else 0.0


def surplus(scores):
    """The sum of l_t + H_t, and the sum of s2_t: its variance if the model drew the tokens."""
    entropies = scores.entropies.astype(np.float64)
    # A distribution that is certain has no variance, and rounding must not make it negative.
    variances = np.maximum(scores.second_moments - entropies**2, 0)
    return scores.total + entropies.sum(), variances.sum()


def outside_top_k(scores, k=TOP_K):
    """The share of tokens that top-k sampling never draws."""
    return float((scores.ranks > k).mean())


def outside_nucleus(scores, p=NUCLEUS):
    """The share of tokens that nucleus sampling never draws: c_t is p or more."""
    return float((scores.mass_before >= np.float32(p)).mean())


def gltr_counts(scores):
    """GLTR's buckets (Gehrmann et al. 2019): tokens of rank 1-10, 11-100, 101-1000 and beyond.

    int64 [4]; their sum is n.
    """
    return np.bincount(np.searchsorted(BUCKETS, scores.ranks), minlength=len(BUCKETS) + 1)


def u_of(scores, seed=SEED):
    """The randomised cumulative mass of tokens, u_t = c_t + U p_t with U uniform: float64 [n].

    It is uniform on [0, 1] for a text that the model drew without truncation; truncation cuts off
    its upper end, a low temperature tilts it downwards.
    seed: of U, so that a text always has the same numbers.
    """
    random = np.random.RandomState(seed)  # its numbers are promised to stay the same
    uniform = random.random_sample(len(scores.logprobs))
    return np.minimum(scores.mass_before + uniform * np.exp(scores.logprobs), 1)


def u_counts(scores):
    """The histogram of u: int64 [BINS], the sum is n."""
    return np.histogram(u_of(scores), BINS, (0, 1))[0]


def score_texts(scorer, texts, progress=None):
    """Yield (number of tokens, Scores or None if there are none) of texts, in their order.

    texts: iterable of str, read as it goes.  progress: called with the number of tokens scored.
    """
    return score_tokens(scorer, map(scorer.encoder.encode, texts), progress)


def score_tokens(scorer, documents, progress=None):
    """The same of lists of tokens."""
    counts = collections.deque()  # of the documents that have been read

    def some():
        for tokens in documents:
            counts.append(len(tokens))
            if len(tokens):
                yield tokens

    for scores in scorer.score_documents(some(), details=True, progress=progress, more=MORE):
        while not counts[0]:
            yield counts.popleft(), None
        yield counts.popleft(), scores
    for count in counts:
        yield count, None
