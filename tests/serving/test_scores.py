"""What the server tells of texts that are there already."""

import itertools
import json

import numpy as np
import pytest

from detection.oracle import Gone, Oracle
from helpers import numpy_gpt2
from helpers.stub_detector import StubDetector
from helpers.stub_scorer import StubScorer
from score import score
from scoring.scorer import Scorer
from serving import scores

TEXT = 'é日 <|endoftext|>'


@pytest.fixture(scope='module')
def scorer(byte_models):
    with Scorer('bytes', str(byte_models)) as scorer:
        yield scorer


@pytest.fixture(scope='module')
def weights(byte_models):
    return numpy_gpt2.load_weights(byte_models / 'bytes' / 'model.ckpt')


@pytest.mark.parametrize('n', [2, 17, 64, 65])
def test_a_prompt_has_the_log_probabilities_of_numpy(scorer, weights, n):
    tokens = np.random.default_rng(n).integers(257, size=n).tolist()
    expected = np.log(numpy_gpt2.softmax(numpy_gpt2.logits(weights, tokens[:-1], n_head=2)))
    logprobs, tops = scores.prompt_logprobs(scorer, tokens, 3)
    assert logprobs[0] is tops[0] is None and len(logprobs) == len(tops) == n
    chosen = expected[np.arange(n - 1), tokens[1:]]
    np.testing.assert_allclose(logprobs[1:], chosen, rtol=0, atol=1e-5)
    for row, top in zip(expected, tops[1:], strict=True):
        assert len(top) == 3
        np.testing.assert_allclose([v for _, v in top], np.sort(row)[:-4:-1], rtol=0, atol=1e-5)
        np.testing.assert_allclose([v for _, v in top], row[[i for i, _ in top]], atol=1e-5)
    json.dumps(tops)


def test_a_greedy_prompt_has_the_very_float_of_the_most_likely_token(scorer):
    tokens = [65]
    for _ in range(20):
        ids, _ = scorer.next_tokens([tokens], 1)
        tokens.append(int(ids[0, 0]))
    logprobs, tops = scores.prompt_logprobs(scorer, tokens, 1)
    assert [(tokens[n], logprobs[n]) for n in range(1, 21)] == [top for (top,) in tops[1:]]


def test_without_most_likely_tokens_there_are_none(scorer):
    logprobs, tops = scores.prompt_logprobs(scorer, [1, 2, 3], 0)
    assert tops == [None, [], []]
    assert logprobs == scores.prompt_logprobs(scorer, [1, 2, 3], 5)[0]


def test_a_prompt_of_one_token_has_nothing_before_it(scorer):
    assert scores.prompt_logprobs(scorer, [7], 5) == ([None], [None])


@pytest.mark.parametrize(
    'tokens, message',
    [
        ([], 'the prompt has no tokens'),
        ([1] * 66, 'a window of 66 tokens exceeds the context of 64 tokens'),
        ([1, 257], r'a window holds a token outside 0\.\.256'),
    ],
)
def test_prompts_that_cannot_be_scored_are_refused(scorer, tokens, message):
    with pytest.raises(ValueError, match=message):
        scores.prompt_logprobs(scorer, tokens, 1)


def test_the_surprisal_of_a_text_is_what_score_py_tells(byte_models, call, tmp_path, scorer):
    text = TEXT * 20  # longer than the context
    (tmp_path / 'text').write_text(text, 'utf-8')
    flags = f'--model_name=bytes --models_dir={byte_models} --tokens {tmp_path}/tokens'.split()
    status, output, _ = call(score, tmp_path / 'text', *flags)
    assert status == 0
    told = scores.surprisal(scorer, text)
    printed = [line.rsplit(maxsplit=1) for line in output.splitlines()]
    assert [[label.strip(), value] for label, value in printed][1:] == told['rows']
    records = [json.loads(line) for line in (tmp_path / 'tokens').read_text('utf-8').splitlines()]
    columns = told['tokens']
    for key in ('text', 'id', 'logprob', 'rank', 'entropy'):
        assert columns[key] == [record[key] for record in records]
    assert columns['bytes'] == {n: r['bytes'] for n, r in enumerate(records) if 'bytes' in r}
    assert columns['bytes'] and ''.join(columns['text']) == text


def test_a_detector_tells_of_a_text_with_its_tokens():
    text = TEXT * 4
    record = scores.detect(Oracle(StubScorer(), StubDetector()), text)
    assert record == json.loads(json.dumps(record)) | {'tokens': record['tokens']}
    assert ''.join(record['tokens']['text']) == text
    assert record['fake_probability'] is not None and dict(record['rows'])['machine']
    without = scores.detect(Oracle(StubScorer()), text)
    assert without['fake_probability'] is None and without['z'] == record['z']


def test_empty_texts_and_what_is_no_text_are_refused(scorer):
    oracle = Oracle(scorer)
    for function, of in ((scores.surprisal, scorer), (scores.detect, oracle)):
        with pytest.raises(ValueError, match='there is no text to'):
            function(of, '')
        with pytest.raises(ValueError, match='character 1 of'):
            function(of, 'a\ud800b')


def test_work_ends_where_nobody_waits_for_it(scorer):
    oracle = Oracle(scorer)
    calls = [
        (scores.prompt_logprobs, scorer, [1, 2], 1),
        (scores.surprisal, scorer, 'x' * 5000),
        (scores.detect, oracle, 'x' * 5000),
    ]
    for function, *arguments in calls:
        with pytest.raises(Gone):
            function(*arguments, gone=lambda: True)
    for function, *arguments in calls[1:]:  # in the midst of it
        asked = itertools.count()
        with pytest.raises(Gone):
            function(*arguments, gone=lambda asked=asked: next(asked) > 1)
        assert next(asked) < 5
    assert oracle.tell('x')['all_tokens'] == 1, 'its turn is not over'


def test_what_nobody_waits_for_any_more_does_not_begin():
    with pytest.raises(Gone):
        scores.prompt_logprobs(None, [1, 2], 0, gone=lambda: True)  # no scorer is asked
