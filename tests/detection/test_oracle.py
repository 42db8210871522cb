"""What servers tell of a text, with a scorer that makes scores up."""

import threading

import pytest

from detection.oracle import Closing, Gone, Oracle
from helpers.stub_scorer import StubScorer


def test_tokens_are_told_to_who_asks_for_them():
    oracle = Oracle(StubScorer())
    plain, whole = oracle.tell('some text'), oracle.tell('some text', with_tokens=True)
    assert plain.items() <= whole.items()
    assert set(whole) - set(plain) == {'rows', 'tokens'}
    assert whole['tokens']['id'] == list(b'some text')


def test_who_has_gone_costs_no_score():
    scored = []
    oracle = Oracle(StubScorer(scored.append))
    with pytest.raises(Gone):
        oracle.tell('some text', gone=lambda: True)
    assert not scored and oracle.tell('another')['used_tokens'] == 7


def test_the_end_waits_for_the_text_that_is_scored_and_no_other():
    started, go_on = threading.Event(), threading.Event()
    oracle = Oracle(StubScorer(lambda tokens: started.set() or go_on.wait(10)))
    told = []
    thread = threading.Thread(target=lambda: told.append(pytest.raises(Closing, oracle.tell, 'a')))
    thread.start()
    assert started.wait(10)
    threading.Timer(0.1, go_on.set).start()
    oracle.close()
    assert go_on.is_set()
    thread.join(10)
    assert len(told) == 1
