import errno
import gzip
import hashlib
import io
import os
import struct
import tarfile
import zipfile
import zlib

import pytest

from downloads import archives, fetch
from downloads.archives import Member
from helpers.small_archives import files_below, tarred, zipped

WANTED = b'the text that is wanted\n' * 50


def unpack(tmp_path, archive, ending, member=None):
    """Unpack `wanted` from an archive, given as bytes, into tmp_path/out; returns what is there."""
    path = tmp_path / f'archive{ending}'
    path.write_bytes(archive)
    member = member or Member('in/wanted', str(tmp_path / 'out' / 'wanted'), max_size=5000)
    records = []
    try:
        archives.unpack(str(path), [member], lambda *known: records.append(known[1:]))
    finally:
        path.unlink()
        assert all(os.path.commonpath([tmp_path, p]) == str(tmp_path) for p in tmp_path.rglob('*'))
    assert records == [(len(WANTED), hashlib.sha256(WANTED).hexdigest())]
    return files_below(tmp_path)


def refused(tmp_path, archive, ending, reason, member=None):
    before = files_below(tmp_path)
    with pytest.raises(fetch.DownloadError, match=reason) as caught:
        unpack(tmp_path, archive, ending, member)
    assert 'archive' + ending in str(caught.value) and '\n' not in str(caught.value)
    assert files_below(tmp_path) == before


ARCHIVES = [('.zip', zipped), ('.tar.gz', tarred), ('.tgz', tarred)]


@pytest.fixture(params=ARCHIVES, ids=lambda a: a[0])
def kind(request):
    return request.param


# Only what is wanted


@pytest.mark.parametrize('name', ['in/wanted', './in/wanted'])
def test_only_the_member_that_is_wanted(tmp_path, kind, name):
    ending, make = kind
    archive = make({'in/other': b'1', 'wanted': b'2', name: WANTED, 'in/wanted.txt': b'3'})
    assert unpack(tmp_path, archive, ending) == {'out/wanted': WANTED}


EVIL = ['../evil', '../../evil', '/evil', '/tmp/evil-of-this-test', 'C:\\evil', 'C:/evil']
EVIL += ['..\\evil', '\\\\host\\evil', 'in/../../evil', './../evil', 'in/wanted/../../../evil']


@pytest.mark.parametrize('name', EVIL)
def test_names_that_lead_outside_are_never_written(tmp_path, kind, name):
    ending, make = kind
    (tmp_path / 'deep').mkdir()
    archive = make({name: b'evil', 'in/wanted': WANTED})
    assert unpack(tmp_path / 'deep', archive, ending) == {'out/wanted': WANTED}
    assert files_below(tmp_path) == {'deep/out/wanted': WANTED}
    assert not os.path.exists('/evil') and not os.path.exists('/tmp/evil-of-this-test')


@pytest.mark.parametrize('name', ['../in/wanted', '/in/wanted', 'C:in/wanted', 'in/../in/wanted'])
def test_a_name_that_would_come_to_the_same_place_is_another_name(tmp_path, kind, name):
    ending, make = kind
    refused(tmp_path, make({name: WANTED}), ending, 'has no member in/wanted$')


@pytest.mark.parametrize(
    'kind_of_member',
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    + [tarfile.DIRTYPE, tarfile.CONTTYPE],
)
def test_links_and_devices_are_not_taken_for_files(tmp_path, kind_of_member):
    (tmp_path / 'secret').write_bytes(b'secret')
    info = tarfile.TarInfo('in/wanted')
    info.type, info.linkname = kind_of_member, str(tmp_path / 'secret')
    archive = tarred({}, more=[(info, None)])
    refused(tmp_path, archive, '.tgz', 'in/wanted is not a plain file')


def test_a_link_to_the_folder_is_not_followed(tmp_path):
    """The first member makes `in` a link to elsewhere; the second would be written through it."""
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    info = tarfile.TarInfo('in')
    info.type, info.linkname = tarfile.SYMTYPE, str(elsewhere)
    archive = tarred({'in/wanted': WANTED}, more=[(info, None)])
    assert unpack(tmp_path, archive, '.tgz') == {'out/wanted': WANTED}


