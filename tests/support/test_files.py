import errno
import os
import stat
import subprocess
import sys
import time

import pytest

from helpers.paths import SRC
from support import files
from support.files import building, open_named, replacing, shown


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


@pytest.mark.parametrize('name', ['naïve 日本\u3000.txt', 'a\\b $x$.txt', ''])
def test_a_name_is_shown_as_it_is(name):
    assert shown(name) == name


def test_what_would_break_a_line_or_command_a_terminal_is_shown_escaped():
    assert shown('a\n\x1b]0;b\x07\x7f\x9d\udce9c') == r'a\n\x1b]0;b\x07\x7f\x9d\udce9c'
    assert shown('a\u202etxt.exe') == r'a\u202etxt.exe'


def test_two_who_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / 'a'
    with replacing(str(path)) as mine, replacing(str(path)) as theirs:
        for file, text in ((mine, 'mine'), (theirs, 'theirs')):
            file.write(text)
            file.flush()
        assert sorted(p.read_text() for p in tmp_path.iterdir()) == ['mine', 'theirs']
    assert path.read_text() == 'mine' and list(tmp_path.iterdir()) == [path]


def test_a_link_that_has_the_name_of_the_unfinished_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, 'token_hex', lambda n: '0' * 2 * n)
    victim = tmp_path / 'victim'
    victim.write_text('precious')
    (tmp_path / 'unfinished-a-00000000').symlink_to(victim)
    with pytest.raises(FileExistsError), replacing(str(tmp_path / 'a')):
        pytest.fail('reached')
    assert victim.read_text() == 'precious'


def test_a_name_of_any_length_that_a_file_may_have(tmp_path):
    for name in ('n' * 255, 'ü' * 127):
        with replacing(str(tmp_path / name)):
            pass
        with building(str(tmp_path / name[1:])) as unfinished:
            write(unfinished, name)


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.skipif(os.name == 'nt', reason='keeps a file that is open')
def test_what_killed_processes_left_of_a_file_is_removed_by_the_next_one(tmp_path):
    path = tmp_path / 'a [1]'
    write(tmp_path, *(names := [f'unfinished-{n}-01234567' for n in ('a [1]', 'a', 'a 1')]))
    write(tmp_path, new := 'unfinished-a [1]-fedcba98', mine := 'unfinished-a [1]-my notes')
    for name in [*names, mine]:
        age(tmp_path / name, 2 * files.ABANDONED_SECONDS)
    with replacing(str(path)):
        [in_use] = set(os.listdir(tmp_path)) - {*names, new, mine}
        age(tmp_path / in_use, 2 * files.ABANDONED_SECONDS)
        with replacing(str(path)):
            assert os.path.exists(tmp_path / in_use)
    assert set(os.listdir(tmp_path)) == {path.name, *names[1:], new, mine}


@pytest.mark.skipif(os.name == 'nt', reason='breaks the lock of POSIX')
def test_without_locks_nothing_of_another_process_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'no locks')

    monkeypatch.setattr(files.fcntl, 'flock', refuse)
    write(tmp_path, name := 'unfinished-a-01234567')
    age(tmp_path / name, 2 * files.ABANDONED_SECONDS)
    with replacing(str(tmp_path / 'a')):
        pass
    assert sorted(os.listdir(tmp_path)) == ['a', name]


# Power failures and full disks


def spied(monkeypatch):
    """A list to which each fsync and rename is appended: ('sync' or 'name', basename)."""
    events, fsync, replace, rename = [], os.fsync, os.replace, os.rename

    def noted(kind, function, name_of):
        def call(*arguments):
            events.append((kind, os.path.basename(name_of(*arguments))))
            return function(*arguments)

        return call

    monkeypatch.setattr(
        os, 'fsync', noted('sync', fsync, lambda number: os.readlink(f'/proc/self/fd/{number}'))
    )
    monkeypatch.setattr(os, 'replace', noted('name', replace, lambda _, target: target))
    monkeypatch.setattr(os, 'rename', noted('name', rename, lambda _, target: target))
    return events


@pytest.mark.skipif(not os.path.exists('/proc/self/fd'), reason='asks Linux what a descriptor is')
def test_bytes_are_on_the_disk_before_they_have_their_name_and_the_name_after_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(files.secrets, 'token_hex', lambda n: '0')
    (tmp_path / 'there').mkdir()
    events = spied(monkeypatch)
    with replacing(str(tmp_path / 'a')):
        pass
    here = ('sync', tmp_path.name)
    assert events == [('sync', 'unfinished-a-0'), ('name', 'a'), here]
    events.clear()
    with building(str(tmp_path / 'new')) as unfinished:
        write(unfinished, 'b')
    assert events == [('sync', 'b'), ('sync', 'unfinished-new-0'), ('name', 'new'), here]
    events.clear()
    with building(str(tmp_path / 'there'), last='b') as unfinished:
        write(unfinished, 'b', 'c')
    there = ('sync', 'there')
    assert set(events[:2]) == {('sync', 'b'), ('sync', 'c')}
    assert events[3:] == [('name', 'c'), there, ('name', 'b'), there]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='has no disk that is always full')
@pytest.mark.parametrize('mode', ['w', 'wb', 'a', 'ab', 'r+b'])
def test_an_error_of_writing_names_the_file(mode):
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        with open_named('/dev/full', mode) as file:
            file.write('x' if 'b' not in mode else b'x')


def test_an_error_of_replacing_names_the_file_that_the_user_named(tmp_path, monkeypatch):
    path = str(tmp_path / 'a')

    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with pytest.raises(FileNotFoundError) as caught, replacing(str(tmp_path / 'missing' / 'a')):
        pytest.fail('reached')
    assert caught.value.filename == str(tmp_path / 'missing' / 'a')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError) as caught, replacing(path) as file:
        file.write('x')
    assert caught.value.filename == path and os.listdir(tmp_path) == []


@pytest.mark.parametrize('is_there', [False, True])
def test_an_error_of_building_names_the_file_where_it_would_be(tmp_path, is_there):
    folder = str(tmp_path) if is_there else str(tmp_path / 'folder')
    with pytest.raises(OSError) as caught, building(folder) as unfinished:
        with files.naming(os.path.join(unfinished, 'a')):
            raise OSError(errno.ENOSPC, 'No space left on device')
    assert caught.value.filename == os.path.join(folder, 'a')


def test_an_error_of_something_else_does_not_name_the_file(tmp_path):
    with pytest.raises(OSError) as caught, replacing(str(tmp_path / 'a')):
        raise OSError(errno.ENOSPC, 'standard output')
    assert caught.value.filename is None


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


@pytest.mark.skipif(os.name == 'nt', reason='has no umask')
@pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
def test_the_umask_says_who_may_read(tmp_path, umask):
    before = os.umask(umask)
    try:
        with building(str(tmp_path / 'folder')) as unfinished:
            write(unfinished, 'a')
        with replacing(str(tmp_path / 'file')):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / 'folder').stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / 'file').stat().st_mode & 0o777 == 0o666 & ~umask


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
