"""What tests of oneDNN's kernels share."""

import numpy as np
import pytest

from fast import onednn

random = np.random.RandomState(0)


def skip_without_kernels():
    """Skip where TensorFlow has not got them; where it has, not even if their trial fails."""
    if not all(map(onednn.has_kernel, onednn.OPERATIONS)):
        pytest.skip('TensorFlow has no fused kernels here')


def normal(*shape):
    return random.normal(size=shape).astype(np.float32)
