import os

import pytest

from fast.session import prefer_wide_vectors, session_config, tune_process


def test_gpu_memory_is_taken_as_it_is_needed():
    assert session_config().gpu_options.allow_growth


@pytest.mark.parametrize(('large_products', 'expected'), [(False, '1'), (True, '0')])
def test_what_only_the_environment_can_say_is_left_to_the_user(
    monkeypatch, large_products, expected
):
    name = 'TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD'
    for given in ('0', '1'):
        monkeypatch.setenv(name, given)
        tune_process(large_products)
        assert os.environ[name] == given
    monkeypatch.delenv(name)
    tune_process(large_products)
    assert os.environ[name] == expected


def test_a_session_says_nothing_to_the_environment(monkeypatch):
    """Else the first of scorer, engine and trainer in a process would decide for all."""
    monkeypatch.delenv('TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD', raising=False)
    before = dict(os.environ)
    for large_products in (False, True):
        session_config(large_products)
    assert os.environ == before


def test_runs_at_a_time_stay_in_their_threads():
    assert session_config().inter_op_parallelism_threads == 1
    assert session_config(runs_at_once=2).inter_op_parallelism_threads == -1


@pytest.mark.parametrize(
    ('given', 'then'),
    [
        (None, '--xla_cpu_prefer_vector_width=512'),
        ('--xla_a=1', '--xla_a=1 --xla_cpu_prefer_vector_width=512'),
        ('--xla_cpu_prefer_vector_width=256', '--xla_cpu_prefer_vector_width=256'),
        ('/etc/xla_flags', '/etc/xla_flags'),  # a file that holds them
    ],
)
def test_flags_of_xla_that_the_user_has_set_stay(monkeypatch, given, then):
    monkeypatch.setenv('XLA_FLAGS', given or '')
    prefer_wide_vectors()
    assert os.environ['XLA_FLAGS'] == then