def test_a_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo('in/wanted')
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr(info, '/etc/passwd')
    refused(tmp_path, buffer.getvalue(), '.zip', 'not a plain file')


# Bombs


def test_a_bomb_stops_at_the_limit(tmp_path, kind, monkeypatch):
    ending, make = kind
    monkeypatch.setattr(archives, 'DISK_BLOCK', 1000)
    written = []
    copy = archives.copy

    def watched(stream, part, *rest):
        try:
            return copy(stream, part, *rest)
        finally:
            written.append(fetch.length(part))

    monkeypatch.setattr(archives, 'copy', watched)
    bomb = make({'in/wanted': bytes(3_000_000)})
    assert len(bomb) < 10_000
    refused(tmp_path, bomb, ending, 'has more than the 5,000 bytes expected')
    assert written == [5000]


def test_exactly_the_limit_is_not_too_much(tmp_path, kind):
    ending, make = kind
    path = str(tmp_path / 'out' / 'wanted')
    for options in ({'max_size': len(WANTED)}, {'size': len(WANTED)}):
        found = unpack(
            tmp_path, make({'in/wanted': WANTED}), ending, Member('in/wanted', path, **options)
        )
        assert found == {'out/wanted': WANTED}
    for options in ({'max_size': len(WANTED) - 1}, {'size': len(WANTED) - 1}):
        member = Member('in/wanted', path, **options)
        refused(tmp_path, make({'in/wanted': WANTED}), ending, 'more than', member)


def test_a_zip_that_lies_about_a_size(tmp_path):
    """The declared size is set to 10 in the two places where a zip has it."""
    archive = bytearray(zipped({'in/wanted': bytes(100_000)}))
    for signature, offset in ((b'PK\1\2', 24), (b'PK\3\4', 22)):
        at = archive.index(signature) + offset
        assert int.from_bytes(archive[at : at + 4], 'little') == 100_000
        archive[at : at + 4] = (10).to_bytes(4, 'little')
    refused(tmp_path, bytes(archive), '.zip', 'is damaged: ')


# Damage


@pytest.mark.parametrize('known', ['sha256', 'md5', 'size'])
def test_a_member_that_is_not_the_published_one(tmp_path, kind, known):
    ending, make = kind
    right = {'size': len(WANTED)} | {
        name: hashlib.new(name, WANTED).hexdigest() for name in ('sha256', 'md5')
    }
    (tmp_path / 'out').mkdir()
    path = tmp_path / 'out' / 'wanted'
    archive = make({'in/wanted': WANTED})
    assert unpack(tmp_path, archive, ending, Member('in/wanted', str(path), **right))
    path.write_bytes(b'what was there before')
    wrong = {'size': len(WANTED) + 1, 'sha256': '0' * 64, 'md5': '0' * 32}
    member = Member('in/wanted', str(path), **right | {known: wrong[known]})
    reason = 'bytes instead of' if known == 'size' else f'{known} .* instead of 0'
    refused(tmp_path, archive, ending, reason, member)
    assert path.read_bytes() == b'what was there before'


def test_an_archive_that_is_cut_off_anywhere(tmp_path, kind):
    """Nothing but the whole member may appear, and every complaint is one line."""
    ending, make = kind
    archive = make({'in/other': os.urandom(300), 'in/wanted': WANTED, 'in/more': b'4' * 100})
    for end in range(0, len(archive), 5):
        folder = tmp_path / str(end)
        folder.mkdir()
        try:
            assert unpack(folder, archive[:end], ending) == {'out/wanted': WANTED}
            assert ending != '.zip'  # whose table is at its end
        except fetch.DownloadError as error:
            assert 'archive' in str(error)
            assert files_below(folder) == {}


def test_an_archive_with_any_byte_wrong(tmp_path, kind):
    ending, make = kind
    archive = make({'in/wanted': WANTED, 'in/more': b'4' * 100})
    for at in range(0, len(archive), 3):
        damaged = bytearray(archive)
        damaged[at] ^= 0xFF
        folder = tmp_path / str(at)
        folder.mkdir()
        try:
            found = files_below_after(folder, bytes(damaged), ending)
        except ValueError:
            found = files_below(folder)
        assert set(found) <= {'out/wanted'}


