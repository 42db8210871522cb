"""Scoring against Hugging Face's GPT-2 in PyTorch, with the same weights."""

import numpy as np
import pytest

from helpers import hf_gpt2
from scoring.scorer import Scorer
from scoring.windows import Window, windows_of

pytestmark = pytest.mark.peers


@pytest.fixture(scope='module', params=['demo', 'tiny'])
def both(request, models_dir):
    """A scorer, and the log-probabilities [S, V] that PyTorch gives to what follows tokens [S]."""
    import torch

    with Scorer(request.param, str(models_dir)) as scorer:
        checkpoint = models_dir / request.param / 'model.ckpt'
        network = hf_gpt2.load(checkpoint, scorer.hparams.values())

        def logprobs(tokens):
            with torch.inference_mode():
                logits = network(torch.tensor(np.asarray(tokens))[None]).logits[0]
                return logits.double().log_softmax(-1).numpy()

        yield scorer, logprobs


def check(scores, logprobs, targets):
    chosen = logprobs[np.arange(len(targets)), targets]
    np.testing.assert_allclose(scores.logprobs, chosen, rtol=0, atol=1e-4)
    entropies = -(np.exp(logprobs) * logprobs).sum(axis=1)
    np.testing.assert_allclose(scores.entropies, entropies, rtol=0, atol=1e-4)
    ranks = 1 + (logprobs > chosen[:, None]).sum(axis=1)
    close = (abs(logprobs - chosen[:, None]) < 1e-4).sum(axis=1) - 1
    assert (abs(scores.ranks - ranks) <= close).all()


def random_tokens(scorer, n, seed):
    return np.random.default_rng(seed).integers(scorer.hparams.n_vocab, size=n)


def test_windows_of_all_lengths(both):
    scorer, logprobs = both
    n_ctx = scorer.hparams.n_ctx
    windows = [
        Window(random_tokens(scorer, n, seed=n), first)
        for n, first in [(2, 1), (n_ctx + 1, 1), (n_ctx // 2, 9), (17, 16), (18, 2), (n_ctx, 5)]
    ]
    results = scorer.score_windows(windows, details=True)
    for (tokens, first), scores in zip(windows, results, strict=True):
        check(scores, logprobs(tokens[:-1])[first - 1 :], tokens[first:])


@pytest.mark.parametrize('stride', [1, 7, 32])
def test_a_document_with_a_sliding_window(both, stride):
    scorer, logprobs = both
    tokens = random_tokens(scorer, 150, seed=0)
    whole = [scorer.encoder.end_of_text, *tokens]
    scores = scorer.score_document(tokens, context=32, stride=stride, details=True)
    rows = [
        logprobs(whole[start : end - 1])[first - 1 - start :]
        for start, end, first in windows_of(len(whole), 32, stride)
    ]
    check(scores, np.concatenate(rows), tokens)


def test_continuations_of_one_prompt(both):
    scorer, logprobs = both
    prompt = random_tokens(scorer, 40, seed=1)
    endings = [random_tokens(scorer, n, seed=n) for n in (3, 1, 12, 5)]
    results = scorer.score_continuations([(prompt, e) for e in endings], details=True)
    totals = []
    for ending, scores in zip(endings, results, strict=True):
        rows = logprobs([*prompt, *ending[:-1]])[len(prompt) - 1 :]
        check(scores, rows, ending)
        totals.append(rows[np.arange(len(ending)), ending].sum())
    np.testing.assert_allclose(scorer.choose(prompt, endings), totals, rtol=0, atol=1e-3)


def test_next_tokens(both):
    scorer, logprobs = both
    contexts = [random_tokens(scorer, n, seed=n) for n in (1, scorer.hparams.n_ctx, 30)]
    ids, values = scorer.next_tokens(contexts, 4)
    for context, of_ids, of_values in zip(contexts, ids, values, strict=True):
        last = logprobs(context)[-1]
        np.testing.assert_allclose(of_values, np.sort(last)[::-1][:4], rtol=0, atol=1e-4)
        np.testing.assert_allclose(of_values, last[of_ids], rtol=0, atol=1e-4)
