"""Which state of this code has made a result."""

import hashlib
import os
import subprocess

SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(SOURCES)


def source_version():
    """What git calls this state of the code, or where it cannot say, the digest of the sources."""
    command = ['git', '-C', ROOT, 'rev-parse', '--show-toplevel']
    top = output_of(command)
    if top is None or os.path.realpath(top) != os.path.realpath(ROOT):  # it is another project's
        return f'sources {source_digest()}'
    return output_of(['git', '-C', ROOT, 'describe', '--always', '--tags', '--dirty']) or (
        f'sources {source_digest()}'
    )


def output_of(command):
    """What a command prints, or None if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, encoding='utf-8', errors='replace')
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def source_digest():
    """16 hexadecimal digits that stand for all code in src/ and its packages."""
    digest = hashlib.sha256()
    for path in sorted(python_files(SOURCES)):
        with open(os.path.join(SOURCES, path), 'rb') as file:
            content = file.read()
        digest.update(f'{path} {len(content)}\n'.encode() + content)
    return digest.hexdigest()[:16]


def python_files(folder):
    """Paths of all Python files below a folder, relative to it, with / between on every system."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith('.py'):
                path = os.path.relpath(os.path.join(parent, name), folder)
                yield path.replace(os.sep, '/')
