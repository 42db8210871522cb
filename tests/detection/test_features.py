"""The scores of a text against their formulas in NumPy, and against sampling."""

import types

import numpy as np
import pytest

from detection import features
from scoring.windows import Scores


def distributions(n, n_vocab, seed=0):
    """Log-probabilities of random distributions, float64 [n, V], and tokens that they draw [n]."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, random.uniform(0.5, 4, [n, 1]), [n, n_vocab])
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logprobs, np.array([random.choice(n_vocab, p=np.exp(row)) for row in logprobs])


def scores_of(logprobs, tokens):
    """What a scorer would tell of tokens [n] by the logarithms of distributions [n, V]."""
    chosen = logprobs[range(len(tokens)), tokens]
    before = logprobs > chosen[:, None]
    p = np.exp(logprobs)
    return Scores(
        chosen.astype(np.float32),
        1 + before.sum(axis=1, dtype=np.int32),
        -(p * logprobs).sum(axis=1).astype(np.float32),
        (p * logprobs**2).sum(axis=1).astype(np.float32),
        (p * before).sum(axis=1).astype(np.float32),
    )


@pytest.fixture(scope='module')
def text():
    """(log-probabilities, tokens, Scores) of a text of 120 tokens."""
    logprobs, tokens = distributions(120, 2000)
    return logprobs, tokens, scores_of(logprobs, tokens)


def named(scores):
    return dict(zip(features.NAMES, features.features_of(scores), strict=True))


def test_features_are_what_their_formulas_say(text):
    logprobs, tokens, scores = text
    p = np.exp(logprobs)
    chosen = logprobs[range(120), tokens]
    order = np.argsort(-logprobs, axis=1)
    ranks = 1 + np.argmax(order == tokens[:, None], axis=1)
    mean = (p * logprobs).sum(axis=1)
    variance = (p * (logprobs - mean[:, None]) ** 2).sum(axis=1)
    mass = np.array([p[t, order[t, : ranks[t] - 1]].sum() for t in range(120)])
    expected = {
        'mean_logprob': chosen.mean(),
        'mean_log_rank': np.log(ranks).mean(),
        'lrr': -chosen.sum() / np.log(ranks).sum(),
        'z': (chosen - mean).sum() / np.sqrt(variance.sum()),
        'mean_entropy': -mean.mean(),
        'outside_top_40': (ranks > 40).mean(),
        'outside_nucleus_0.9': (mass >= 0.9).mean(),
        'rank_1_to_10': (ranks <= 10).mean(),
        'rank_11_to_100': ((ranks > 10) & (ranks <= 100)).mean(),
        'rank_101_to_1000': ((ranks > 100) & (ranks <= 1000)).mean(),
        'rank_above_1000': (ranks > 1000).mean(),
        'ln_tokens': np.log(120),
    }
    got = named(scores)
    for name, value in expected.items():
        assert got.pop(name) == pytest.approx(value, rel=1e-4, abs=1e-4), name
    assert len(got) == features.BINS
    assert sum(got.values()) == pytest.approx(1)
    u = features.u_of(scores)
    assert (u >= mass - 1e-6).all() and (u <= mass + np.exp(chosen) + 1e-6).all()
    for n, share in enumerate(got.values()):
        assert share == pytest.approx(((u >= n / 10) & (u < (n + 1) / 10)).mean())


def test_buckets_and_bins_are_counted_to_the_last_token(text):
    *_, scores = text
    assert features.gltr_counts(scores).sum() == features.u_counts(scores).sum() == 120
    edges = scores._replace(ranks=np.int32([1, 10, 11, 100, 101, 1000, 1001, 50257]))
    assert features.gltr_counts(edges).tolist() == [2, 2, 2, 2]
    assert len(features.gltr_counts(scores._replace(ranks=np.int32([1])))) == 4
    certain = Scores(np.float32([0, 0]), np.int32([1, 1]), mass_before=np.float32([0, 1]))
    assert features.u_counts(certain).sum() == 2  # rounding may give a mass of 1


def test_z_is_the_curvature_of_ten_thousand_draws():
    for seed in range(3):
        logprobs, tokens = distributions(60, 200, seed)
        random = np.random.default_rng(seed)
        drawn = np.zeros(10_000)
        for row in logprobs:
            drawn += random.choice(row, size=10_000, p=np.exp(row))
        total = logprobs[range(60), tokens].sum()
        sampled = (total - drawn.mean()) / drawn.std()
        assert features.z(scores_of(logprobs, tokens)) == pytest.approx(sampled, abs=0.05)


def test_u_is_the_same_for_the_same_text_and_uniform_for_drawn_tokens():
    logprobs, tokens = distributions(4000, 50)
    scores = scores_of(logprobs, tokens)
    u = features.u_of(scores)
    np.testing.assert_array_equal(u, features.u_of(scores))
    assert (u != features.u_of(scores, seed=1)).any()
    empirical = np.arange(1, 4001) / 4000
    assert abs(np.sort(u) - empirical).max() < 1.95 / np.sqrt(4000)  # Kolmogorov-Smirnov, 1e-3


def test_a_token_is_outside_a_nucleus_that_is_full_before_it():
    mass = np.array([0, 0.5, 0.8999, 0.9, 0.905, 1], np.float32)
    scores = Scores(mass, mass_before=mass)
    assert features.outside_nucleus(scores) == 0.5


@pytest.mark.parametrize('n', [1, 2])
def test_texts_without_surprises_have_finite_features(n):
    """All tokens are certain: ln r and the variance are 0."""
    zeros = np.zeros(n, np.float32)
    scores = Scores(zeros, np.ones(n, np.int32), zeros, zeros, zeros)
    assert np.isfinite(features.features_of(scores)).all()
    assert named(scores)['z'] == named(scores)['lrr'] == 0
    # Certainty apart, the ratio of first ranks alone is that of one second rank.
    assert features.lrr(scores._replace(logprobs=zeros - 1)) == pytest.approx(n / np.log(2))
    # Rounding may put a variance a little below 0.
    assert features.z(scores._replace(entropies=zeros + np.float32(1e-3))) == 0


class StubScorer:
    """Scores documents with their own lengths; counts how many it has read."""

    encoder = types.SimpleNamespace(encode=lambda text: list(text.encode()))

    def score_documents(self, documents, details, progress, more):
        assert details and more == features.MORE
        for tokens in documents:
            progress(len(tokens))
            yield Scores(np.full(len(tokens), -1, np.float32))


def test_texts_without_tokens_keep_their_places():
    done = []
    texts = ['', 'ab', '', '', 'c', '']
    found = list(features.score_texts(StubScorer(), texts, done.append))
    assert [n for n, _ in found] == [0, 2, 0, 0, 1, 0]
    lengths = [scores and len(scores.logprobs) for _, scores in found]
    assert lengths == [None, 2, None, None, 1, None]
    assert sum(done) == 3
    assert list(features.score_texts(StubScorer(), ['', ''])) == [(0, None), (0, None)]
    assert list(features.score_texts(StubScorer(), [])) == []
