import os

import pytest
import tensorflow.compat.v1 as tf

from tf_session import SessionOwner, session_config


def test_gpu_memory_is_taken_as_it_is_needed():
    assert session_config().gpu_options.allow_growth


def test_what_only_the_environment_can_say_is_left_to_the_user(monkeypatch):
    name = 'TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD'
    monkeypatch.setenv(name, '0')
    session_config()
    assert os.environ[name] == '0'
    monkeypatch.delenv(name)
    session_config()
    assert os.environ[name] == '1'


def test_runs_at_a_time_stay_in_their_threads():
    assert session_config().inter_op_parallelism_threads == 1
    assert session_config(runs_at_once=2).inter_op_parallelism_threads == -1


def test_a_session_is_closed_behind_its_block():
    owner = SessionOwner()
    with tf.Graph().as_default(), owner:
        number = tf.constant(1)
        owner.session = tf.Session()
        assert owner.session.run(number) == 1 and not owner.on_gpu
    with pytest.raises(RuntimeError, match='closed'):
        owner.session.run(number)
