"""The file of ONNX that export.py writes, read by ONNX Runtime."""

import subprocess
import sys

import numpy as np
import pytest

from conversion.onnx import write_onnx
from helpers import numpy_gpt2
from helpers.paths import ROOT

RUN = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(name,) = [each.name for each in session.get_inputs()]
for tokens in ([[7, 8, 9, 10]], [[1] * 9] * 3):
    (logits,) = session.run(None, {name: np.array(tokens, np.int32)})
    np.save(sys.argv[2] % len(tokens), logits)
"""


@pytest.mark.peers
def test_onnx_runtime_computes_the_same(tmp_path):
    pytest.importorskip('tf2onnx')
    pytest.importorskip('onnxruntime')
    command = [sys.executable, 'src/export.py', 'demo', str(tmp_path / 'demo'), '--onnx']
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    command = [sys.executable, '-c', RUN, str(tmp_path / 'demo' / 'model.onnx')]
    subprocess.run([*command, str(tmp_path / '%d.npy')], check=True, timeout=120)
    weights = numpy_gpt2.load_weights(ROOT / 'models' / 'demo' / 'model.ckpt')
    logits = numpy_gpt2.logits(weights, [7, 8, 9, 10], 6)
    np.testing.assert_allclose(np.load(tmp_path / '1.npy')[0], logits, atol=1e-3)
    assert np.load(tmp_path / '3.npy').shape == (3, 9, 4096)


def test_what_tf2onnx_says_last_is_the_error(tmp_path, monkeypatch):
    program = tmp_path / 'python'
    program.write_text('#!/bin/sh\necho first >&2; echo "no such model" >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    with pytest.raises(ValueError, match='tf2onnx cannot convert this model: no such model'):
        write_onnx('saved', 'serving_default', 'x.onnx', 10)


@pytest.mark.parametrize(('n_bytes', 'large'), [(2**29, False), (2**30 + 1, True)])
def test_large_models_get_a_file_of_weights(tmp_path, monkeypatch, n_bytes, large):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', run)
    write_onnx('saved', 'serving_default', 'x.onnx', n_bytes)
    assert ('--large_model' in commands[0]) == large
