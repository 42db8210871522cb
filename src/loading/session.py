"""TensorFlow sessions: how they run, and who closes them."""

import contextlib

import tensorflow.compat.v1 as tf

from likelihoods import NOT_FINITE


class SessionOwner:
    """An object that closes its `session`: by close(), or after a `with` block."""

    loaded = None  # the LoadedModel that the session's weights are of; None in training

    @property
    def on_gpu(self):
        """Whether TensorFlow has found a GPU."""
        return any(device.device_type == 'GPU' for device in self.session.list_devices())

    def close(self):
        self.session.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


@contextlib.contextmanager
def memory_for(what):
    """Turn TensorFlow's lack of memory into a ValueError; `what` goes on to say what would help."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise ValueError(f'not enough memory for {what}') from error


@contextlib.contextmanager
def finite_weights(loaded):
    """Turn the error of `likelihoods.finite` into a ValueError that names the damaged weights.

    loaded: as a SessionOwner has it.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if NOT_FINITE not in error.message:
            raise
        if loaded is not None:
            loaded.check_finite()
        raise ValueError(
            f'{NOT_FINITE}: the weights are too large, or model.py was edited'
        ) from error


def plain_config():
    """How a session runs by TensorFlow's own settings, but GPU memory is taken as it is needed."""
    config = tf.ConfigProto()
    config.gpu_options.allow_growth = True
    return config
