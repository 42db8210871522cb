import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

from helpers.paths import SRC
from loading import startup


def test_quiet_silences_the_file_descriptor_and_gives_it_back(capfd, monkeypatch):
    monkeypatch.setattr(startup, 'USER_WANTS_LOG', False)
    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '0')
    with pytest.raises(ValueError):
        with startup.quiet():
            os.write(2, b'chatter')
            assert os.environ['TF_CPP_MIN_LOG_LEVEL'] == '3'
            raise ValueError
    os.write(2, b'after')
    assert capfd.readouterr().err == 'after'


def test_a_user_who_sets_a_log_level_sees_the_log(capfd, monkeypatch):
    monkeypatch.setattr(startup, 'USER_WANTS_LOG', True)
    with startup.quiet():
        os.write(2, b'chatter')
    assert capfd.readouterr().err == 'chatter'


@pytest.mark.skipif(sys.platform != 'linux', reason='CUDA wheels are for Linux')
def test_cusolver_is_loaded_from_where_its_wheel_puts_it(tmp_path):
    """Any library will do for it: the process's memory map tells that it is there."""
    folder = tmp_path / 'nvidia' / 'cusolver' / 'lib'
    folder.mkdir(parents=True)
    library = pathlib.Path(importlib.util.find_spec('tiktoken._tiktoken').origin)
    shutil.copy(library, folder / 'libcusolver.so.11')
    (folder / 'libcusolver.so.12').write_text('no library at all')
    program = """
import sys
sys.path[:0] = sys.argv[1:]
from loading import startup
startup.load_cuda_solver()
print(open('/proc/self/maps').read().count('libcusolver.so.11') > 0)
"""
    command = [sys.executable, '-c', program, str(SRC), str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True)
    assert (out.stdout, out.stderr) == ('True\n', '')


def test_an_idle_gpu_is_mentioned(tmp_path, monkeypatch, capsys):
    """Nothing is said of a GPU that is used, nor where there is none."""
    said = []
    for driver, on_gpu in [(tmp_path, False), (tmp_path, True), (tmp_path / 'none', False)]:
        monkeypatch.setattr(startup, 'NVIDIA_DRIVER', str(driver))
        owner = types.SimpleNamespace(on_gpu=on_gpu)
        assert startup.started(lambda owner=owner: owner) is owner
        said.append(capsys.readouterr().err)
    assert said[0].startswith("note: TensorFlow does not use this machine's GPU")
    assert said[1:] == ['', '']
