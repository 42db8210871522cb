"""F1 and exact match against values worked out by hand, the official rules, and peers."""

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.answers import agreement, exact_match, f1, leave_one_out, matches_any, normalise

SWEDEN = ['Sweden', 'Sweden', 'in Sweden', 'Sweden']
TURKERS = ['unknown', 'yes', 'Yes', 'yes']


@pytest.mark.parametrize(
    'text, expected',
    [
        ('The  White Cat.', 'white cat'),
        ('a-team', 'ateam'),
        ('in’a’box', 'in’ ’box'),
        ('A+', ''),
        ('an Anthem to the theatre', 'anthem to theatre'),
        ('“one world, one dream”.', '“one world one dream”'),
        ('54\u00a0Mbit/s', '54 mbits'),
        ("Don't", 'dont'),
        (' \n', ''),
    ],
)
def test_texts_are_compared_without_case_punctuation_and_articles(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    'answer, references, expected',
    [
        ('Sweden', SWEDEN, 1),
        ('in Sweden', SWEDEN, 11 / 12),  # 1 three times, and 2/3 where "in Sweden" is left out
        ('unknown', TURKERS, 0.75),
        ('yes', TURKERS, 1),
        ('white cat', ['white'] * 4, 2 / 3),
        ('a-team', ['ateam', 'the A-Team.'], 1),
    ],
)
def test_the_values_of_the_official_script(answer, references, expected):
    assert leave_one_out(f1, answer, references) == pytest.approx(expected, abs=1e-12)


def test_exact_match_leaves_one_out_too():
    assert leave_one_out(exact_match, 'in Sweden', SWEDEN) == 0.75
    assert leave_one_out(exact_match, 'Unknown!', TURKERS) == 0.75
    assert leave_one_out(exact_match, 'white cat', ['white'] * 4) == 0


def test_one_reference_is_not_left_out():
    assert leave_one_out(f1, 'the cat', ['a cat']) == 1
    assert leave_one_out(exact_match, 'cat', ['dog']) == 0


def test_words_count_as_often_as_they_are_there():
    assert f1('dog dog cat', 'dog dog dog') == pytest.approx(4 / 6)


def test_nothing_is_right_only_where_nothing_is_to_be_said():
    assert f1('', 'the') == f1('A.', '?') == 1
    assert f1('', 'cat') == f1('cat', '') == 0


def test_people_are_compared_with_the_others():
    assert agreement(f1, SWEDEN) == pytest.approx((3 * 1 + 2 / 3) / 4)
    assert agreement(exact_match, TURKERS) == 0.75
    assert agreement(f1, ['one', 'two']) == 0


def test_natural_questions_compare_decomposed_texts_with_any_answer():
    assert matches_any('Beyonc\u00e9', ['Coldplay', 'Beyonce\u0301'])
    assert not matches_any('Beyonce', ['Beyonc\u00e9'])
    assert matches_any('the A', ['A+'])  # as officially: both are nothing
    assert not matches_any('India', ['Nepal', 'Bhutan'])


# Against rules that are written in another way


PIECES = ['a', 'the', 'An', 'Cat', 'cat', 'dog', '.', ' ', '  ', "'s", '-', '\u2019', '\n', 'é']
property_test = settings(deadline=None, database=None)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map(''.join)


def words(text):
    """By hand: letter by letter, word by word."""
    kept = ''.join(character for character in text.lower() if character not in string.punctuation)
    parts = re.split(r'(\w+)', kept)  # every second one is a run of letters and digits
    parts[1::2] = [' ' if part in ('a', 'an', 'the') else part for part in parts[1::2]]
    return ''.join(parts).split()


def slow_f1(answer, reference):
    left, right = words(answer), words(reference)
    if not left or not right:
        return 1 if left == right else 0
    rest, same = list(right), 0
    for word in left:
        if word in rest:
            rest.remove(word)
            same += 1
    precision, recall = same / len(left), same / len(right)
    return 2 * precision * recall / (precision + recall) if same else 0


@property_test
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4))
def test_scores_are_those_of_the_official_rules(answer, references):
    assert normalise(answer).split() == words(answer)
    for reference in references:
        assert f1(answer, reference) == pytest.approx(slow_f1(answer, reference), abs=1e-12)
        assert exact_match(answer, reference) == (words(answer) == words(reference))
    best = []
    for place in range(len(references)):
        kept = [r for n, r in enumerate(references) if n != place] or references
        best.append(max(slow_f1(answer, reference) for reference in kept))
    assert leave_one_out(f1, answer, references) == pytest.approx(sum(best) / len(best))


ANY_TEXTS = st.one_of(TEXTS, st.text(max_size=12))


@pytest.fixture(scope='module')
def transformers_squad():
    """Versions before 5 have a copy of SQuAD 2.0's script."""
    return pytest.importorskip('transformers.data.metrics.squad_metrics')


@pytest.mark.peers
@property_test
@given(answer=ANY_TEXTS, reference=ANY_TEXTS)
def test_scores_are_those_of_transformers(transformers_squad, answer, reference):
    theirs = transformers_squad.compute_f1(reference, answer)
    assert f1(answer, reference) == pytest.approx(theirs, abs=1e-12)
    assert exact_match(answer, reference) == transformers_squad.compute_exact(reference, answer)
    assert normalise(answer) == transformers_squad.normalize_answer(answer)


@pytest.fixture(scope='module')
def harness_coqa():
    """It imports that copy."""
    return pytest.importorskip('lm_eval.tasks.coqa.utils')


@pytest.mark.peers
@property_test
@given(answer=ANY_TEXTS, references=st.lists(ANY_TEXTS, min_size=1, max_size=4))
def test_turns_are_scored_as_the_harness_does(harness_coqa, answer, references):
    theirs = harness_coqa.compute_scores(references, answer)
    assert leave_one_out(f1, answer, references) == pytest.approx(theirs['f1'], abs=1e-12)
    assert leave_one_out(exact_match, answer, references) == pytest.approx(theirs['em'], abs=1e-12)


@pytest.fixture(scope='module')
def harness_squad():
    """A copy of SQuAD 1.1's script, which has no rule for two texts of nothing."""
    return pytest.importorskip('lm_eval.tasks.qasper.metrics')


@pytest.mark.peers
@property_test
@given(answer=ANY_TEXTS, reference=ANY_TEXTS)
def test_scores_are_those_of_the_harness(harness_squad, answer, reference):
    assert normalise(answer) == harness_squad.normalize_answer(answer)
    if normalise(answer) or normalise(reference):
        theirs = harness_squad.f1_abstractive([answer], [reference])
        assert f1(answer, reference) == pytest.approx(theirs, abs=1e-12)
