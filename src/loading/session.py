"""TensorFlow sessions: how they run, and who closes them."""

import contextlib

import tensorflow.compat.v1 as tf


class SessionOwner:
    """An object that closes its `session`: by close(), or after a `with` block."""

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


def plain_config():
    """How a session runs by TensorFlow's own settings, but GPU memory is taken as it is needed."""
    config = tf.ConfigProto()
    config.gpu_options.allow_growth = True
    return config
