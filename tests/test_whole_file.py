import os
import stat

import pytest

from whole_file import replacing


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
