"""TensorFlow's threads, tuned for what a session computes."""

import os

import tensorflow.compat.v1 as tf

# Each session may have threads of its own; else all have those that the first one asks for. Only
# the environment can say so, and it is the same for every session.
os.environ.setdefault('TF_OVERRIDE_GLOBAL_THREADPOOL', '1')


def session_config(large_products=False, runs_at_once=1, n_shards=1):
    """How a session runs.

    large_products: whether it mostly multiplies hundreds of positions at a time.
    runs_at_once: how many threads of the caller run it at a time.
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
    if n_shards > 1:  # operations of different shards run beside each other, each on one core
        config.intra_op_parallelism_threads = 1
        config.inter_op_parallelism_threads = n_shards
    # Rewriting the graph takes 0.9 s before the first token, and no step was faster for it. Folding
    # constants was not either, and copies int8 weights that are mapped from a file.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    options = config.graph_options.optimizer_options
    options.opt_level = tf.OptimizerOptions.L0
    # Constants that many operations of a step have are merged: 1 to 3 % faster. In training it
    # could make more of what is kept for the backward pass.
    options.do_common_subexpression_elimination = not large_products
    return config


def options_beside(n_shards=1):
    """Options of runs of a session beside the one that it was tuned for, from other threads.

    A session's only thread would take turns: a step of decoding would wait for each large matmul.
    So each of them runs in the thread that asks for it. Shards need the session's threads.
    """
    return tf.RunOptions(inter_op_thread_pool=-1) if n_shards == 1 else None


def tune_process(large_products):
    """Tell oneDNN what this process mostly multiplies, as programs do before they load a model.

    oneDNN shares a matmul among the pool's threads. With the calling one as the last of them a step
    of decoding wakes one thread less for each: 6 % faster; but large matmuls take 8 to 10 % longer.
    Only the environment can say so, and oneDNN reads it once, with its first matmul.
    """
    os.environ.setdefault('TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD', '0' if large_products else '1')


def prefer_wide_vectors():
    """Tell XLA to use the whole of AVX-512's registers, before this process first uses XLA.

    By itself it uses half of them. One row times int8 weights is a fifth faster so; with bfloat16
    weights it is slower. Only the environment can say so, and XLA reads it once.
    """
    flags = os.environ.get('XLA_FLAGS', '')
    if flags and not flags.lstrip().startswith('-'):  # a file that holds them
        return
    if 'xla_cpu_prefer_vector_width' not in flags:
        os.environ['XLA_FLAGS'] = f'{flags} --xla_cpu_prefer_vector_width=512'.strip()
