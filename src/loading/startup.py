"""How a script loads TensorFlow: without its messages, and with notes on what would be faster."""

import contextlib
import ctypes
import gc
import glob
import importlib.util
import os
import sys

NVIDIA_DRIVER = '/proc/driver/nvidia/version'  # this file exists on Linux with a GPU
USER_WANTS_LOG = 'TF_CPP_MIN_LOG_LEVEL' in os.environ


def started(load, remark=None):
    """What `load` returns, but say so if a GPU is there and not used.

    remark: called with it; returns what else to tell the user, or None.
    """
    with quiet(), no_garbage_collection():
        load_cuda_solver()
        session_owner = load()
    note_idle_gpu(session_owner.on_gpu)
    if line := remark and remark(session_owner):
        print(f'note: {line}', file=sys.stderr)
    return session_owner


def remark_on_dtype(session_owner):
    """What to tell the user of an Engine or a Scorer whose dtype is slower here than float32."""
    from fast import why_slow

    return why_slow(session_owner.dtype, session_owner.on_gpu)


@contextlib.contextmanager
def quiet():
    """Keep TensorFlow's start-up messages off standard error, unless the user has set a log level.

    For the block that imports TensorFlow and opens the first session. Some of these messages heed
    no level, so the file descriptor itself is redirected; Python's exceptions still come through.
    Yields a file for what is to be said on standard error nevertheless.
    """
    if USER_WANTS_LOG:
        yield sys.stderr
        return
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with open(kept, 'w', encoding='utf-8', buffering=1, closefd=False) as standard_error:
            yield standard_error
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def no_garbage_collection():
    """Spare the collector what TensorFlow makes as it starts (0.3 s): all of it stays in use."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def note_idle_gpu(on_gpu):
    """Say so on standard error if there is a GPU that TensorFlow does not use."""
    if os.path.exists(NVIDIA_DRIVER) and not on_gpu:
        print(
            "note: TensorFlow does not use this machine's GPU; TF_CPP_MIN_LOG_LEVEL=0 shows why "
            "(pip install 'tensorflow[and-cuda]' is needed)",
            file=sys.stderr,
        )


def load_cuda_solver():
    """Load cuSOLVER where tensorflow[and-cuda] has installed it, if it has.

    TensorFlow 2.21 does not look there, as the versions before did, and without this library it
    uses no GPU at all.
    """
    nvidia = importlib.util.find_spec('nvidia')
    for folder in nvidia.submodule_search_locations if nvidia else []:
        for library in glob.glob(os.path.join(folder, 'cusolver', 'lib', 'libcusolver.so.*')):
            with contextlib.suppress(OSError):  # then TensorFlow will say what is missing
                ctypes.CDLL(library)
