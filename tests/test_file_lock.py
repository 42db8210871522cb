import errno
import os
import subprocess
import sys

import pytest

import file_lock

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import file_lock
try:
    with open(sys.argv[2], 'ab') as file:
        file_lock.lock(file, byte=file_lock.FAR)
        print('had it')
except file_lock.HELD:
    print('held')
"""


def try_elsewhere(path):
    """What another process finds."""
    source = os.path.dirname(file_lock.__file__)
    command = [sys.executable, '-c', CHILD, source, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_lock_keeps_other_processes_out_until_the_file_is_closed(tmp_path):
    path = tmp_path / 'file'
    with open(path, 'ab') as file:
        file_lock.lock(file, byte=file_lock.FAR)
        file.write(b'ours')
        file.flush()
        assert try_elsewhere(path) == 'held'
        assert path.read_bytes() == b'ours'  # who does not ask may read
    assert try_elsewhere(path) == 'had it'


@pytest.mark.skipif(os.name == 'nt', reason='breaks the lock of POSIX')
@pytest.mark.parametrize('number, stops', [(errno.ENOLCK, False), (errno.EBADF, True)])
def test_only_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, number, stops):
    def refuse(*_):
        raise OSError(number, 'refused')

    monkeypatch.setattr(file_lock.fcntl, 'flock', refuse)
    with open(tmp_path / 'file', 'ab') as file:
        if stops:
            with pytest.raises(OSError, match='refused'):
                file_lock.lock(file)
        else:
            file_lock.lock(file)
