"""The share of a machine that one of several processes takes: its cores and a GPU. No TensorFlow.

TensorFlow sees the cores that the process may use (sched_getaffinity) and the GPUs that
CUDA_VISIBLE_DEVICES names, both when it is imported: the share is to be taken before.
"""

import glob
import os
import re
import threading

HAS_AFFINITY = hasattr(os, 'sched_setaffinity')  # macOS and Windows have none: all use all cores


def take_cores(index, count):
    """Have this process use the cores of number `index` of `count` processes alone."""
    if HAS_AFFINITY:
        cores = share_of(sorted(os.sched_getaffinity(0)), index, count)
        for thread in threading.enumerate():  # those that come later do as the one that makes them
            if thread.native_id is not None:
                os.sched_setaffinity(thread.native_id, cores)


def take_gpu(index):
    """Have this process use one of the GPUs, if there are any: each its own while there are."""
    if gpus := visible_gpus():
        os.environ['CUDA_VISIBLE_DEVICES'] = gpus[index % len(gpus)]


def share_of(cores, index, count):
    """A list of the cores that one of `count` processes takes: as many as others, at least one."""
    if count >= len(cores):
        return [cores[index % len(cores)]]
    first, end = (len(cores) * i // count for i in (index, index + 1))
    return cores[first:end]


def is_pinned():
    """Whether someone, such as Slurm or taskset, has given this process some of the cores only."""
    return HAS_AFFINITY and len(os.sched_getaffinity(0)) < os.cpu_count()


def visible_gpus():
    """The names of NVIDIA's GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name.strip() for name in named.split(',') if name.strip() not in ('', '-1')]
    found = (re.fullmatch(r'/dev/nvidia(\d+)', path) for path in glob.glob('/dev/nvidia*'))
    return sorted((match[1] for match in found if match), key=int)
