"""A SavedModel as ONNX, by tf2onnx in a process of its own. No TensorFlow here."""

import importlib.util
import subprocess
import sys

OPSET = 17
LARGEST = 2**31  # bytes of a file of ONNX, which is one protocol buffer


def check_package():
    """Raise ValueError where tf2onnx is not installed."""
    if importlib.util.find_spec('tf2onnx') is None:
        raise ValueError('--onnx needs a package: pip install tf2onnx')


def write_onnx(saved_model, signature, path, n_bytes):
    """Write one signature of a SavedModel as a file of ONNX.

    n_bytes: of the weights, which a single file may not hold: then it becomes a zip archive of a
      model and its weights, by tf2onnx's --large_model.
    Raises ValueError with tf2onnx's last words if it fails.
    """
    command = [sys.executable, '-m', 'tf2onnx.convert', '--saved-model', saved_model]
    command += ['--signature_def', signature, '--tag', 'serve', '--opset', str(OPSET)]
    command += ['--output', path] + ['--large_model'] * (2 * n_bytes > LARGEST)
    done = subprocess.run(command, capture_output=True, encoding='utf-8', errors='replace')
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ['it says nothing'])[-1]
        raise ValueError(f'tf2onnx cannot convert this model: {said}')
