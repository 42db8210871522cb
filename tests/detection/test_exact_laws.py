"""Laws that hold exactly for samples scored by the model that drew them, by the ids as generated.

They hold whatever the model is, so generator and scorer test each other: a wrong context, a shift
by one token or another truncation breaks them at once.
"""

import numpy as np
import pytest

from detection import features
from scoring.scorer import Scorer
from support.settings import Settings

SMALL = (32, 60)  # samples, and tokens of each
FULL = (232, 250)
SIZES = [SMALL, pytest.param(FULL, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
TIES = 1e-4  # nats by which generator and scorer may differ in a logit


@pytest.fixture(scope='module')
def demo(models_dir):
    with Scorer('demo', str(models_dir)) as scorer:
        yield scorer


@pytest.fixture(scope='module')
def draw(demo_engine, demo):
    """Samples of the demo model and their Scores: (size, **sampling) -> two lists."""

    def drawn(size, **sampling):
        n, length = size
        prompts = [[demo.encoder.end_of_text]] * n
        settings = Settings(length=length, seed=7, **sampling)
        samples = demo_engine.generate(prompts, settings)
        scores = [scores for _, scores in features.score_tokens(demo, samples)]
        assert [len(each.ranks) for each in scores] == [length] * n
        return samples, scores

    return drawn


def kolmogorov_smirnov(u):
    """The largest distance between the distribution of u and the uniform one, times sqrt(n)."""
    u, n = np.sort(u), len(u)
    upper, lower = np.arange(1, n + 1) / n, np.arange(n) / n
    return max((upper - u).max(), (u - lower).max()) * np.sqrt(n)


@pytest.mark.parametrize('size', SIZES)
def test_samples_are_as_likely_as_the_model_says_and_fill_the_unit_interval(draw, size):
    _, scores = draw(size)
    above, variances = np.array([features.surplus(each) for each in scores]).T
    assert abs(above.sum()) <= 4 * np.sqrt(variances.sum())
    n = len(scores)
    least, most = (0.85, 1.15) if n >= 232 else (0.55, 1.45)  # 3.2 and 3.6 standard errors
    assert least <= np.std([features.z(each) for each in scores]) <= most
    u = np.concatenate([features.u_of(each, seed=place) for place, each in enumerate(scores)])
    assert kolmogorov_smirnov(u) < 1.95  # passes at 1e-3


@pytest.mark.parametrize('size', SIZES)
def test_samples_of_top_k_have_no_token_beyond_it(draw, demo, size):
    samples, scores = draw(size, top_k=40)
    for tokens, each in zip(samples, scores, strict=True):
        for place in np.flatnonzero(each.ranks > 40):  # one that ties with the 40th
            context = [demo.encoder.end_of_text, *tokens[:place]]
            (logprobs,) = demo.next_tokens([context], 40)[1]
            assert each.logprobs[place] >= logprobs[-1] - TIES
    assert np.mean([features.outside_top_k(each) for each in scores]) < 1e-3
    # Truncated samples are likelier than what the model draws, and leave the end of u empty.
    assert min(features.z(each) for each in scores) > 0


@pytest.mark.parametrize('size', SIZES)
def test_samples_of_a_nucleus_have_no_token_outside_of_it(draw, size):
    _, scores = draw(size, top_p=0.9)
    assert max(each.mass_before.max() for each in scores) < 0.9 + TIES
    outside = np.mean([features.outside_nucleus(each) for each in scores])
    assert outside < 1e-4
    u = np.concatenate([features.u_of(each, seed=place) for place, each in enumerate(scores)])
    assert kolmogorov_smirnov(u) > 1.95


def test_another_temperature_breaks_the_law(draw):
    """What the laws are worth: they tell a temperature of 0.9 from 1."""
    _, scores = draw(SMALL, temperature=0.9)
    above, variances = np.array([features.surplus(each) for each in scores]).T
    assert above.sum() > 4 * np.sqrt(variances.sum())
    u = np.concatenate([features.u_of(each, seed=place) for place, each in enumerate(scores)])
    assert kolmogorov_smirnov(u) > 1.95


@pytest.mark.slow
def test_samples_of_top_k_are_as_likely_as_its_own_distribution_says(draw, demo):
    """The first law, with the distribution that the sampler drew from: of 40 tokens, made to 1."""
    samples, _ = draw(SMALL, top_k=40)
    above = variance = 0
    for tokens in samples:
        contexts = [[demo.encoder.end_of_text, *tokens[:place]] for place in range(len(tokens))]
        ids, logprobs = demo.next_tokens(contexts, 40)
        logprobs = logprobs - np.log(np.exp(logprobs).sum(axis=1, keepdims=True))
        chosen = logprobs[ids == np.array(tokens)[:, None]]
        assert len(chosen) == len(tokens)
        mean = (np.exp(logprobs) * logprobs).sum(axis=1)
        variance += (np.exp(logprobs) * (logprobs - mean[:, None]) ** 2).sum()
        above += (chosen - mean).sum()
    assert abs(above) <= 4 * np.sqrt(variance)
