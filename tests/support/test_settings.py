import inspect
import math
import re

import numpy as np
import pytest

from generate_unconditional_samples import sample_model
from interactive_conditional_samples import interact_model
from support.settings import (
    SAMPLING,
    Settings,
    check_fits,
    default_length,
    takes_sampling_parameters,
)


def test_defaults_truncate_nothing():
    settings = Settings(length=5, seed=1)
    assert settings.values() == {
        'length': 5,
        'temperature': 1,
        'top_k': 0,
        'top_p': 1,
        'min_p': 0,
        'typical_p': 1,
        'repetition_penalty': 1,
        'seed': 1,
        'stop_at_end': False,
    }


def test_functions_take_what_is_declared():
    @takes_sampling_parameters
    def function(length, top_k: int = 0, **more):
        """Do.

        Args:
            length: of it
            <sampling parameters>
            top: of none
        """
        return more

    *others, last = inspect.signature(function).parameters.values()
    assert {p.name for p in (*others, last)} == {'length', *SAMPLING}
    assert last.kind is last.KEYWORD_ONLY and last.default == SAMPLING[last.name].default
    assert function(1, min_p=0.5) == {'min_p': 0.5}
    documented = re.findall(r'^    (\w+):', inspect.getdoc(function), re.MULTILINE)
    assert documented == ['length', *SAMPLING, 'top']


def declared(function):
    parameters = inspect.signature(function).parameters
    return {name: (parameters[name].default, parameters[name].annotation) for name in SAMPLING}


@pytest.mark.parametrize('function', [interact_model, sample_model])
def test_the_scripts_have_the_declared_defaults_and_types(function):
    assert declared(function) == {name: (f.default, f.type) for name, f in SAMPLING.items()}


def test_without_a_seed_one_is_drawn():
    seeds = {Settings(length=5).seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    'name, values',
    [
        ('length', [1, 1024, np.int64(3)]),
        ('temperature', [0, 0.7, 1, 2.5, 1e-9, np.float32(0.5)]),
        ('top_k', [0, 1, 40, 10**9]),
        ('top_p', [1e-9, 0.9, 1, 1.0]),
        ('min_p', [0, 0.05, 1]),
        ('typical_p', [1e-9, 0.9, 1]),
        ('repetition_penalty', [0.5, 1, 1.2, 1e30]),
        ('seed', [0, 2**63 - 1]),
        ('stop_at_end', [True, False]),
    ],
)
def test_what_makes_sense_is_taken_as_it_is(name, values):
    for value in values:
        assert getattr(Settings(**{'length': 5, name: value}), name) == value


@pytest.mark.parametrize(
    'name, values',
    [
        ('length', [0, -1, 2.0, '5', True, None, math.nan]),
        ('temperature', [-0.1, math.nan, math.inf, 1e39, '1', True, None, 1j]),
        ('top_k', [-1, 1.5, '40', True, None]),
        ('top_p', [0, -0.5, 1.01, math.nan, '0.9', True, None]),
        ('min_p', [-0.1, 1.01, math.nan, '0', True, None]),
        ('typical_p', [0, 1.01, math.nan, '0.9', True, None]),
        ('repetition_penalty', [0, -1, 1e-39, math.nan, math.inf, '1', True, None]),
        ('seed', [-1, 2**63, 1.0, 'abc', True]),
        ('stop_at_end', [1, 0, 'yes', None]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name_and_value(name, values):
    for value in values:
        with pytest.raises(ValueError, match=name) as caught:
            Settings(**{'length': 5, name: value})
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize('name', ['top_p', 'typical_p'])
def test_a_zero_that_meant_no_truncation_is_refused_with_what_to_pass(name):
    for zero in (0, 0.0):
        with pytest.raises(
            ValueError, match=rf'{name} must be .*\(1 truncates nothing: pass it wh'
        ):
            Settings(**{'length': 5, name: zero})


def test_a_prompt_and_its_continuation_may_exceed_the_context_by_the_last_token():
    check_fits(n_prompt=1, length=1024, n_ctx=1024)
    check_fits(n_prompt=1024, length=1, n_ctx=1024)
    with pytest.raises(ValueError, match='1000 tokens and 26 .* 1024 tokens: at most 25 new'):
        check_fits(n_prompt=1000, length=26, n_ctx=1024)
    with pytest.raises(ValueError, match='at most 1024 prompt tokens fit'):
        check_fits(n_prompt=1025, length=1, n_ctx=1024)
    with pytest.raises(ValueError, match='at most 1005 prompt tokens fit'):
        check_fits(n_prompt=1025, length=20, n_ctx=1024)
    with pytest.raises(ValueError, match='at most 1 prompt tokens fit'):
        check_fits(n_prompt=1025, length=2000, n_ctx=1024)
    with pytest.raises(ValueError, match='empty'):
        check_fits(n_prompt=0, length=1, n_ctx=1024)


def test_the_default_length_is_half_the_context_or_the_room_left():
    assert default_length(n_prompt=1, n_ctx=1024) == 512
    assert default_length(n_prompt=513, n_ctx=1024) == 512
    assert default_length(n_prompt=514, n_ctx=1024) == 511
    assert default_length(n_prompt=1024, n_ctx=1024) == 1
    assert default_length(n_prompt=1, n_ctx=1) == 1
    with pytest.raises(ValueError, match='1025 tokens'):
        default_length(n_prompt=1025, n_ctx=1024)


def test_the_default_length_always_fits():
    for n_ctx in range(1, 20):
        for n_prompt in range(1, n_ctx + 1):
            check_fits(n_prompt, default_length(n_prompt, n_ctx), n_ctx)
