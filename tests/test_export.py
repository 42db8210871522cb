"""export.py: what it refuses. What it writes is in tests/conversion/test_saved_model.py."""

import os

import pytest

from export import export


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('nothing', 'new'), "there is no model 'nothing'"),
        (('demo', '.'), '. is there already'),
        (('demo', 'new', '--onnx', '3'), "unexpected argument '3'"),
        (('demo', 'new', '--onnx=3'), 'onnx must be True or False, not 3'),
    ],
)
def test_bad_input_gets_one_line(call, tmp_path, monkeypatch, models_dir, flags, message):
    monkeypatch.chdir(tmp_path)
    status, output, errors = call(export, *flags, '--models_dir', models_dir)
    assert (status, output) == (2, '')
    assert message in errors
    assert errors.count('\n') == 1
    assert os.listdir(tmp_path) == []


def test_onnx_wants_a_package(call, tmp_path, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    status, _, errors = call(export, 'demo', tmp_path / 'new', '--onnx')
    assert (status, errors) == (2, 'error: --onnx needs a package: pip install tf2onnx\n')
