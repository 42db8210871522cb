"""TensorFlow sessions: how they run, and who closes them."""

import contextlib
import os

import tensorflow.compat.v1 as tf


class SessionOwner:
    """An object that closes its `session`: by close(), or behind a `with` block."""

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


def session_config(large_products=False, runs_at_once=1, n_shards=1):
    """How the session runs; sets what only the environment can say, too.

    large_products: whether hundreds of positions at a time are what it mostly multiplies.
    runs_at_once: how many threads of the caller's run it at a time.
    n_shards: how many shards a model has (shards.py), of which each thread computes one.
    """
    config = tf.ConfigProto()
    config.gpu_options.allow_growth = True  # take GPU memory as it is needed, not all of it
    # The operations of a step follow each other; a second thread to hand them to only costs
    # switches (15 % of a step on two cores). Each operation still uses all cores.
    # Where several threads run it at a time, each hands its operations to nobody: -1.
    config.inter_op_parallelism_threads = 1 if runs_at_once == 1 else -1
    # Each session has threads of its own; else all have those that the first one asks for. Not in
    # training: processes that train together would wait for each other without end.
    config.use_per_session_threads = not large_products
    os.environ.setdefault('TF_OVERRIDE_GLOBAL_THREADPOOL', '1')
    if n_shards > 1:  # operations of different shards run beside each other, each on one core
        config.intra_op_parallelism_threads = 1
        config.inter_op_parallelism_threads = n_shards
    # Rewriting the graph takes 0.9 s before the first token, and no step was faster for it. Folding
    # constants was not either, and copies int8 weights that are mapped from a file.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    options = config.graph_options.optimizer_options
    options.opt_level = tf.OptimizerOptions.L0
    # Constants that many operations of a step have are one: 1 to 3 % quicker. In training it could
    # make more of what is kept for the way back.
    options.do_common_subexpression_elimination = not large_products
    # oneDNN shares a product among the pool's threads. With the calling one as the last of them a
    # step wakes one thread less for each: 6 % quicker; but large products take 8 to 10 % longer.
    # Only the environment can say so, before the first product.
    caller_thread = '0' if large_products else '1'
    os.environ.setdefault('TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD', caller_thread)
    return config
