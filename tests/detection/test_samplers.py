import numpy as np
import pytest

from detection.samplers import samplers_named

RANGE = (0.8, 1.0)


def named(name, top_p_range=RANGE):
    (sampler,) = samplers_named(name, top_p_range)
    return sampler


def test_the_names_of_the_published_files():
    samplers = samplers_named('t1, k40,nucleus', RANGE)
    assert [s.suffix for s in samplers] == ['', '-k40', '-nucleus']
    assert [(s.temperature, s.top_k) for s in samplers] == [(1, 0), (1, 40), (1, 0)]
    assert [s.top_p for s in samplers] == [(1, 1), (1, 1), RANGE]


def test_other_samplers_say_their_numbers():
    samplers = samplers_named('t0.7,k5,p0.9', RANGE)
    assert [s.suffix for s in samplers] == ['-t0.7', '-k5', '-p0.9']
    assert samplers[0].temperature == 0.7 and samplers[1].top_k == 5
    assert samplers[2].p_of(3, 4) == 0.9


def test_each_text_has_its_own_p_for_ever():
    """From U(0.8, 1), as OpenAI's: by seed and id alone, so that any text can be made again."""
    nucleus = named('nucleus')
    assert [nucleus.p_of(0, n) for n in range(4)] == [0.8702, 0.8279, 0.836, 0.9494]
    assert nucleus.p_of(1, 0) != nucleus.p_of(0, 0)
    drawn = np.sort([nucleus.p_of(7, n) for n in range(2000)])
    assert np.abs((drawn - 0.8) / 0.2 - np.linspace(0, 1, 2000)).max() < 1.63 / 2000**0.5  # KS, 1 %
    assert {named('k40').p_of(0, n) for n in range(9)} == {1}


def test_settings_are_those_of_the_engine():
    settings = named('k40').settings(length=5, seed=3, stop_at_end=True)
    assert (settings.top_k, settings.top_p, settings.length, settings.seed) == (40, 1, 5, 3)


@pytest.mark.parametrize(
    'names, message',
    [
        ('', 'name each sampler once'),
        ('k40,k40', 'name each sampler once'),
        ('greedy', "unknown sampler 'greedy' .there are: t1"),
        ('k4.5', 'k is a whole number'),
        ('p1.5', 'top_p must be above 0 and at most 1'),
        ('t-1', 'unknown sampler'),
    ],
)
def test_what_is_no_sampler_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        samplers_named(names, RANGE)


@pytest.mark.parametrize('top_p_range', [(0.9, 0.8), (0, 1), (0.8, 1.1), ('a', 1)])
def test_a_range_is_one(top_p_range):
    with pytest.raises(ValueError, match='top_p'):
        samplers_named('nucleus', top_p_range)
    samplers_named('k40', top_p_range)  # which nobody asks for
