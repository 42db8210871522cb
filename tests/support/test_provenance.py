import shutil
import subprocess

import pytest

from support import provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one source file."""
    folder = tmp_path / 'project'
    (folder / 'src').mkdir(parents=True)
    (folder / 'src' / 'a.py').write_text('one')
    monkeypatch.setattr(provenance, 'ROOT', str(folder))
    monkeypatch.setattr(provenance, 'SOURCES', str(folder / 'src'))
    return folder


def git(folder, *command):
    subprocess.run(
        ['git', '-c', 'user.name=x', '-c', 'user.email=x@example.org', *command],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def commit(folder):
    git(folder, 'init')
    git(folder, 'add', '.')
    git(folder, 'commit', '-m', 'one')
    git(folder, 'tag', 'v1')


needs_git = pytest.mark.skipif(shutil.which('git') is None, reason='needs git')


@needs_git
def test_a_repository_is_described(project):
    commit(project)
    assert provenance.source_version() == 'v1'
    (project / 'src' / 'a.py').write_text('two')
    assert provenance.source_version() == 'v1-dirty'


@needs_git
def test_the_repository_around_the_project_does_not_count(project):
    commit(project.parent)
    assert provenance.source_version() == f'sources {provenance.source_digest()}'


def test_without_git_the_sources_speak_for_themselves(project, monkeypatch):
    monkeypatch.setenv('PATH', '')
    assert provenance.source_version() == f'sources {provenance.source_digest()}'


def test_the_digest_changes_with_any_source_and_with_nothing_else(project):
    digests = [provenance.source_digest()]
    (project / 'README.md').write_text('text')
    assert provenance.source_digest() == digests[0]
    for name, text in [('a.py', 'onf'), ('b.py', ''), ('c.py', 'x')]:
        (project / 'src' / name).write_text(text)
        digests.append(provenance.source_digest())
    (project / 'src' / 'c.py').rename(project / 'src' / 'd.py')
    digests.append(provenance.source_digest())
    assert len(set(digests)) == len(digests) == 5
