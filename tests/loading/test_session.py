import pytest
import tensorflow.compat.v1 as tf

from loading.session import SessionOwner, plain_config


def test_gpu_memory_is_taken_as_it_is_needed():
    assert plain_config().gpu_options.allow_growth


def test_a_session_is_closed_after_its_block():
    owner = SessionOwner()
    with tf.Graph().as_default(), owner:
        number = tf.constant(1)
        owner.session = tf.Session()
        assert owner.session.run(number) == 1 and not owner.on_gpu
    with pytest.raises(RuntimeError, match='closed'):
        owner.session.run(number)
