"""Prompts become texts; figures are functions of the texts."""

import math

import pytest

from evaluation import generating
from evaluation.generating import Generated, Prompt
from evaluation.task import figures
from helpers.scripted_engine import Completion, ScriptedEngine
from helpers.small_generating import ANSWERS, CAPITALS, QUESTIONS
from helpers.texts import byte_encoder

ENCODER = byte_encoder()


def test_choices_are_greedy_unless_they_say_otherwise():
    settings = generating.generation_settings({'length': 9, 'stops': ['\n'], 'pairs': 5})
    assert (settings.length, settings.temperature, settings.seed) == (9, 0, 0)
    assert settings.stop_at_end
    choices = {'length': 9, 'temperature': 1, 'top_k': 2, 'seed': 7}
    settings = generating.generation_settings(choices)
    assert (settings.temperature, settings.top_k, settings.seed) == (1, 2, 7)


def test_a_prompt_without_room_is_named():
    prompts = [Prompt('a', [1] * 5), Prompt('b/2', [1] * 8)]
    generating.check_prompts(prompts, 3, 10)
    with pytest.raises(ValueError, match=r'prompt b/2: a prompt of 8 tokens and 4 new ones exceed'):
        generating.check_prompts(prompts, 4, 10)


def test_a_digest_identifies_a_prompt():
    digests = [generating.prompt_sha(Prompt('a', tokens)) for tokens in ([1, 2], [2, 1], [258])]
    assert len(set(digests)) == 3 and all(len(digest) == 16 for digest in digests)
    assert digests[0] == generating.prompt_sha(Prompt('b', [1, 2], shared=1, lost=3))


def test_a_text_ends_before_its_stop_and_its_probability_is_that_of_all_its_tokens():
    prompt = Prompt('a', [1], lost=4)
    stopped = Completion([*b' Oslo\nQ'], [-0.5] * 7, False, True)
    assert generating.generated(prompt, stopped, ENCODER, ['\n']) == Generated(
        'a', ' Oslo', [*b' Oslo\nQ'], -3.5, 4
    )
    ended = Completion([*b' Oslo'], [-0.5] * 6, True, False)
    assert generating.generated(prompt, ended, ENCODER, ['\n']).text == ' Oslo'
    assert generating.generated(prompt, ended, ENCODER, ['\n']).logprob == -3
    half = Completion([*'é'.encode()[:1]], [-1.0], False, False)
    assert generating.generated(prompt, half, ENCODER, []).text == '\ufffd'


def generate(engine, rows=2):
    """The texts of all prompts of the small task, in the order in which they end."""
    prompts = CAPITALS.prompts(QUESTIONS, ENCODER, 1024, CAPITALS.choices)
    settings, stops = generating.generation_settings(CAPITALS.choices), CAPITALS.choices['stops']
    completions = engine.complete(map(Request, prompts), settings, stops=stops, rows=rows)
    return [generating.generated(prompts[n], c, ENCODER, stops) for n, c in completions]


class Request:
    def __init__(self, prompt):
        self.prompt = prompt.tokens


def test_a_scripted_engine_says_what_it_is_told():
    texts = generate(ScriptedEngine(ENCODER, ANSWERS))
    assert {g.id: g.text for g in texts} == {
        'France': ' Paris',
        'Spain': ' Lisbon',
        'Norway': ' Oslo',
        'Peru': '',
        'Japan': ' Tok Tok',  # as many tokens as it may have
    }
    lengths = {g.id: (len(g.tokens), g.logprob) for g in texts}
    assert lengths['France'] == (7, -3.5)  # with the line end
    assert lengths['Norway'] == (5, -3.0)  # the end token is none of them but counts
    assert [g.id for g in texts] == ['France', 'Spain', 'Peru', 'Norway', 'Japan']
    with pytest.raises(KeyError):
        generate(ScriptedEngine(ENCODER, {}))


def test_figures_of_texts_are_ratios_and_others():
    generated = {g.id: g for g in generate(ScriptedEngine(ENCODER, ANSWERS))}
    rows = CAPITALS.rows(QUESTIONS, generated, CAPITALS.choices)
    found = figures(CAPITALS, rows, context=1024)
    assert found['exact_match']['value'] == pytest.approx(40)
    probabilities = {g.id: math.exp(g.logprob) for g in generated.values()}
    assert sorted(probabilities, key=probabilities.get)[-3:] == ['France', 'Norway', 'Peru']
    assert found['most_confident']['value'] == pytest.approx(200 / 3)
    geometric = 100 * math.sqrt(2 * sum(probabilities.values())) / 5
    assert found['geometric']['value'] == pytest.approx(geometric)
    assert all(figure['n_resampled'] == 5 and figure['interval'] for figure in found.values())
