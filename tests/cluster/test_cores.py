import os
import subprocess
import sys

import pytest

from cluster import cores
from helpers.paths import SRC


@pytest.mark.parametrize(
    'n_cores, count, sizes',
    [(8, 1, {8}), (8, 2, {4}), (8, 3, {2, 3}), (2, 2, {1}), (2, 3, {1}), (1, 4, {1})],
)
def test_shares_are_even_and_nobody_has_none(n_cores, count, sizes):
    shares = [cores.share_of(list(range(n_cores)), i, count) for i in range(count)]
    assert {len(share) for share in shares} == sizes
    assert {core for share in shares for core in share} == set(range(n_cores))
    if count <= n_cores:
        assert sum(map(len, shares)) == n_cores


TAKING = """
import os, threading
from cluster.cores import is_pinned, take_cores, take_gpu
os.environ.update(CUDA_VISIBLE_DEVICES='3,7')
cores, seen, go = os.sched_getaffinity(0), [], threading.Event()
other = threading.Thread(target=lambda: (go.wait(), seen.append(os.sched_getaffinity(0))))
other.start()
assert not is_pinned() or len(cores) < os.cpu_count()
take_cores(1, 2)
take_gpu(3)
go.set()
other.join()
mine = os.sched_getaffinity(0)
assert mine == seen[0] and (len(cores) == 1 or mine < cores), (mine, seen)
assert is_pinned() or os.cpu_count() == 1
assert os.environ['CUDA_VISIBLE_DEVICES'] == '7'
"""


@pytest.mark.skipif(not cores.HAS_AFFINITY, reason='no affinity here')
def test_a_process_takes_its_cores_and_its_gpu():
    environment = os.environ | {'PYTHONPATH': str(SRC)}
    subprocess.run([sys.executable, '-c', TAKING], env=environment, check=True)


def test_gpus_are_those_that_are_visible(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    found = ['/dev/nvidia10', '/dev/nvidia2', '/dev/nvidiactl', '/dev/nvidia-uvm']
    monkeypatch.setattr(cores.glob, 'glob', lambda pattern: found)
    assert cores.visible_gpus() == ['2', '10']
    for value, gpus in [('1', ['1']), ('0, GPU-8932', ['0', 'GPU-8932']), ('', []), ('-1', [])]:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', value)
        assert cores.visible_gpus() == gpus
