"""The Dockerfiles' own commands, run in folders that hold what an image would hold."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers.paths import ROOT

needs_sh = pytest.mark.skipif(os.name == 'nt', reason='the commands of the image are for sh')
both = pytest.mark.parametrize('dockerfile', ['Dockerfile.cpu', 'Dockerfile.gpu'])


def instructions(dockerfile):
    """[(keyword, the rest of the line)], with continued lines joined."""
    text = (ROOT / dockerfile).read_text(encoding='utf-8')
    lines = [line for line in text.splitlines() if line and not line.startswith('#')]
    return [line.split(maxsplit=1) for line in '\n'.join(lines).replace('\\\n', '').splitlines()]


def find(dockerfile, keyword, part=''):
    """(position, the rest of the line) of the only instruction with that keyword and part."""
    [found] = [
        (i, rest)
        for i, (word, rest) in enumerate(instructions(dockerfile))
        if word == keyword and part in rest
    ]
    return found


def copies(dockerfile, before=None):
    """[(source, destination)], of the instructions before a position."""
    copied = []
    for keyword, rest in instructions(dockerfile)[:before]:
        if keyword == 'COPY':
            *sources, destination = [word for word in rest.split() if not word.startswith('--')]
            into_folder = destination.endswith(('.', '/'))
            copied += [
                (s, f'{destination}/{s.rpartition("/")[2]}' if into_folder else destination)
                for s in sources
            ]
    return copied


@pytest.fixture
def image(tmp_path):
    """A stand-in for /gpt-2 in an image: image.fill(dockerfile) copies, image.run(command) runs."""
    return Image(tmp_path)


class Image:
    def __init__(self, folder):
        self.folder, self.programs = folder / 'gpt-2', folder / 'bin'
        self.folder.mkdir()
        self.programs.mkdir()
        python = self.programs / 'python'
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -B "$@"\n', encoding='utf-8')
        python.chmod(0o755)

    def fill(self, dockerfile, before=None):
        for source, destination in copies(dockerfile, before):
            target = self.folder / destination
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, target)

    def run(self, command, **variables):
        path = f'{self.programs}{os.pathsep}{os.environ["PATH"]}'
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, 'PATH': path, **variables},
            capture_output=True,
            encoding='utf-8',
        )


@both
def test_what_is_copied_exists_and_is_not_ignored(dockerfile):
    everything, *rules = [
        line
        for line in (ROOT / '.dockerignore').read_text(encoding='utf-8').splitlines()
        if not line.startswith('#')
    ]
    assert everything == '*'
    excepted = [rule[1:] for rule in rules if rule.startswith('!')]
    for source, _ in copies(dockerfile):
        assert (ROOT / source).exists(), source
        assert any(source == e or source.startswith(f'{e}/') for e in excepted), source


def test_the_files_differ_in_nothing_but_what_a_gpu_needs():
    def common(dockerfile):
        return [
            line
            for line in instructions(dockerfile)
            if not re.search('pip install|ldconfig|NVIDIA_', line[1])
        ]

    assert common('Dockerfile.cpu') == common('Dockerfile.gpu')


@both
def test_the_user_is_not_root(dockerfile):
    _, user = find(dockerfile, 'USER')
    assert int(user) > 0


@needs_sh
@pytest.mark.parametrize(
    'dockerfile, package',
    [('Dockerfile.cpu', 'tensorflow-cpu'), ('Dockerfile.gpu', 'tensorflow[and-cuda]')],
)
def test_tensorflow_is_the_right_one_in_the_range_of_the_requirements(dockerfile, package):
    _, command = find(dockerfile, 'RUN', '-r requirements.txt')
    edit = re.search("sed -i '(.+?)' requirements.txt", command)[1]
    requirements = (ROOT / 'requirements.txt').read_text(encoding='utf-8')
    edited = subprocess.run(
        ['sed', edit], input=requirements, capture_output=True, encoding='utf-8', check=True
    ).stdout
    before, after = requirements.splitlines(), edited.splitlines()
    [(old, new)] = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert re.fullmatch('tensorflow([<>=~!].+)', old)
    assert new == old.replace('tensorflow', package)


@needs_sh
@both
def test_the_download_runs_with_the_files_that_precede_it(dockerfile, image, tmp_path):
    position, command = find(dockerfile, 'RUN', 'download_model.py')
    image.fill(dockerfile, before=position)
    command = ['sh', '-c', command]

    none = image.run(command, MODEL='', BASE_URL='')
    assert (none.returncode, none.stderr) == (0, '')
    unknown = image.run(command, MODEL='999M', BASE_URL='')
    assert unknown.returncode == 2
    assert re.fullmatch("error: unknown model '999M' .+\n", unknown.stderr)
    absent = image.run(command, MODEL='124M', BASE_URL=tmp_path.as_uri())
    assert absent.returncode == 2
    assert f'error: {tmp_path.as_uri()}/124M/encoder.json: 404' in absent.stderr


@needs_sh
def test_the_default_command_samples(image):
    image.fill('Dockerfile.cpu')
    _, model = find('Dockerfile.cpu', 'ENV', 'MODEL=')
    _, command = find('Dockerfile.cpu', 'CMD')
    result = image.run(
        ['sh', '-c', f'export {model}; exec "$@"', 'sh', *json.loads(command)], MODEL=''
    )
    assert result.returncode == 0, result.stderr
    assert re.search('={40} SAMPLE 1 ={40}\n.+={40} SAMPLE 2 ={40}\n.+', result.stdout, re.DOTALL)


@needs_sh
@both
def test_serve_runs_the_server_with_the_flags_that_follow(dockerfile, image):
    _, command = find(dockerfile, 'RUN', '/usr/local/bin/serve')
    made = image.run(['sh', '-c', command.replace('/usr/local/bin', str(image.programs))])
    assert (made.returncode, made.stderr) == (0, '')
    python = image.programs / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding='utf-8')

    result = image.run([image.programs / 'serve', '--api_key', 'a key'], MODEL='124M')
    flags = ['--model_name', '124M', '--host', '0.0.0.0', '--api_key', 'a key']
    assert result.stdout.splitlines() == ['src/serve.py', *flags]
    image.fill(dockerfile)
    assert (image.folder / 'src' / 'serve.py').exists()


@both
def test_what_the_server_needs_is_installed(dockerfile):
    position, command = find(dockerfile, 'RUN', '-r requirements-serve.txt')
    assert '-r requirements.txt' in command
    copied = [os.path.normpath(path) for _, path in copies(dockerfile, before=position)]
    assert {'requirements.txt', 'requirements-serve.txt'} <= set(copied)
