"""What is told of texts, by scores that are made up."""

import json
import math

import numpy as np
import pytest

from detection import findings
from helpers.stub_detector import StubDetector
from scoring.windows import Scores


def scores_of(n, logprob=-4.0):
    """n tokens, one of rank 50 and outside the nucleus, the others of rank 1."""
    ranks = np.ones(n, np.int32)
    mass = np.zeros(n, np.float32)
    ranks[-1], mass[-1] = 50, 0.95
    return Scores(
        np.full(n, logprob, np.float32),
        ranks,
        np.full(n, 4, np.float32),
        np.full(n, 17, np.float32),
        mass,
    )


class StubScorer:
    def score_documents(self, documents, details, progress, more):
        for tokens in documents:
            yield scores_of(len(tokens))


def test_a_record_has_the_keys_of_2019_and_the_numbers():
    record = findings.record_of('text', 100, scores_of(100), None)
    assert list(record)[:4] == [
        'all_tokens',
        'used_tokens',
        'real_probability',
        'fake_probability',
    ]
    assert record['all_tokens'] == record['used_tokens'] == 100
    assert record['real_probability'] is record['fake_probability'] is None
    assert record['mean_logprob'] == -4 and record['z'] == 0
    assert record['outside_top_40'] == record['outside_nucleus_0.9'] == 0.01
    assert record['gltr'] == [99, 1, 0, 0]
    assert sum(record['u']) == 100 and record['u'][-1] == 1
    assert not record['too_short']
    json.dumps(record, allow_nan=False)


def test_a_detector_adds_the_probability_and_its_rate_among_people():
    detector = StubDetector()
    record = findings.record_of('text', 100, scores_of(100), detector)
    assert record['log_odds'] == 1
    p = 1 / (1 + math.exp(-1))
    assert record['fake_probability'] == pytest.approx(p, rel=1e-6)
    assert record['real_probability'] == pytest.approx(1 - p, rel=1e-6)
    assert record['humans_above'] == 0 and record['humans'] == 8
    rows = dict(findings.rows_of(record))
    assert rows['machine'] == '73.11 %'
    # Of eight texts none is above: that is no zero in a thousand.
    assert rows['human texts that score higher'] == 'fewer than 125 of 1,000'
    record = findings.record_of('text', 100, scores_of(100, -6), detector)
    assert record['humans_above'] == 0.375  # 0.5, 0 and -0.5 are above -1
    assert dict(findings.rows_of(record))['human texts that score higher'] == '375 of 1,000'


def test_a_detector_that_reads_texts_gets_the_text_and_tells_how_much_of_it_it_used():
    detector = StubDetector('words')
    detector.most_tokens = 60
    record = findings.record_of('x' * 50, 100, scores_of(100), detector)
    assert (record['log_odds'], detector.read) == (0.5, ['x' * 50])
    assert (record['all_tokens'], record['used_tokens']) == (100, 60)
    assert findings.rows_of(record)[-1] == ('both of', 'the first 60 tokens')
    detector.most_tokens = 100
    record = findings.record_of('x' * 50, 100, scores_of(100), detector)
    assert 'both of' not in dict(findings.rows_of(record))


def test_a_short_text_is_called_so_and_gets_no_probability_in_the_line():
    for n, short in ((49, True), (50, False)):
        record = findings.record_of('text', n, scores_of(n), StubDetector())
        assert record['too_short'] is short
        rows = dict(findings.rows_of(record))
        assert ('too short' in rows, 'machine' in rows) == (short, not short)


def test_documents_keep_their_order_and_one_without_tokens_has_no_numbers():
    documents = [('', []), ('ab', [1, 2]), ('', [])]
    found = list(findings.find(StubScorer(), StubDetector(), iter(documents)))
    assert [record['all_tokens'] for _, record in found] == [0, 2, 0]
    assert [scores is None for scores, _ in found] == [True, False, True]
    numbers = {k: v for k, v in found[0][1].items() if 'tokens' not in k}
    assert numbers.pop('too_short') and numbers.pop('humans') == 8
    assert set(numbers.values()) == {None}