def files_below_after(folder, archive, ending):
    path = folder / f'archive{ending}'
    path.write_bytes(archive)
    member = Member('in/wanted', str(folder / 'out' / 'wanted'), max_size=5000)
    try:
        archives.unpack(str(path), [member], lambda *known: None)
    finally:
        path.unlink()
    return files_below(folder)


@pytest.mark.parametrize(
    'content', [b'', b'<html></html>', gzip.compress(b'no tar', mtime=0), b'PK\3\4']
)
def test_what_is_no_archive_at_all(tmp_path, kind, content):
    refused(tmp_path, content, kind[0], 'is damaged|has no member')


@pytest.mark.parametrize(
    'error',
    [EOFError(), ValueError('no'), struct.error('no'), zlib.error('no'), NotImplementedError('no')]
    + [RuntimeError('no'), gzip.BadGzipFile('no'), OSError(errno.EINVAL, 'no')],
    ids=repr,
)
def test_whatever_the_libraries_raise_of_damage(tmp_path, kind, monkeypatch, error):
    """All of these have been seen, or are documented; which of them depends on Python's version."""
    ending, make = kind

    def broken(*_):
        raise error

    monkeypatch.setattr(archives, 'copy', broken)
    refused(tmp_path, make({'in/wanted': WANTED}), ending, r'is damaged: .*(no|EOFError)$')


def test_an_error_of_the_disk_is_not_taken_for_damage(tmp_path, kind, monkeypatch):
    ending, make = kind

    def broken(*_):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(archives, 'copy', broken)
    with pytest.raises(OSError, match='Input/output error'):
        unpack(tmp_path, make({'in/wanted': WANTED}), ending)


def test_an_encrypted_member(tmp_path):
    archive = bytearray(zipped({'in/wanted': WANTED}))
    for signature, offset in ((b'PK\1\2', 8), (b'PK\3\4', 6)):
        archive[archive.index(signature) + offset] |= 1
    refused(tmp_path, bytes(archive), '.zip', 'is damaged: .*encrypted')


# Atomic


def test_the_name_appears_after_the_bytes_and_the_record(tmp_path, kind, monkeypatch):
    ending, make = kind
    calls = []
    path = tmp_path / ('archive' + ending)
    path.write_bytes(make({'in/wanted': WANTED}))
    target = tmp_path / 'out' / 'wanted'
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda fd: calls.append('fsync') or fsync(fd))
    monkeypatch.setattr(os, 'replace', lambda a, b: calls.append('replace') or replace(a, b))

    def record(member, size, sha256):
        assert not target.exists()
        calls.append('record')

    member = Member('in/wanted', str(target), max_size=5000)
    archives.unpack(str(path), [member], record)
    assert calls == ['fsync', 'record', 'replace', 'fsync']  # the last is of the folder


def test_ctrl_c_leaves_what_was_there(tmp_path, kind, monkeypatch):
    ending, make = kind
    target = tmp_path / 'out' / 'wanted'
    target.parent.mkdir()
    target.write_bytes(b'before')

    def press(stream, part, *rest):
        part.write(b'some')
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, 'copy', press)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path, make({'in/wanted': WANTED}), ending)
    assert files_below(tmp_path) == {'out/wanted': b'before'}


def test_the_archive_is_read_no_further_than_needed(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        archives.Watched, 'read', lambda self, n=-1: read.append(n) or self.file.read(n)
    )
    archive = tarred({'in/wanted': WANTED, 'in/more': os.urandom(1_000_000)})
    unpack(tmp_path, archive, '.tar.gz')
    assert sum(read) < 300_000  # gzip reads 128 kB at a time from Python 3.12 on


def test_a_part_of_an_earlier_run_is_not_continued(tmp_path, kind):
    ending, make = kind
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'wanted.part').write_bytes(b'rest of a run that was killed')
    assert unpack(tmp_path, make({'in/wanted': WANTED}), ending) == {'out/wanted': WANTED}
