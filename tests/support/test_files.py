import errno
import os
import stat
import subprocess
import sys

import pytest

from helpers.paths import SRC
from support import files
from support.files import building, replacing


@pytest.mark.parametrize('binary', [False, True])
def test_a_file_appears_when_it_is_complete(tmp_path, binary):
    path, text = tmp_path / 'a', 'naïve\n'
    path.write_bytes(b'before')
    with replacing(str(path), binary) as file:
        file.write(text.encode() if binary else text)
        assert path.read_bytes() == b'before'
    assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'before')
    with pytest.raises(KeyboardInterrupt), replacing(str(path)) as file:
        file.write('half')
        raise KeyboardInterrupt
    assert path.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    link, target = tmp_path / 'link', tmp_path / 'folder' / 'target'
    target.parent.mkdir()
    target.write_text('before')
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip('no right to make links here')
    with replacing(str(link)) as file:
        file.write('after')
        assert target.read_text() == 'before'
    assert link.is_symlink() and target.read_text() == 'after'


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='there are no named pipes here')
def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    """As root, /dev/null would otherwise become a file."""
    path = tmp_path / 'pipe'
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(str(path)) as file:
        file.write('text')
    assert os.read(reader, 100) == b'text'
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / 'folder').mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)), replacing(str(tmp_path / 'folder')):
        pytest.fail('reached')
    assert [path.name for path in tmp_path.iterdir()] == ['folder']


# Folders


def write(folder, *names):
    for name in names:
        with open(os.path.join(folder, name), 'w') as file:
            file.write(name)


def test_a_new_folder_appears_with_all_its_files(tmp_path):
    path = tmp_path / 'parent' / 'new'
    with building(str(path)) as unfinished:
        write(unfinished, 'a', 'b')
        assert [p.name[:15] for p in path.parent.iterdir()] == ['unfinished-new-']
    assert sorted(os.listdir(path)) == ['a', 'b'] and list(path.parent.iterdir()) == [path]
    if os.name != 'nt':
        assert path.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_is_there_keeps_its_files_and_gets_the_last_one_last(tmp_path, monkeypatch):
    write(tmp_path, 'mine')
    replace, moved = os.replace, []

    def noted(source, target):
        moved.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', noted)
    with building(str(tmp_path), last='b') as unfinished:
        write(unfinished, 'a', 'b', 'c')
        assert os.path.dirname(unfinished) == str(tmp_path)  # it may be on a disk of its own
    assert moved == ['a', 'c', 'b']
    assert sorted(os.listdir(tmp_path)) == ['a', 'b', 'c', 'mine']


@pytest.mark.parametrize('is_there', [False, True])
def test_a_block_that_fails_leaves_nothing(tmp_path, is_there):
    folder = tmp_path / 'parent' / 'folder'
    if is_there:
        folder.mkdir(parents=True)
        write(folder, 'mine')
    with pytest.raises(KeyboardInterrupt), building(str(folder)) as unfinished:
        write(unfinished, 'a')
        raise KeyboardInterrupt
    assert list(folder.parent.rglob('*')) == [folder, folder / 'mine'] * is_there


def test_nothing_is_replaced(tmp_path):
    write(tmp_path, 'b')
    with pytest.raises(ValueError, match='b is there already'):
        with building(str(tmp_path)) as unfinished:
            write(unfinished, 'a')
            with open(os.path.join(unfinished, 'b'), 'w') as file:
                file.write('another')
    assert os.listdir(tmp_path) == ['b'] and (tmp_path / 'b').read_text() == 'b'


@pytest.mark.parametrize('after', [False, True])
def test_all_files_are_moved_or_none(tmp_path, monkeypatch, after):
    replace, moved = os.replace, []

    def interrupted(source, target):
        moved.append(target)
        if len(moved) == 1 or after:
            replace(source, target)
        if len(moved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt), building(str(tmp_path)) as unfinished:
        write(unfinished, 'a', 'b', 'c')
    assert os.listdir(tmp_path) == []


def test_a_folder_that_another_process_made_meanwhile_is_added_to(tmp_path):
    folder = tmp_path / 'folder'
    with building(str(folder)) as unfinished:
        write(unfinished, 'a')
        folder.mkdir()
        write(folder, 'theirs')
    assert sorted(os.listdir(folder)) == ['a', 'theirs'] and os.listdir(tmp_path) == ['folder']


# Locks

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from support import files
try:
    with open(sys.argv[2], 'ab') as file:
        files.lock(file, byte=files.FAR)
        print('had it')
except files.HELD:
    print('held')
"""


def try_elsewhere(path):
    """What another process finds."""
    source = str(SRC)
    command = [sys.executable, '-c', CHILD, source, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_lock_keeps_other_processes_out_until_the_file_is_closed(tmp_path):
    path = tmp_path / 'file'
    with open(path, 'ab') as file:
        files.lock(file, byte=files.FAR)
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

    monkeypatch.setattr(files.fcntl, 'flock', refuse)
    with open(tmp_path / 'file', 'ab') as file:
        if stops:
            with pytest.raises(OSError, match='refused'):
                files.lock(file)
        else:
            files.lock(file)
