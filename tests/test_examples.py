"""The examples for clusters, as far as one machine can try them."""

import hashlib
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from helpers.paths import ROOT
from support.command_line import check_flags

EXAMPLES = ROOT / 'examples'
SCRIPTS = sorted(EXAMPLES.glob('*.sh'))
SAMPLES = ('--model_name', 'demo', '--nsamples', '64', '--length', '40', '--seed', '3')

needs_bash = pytest.mark.skipif(shutil.which('bash') is None, reason='has no bash')


def documents(name):
    yaml = pytest.importorskip('yaml')  # comes with Dask distributed
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding='utf-8')))


def commands():
    """The commands of all examples that run a script of ours, each a list of words."""
    for path in EXAMPLES.iterdir():
        text = re.sub(r'\\\n#?', ' ', path.read_text(encoding='utf-8'))
        for line in text.splitlines() if path.suffix == '.sh' else []:
            if found := re.search(r'(src/\w+\.py[^"|>]*)', line.partition('     # ')[0]):
                yield shlex.split(found[1].replace('$command', ''))
    for document in documents('kubernetes.yaml'):
        for container in document['spec'].get('template', {}).get('spec', {}).get('containers', []):
            yield [*container['command'], *container.get('args', [])]
    for service in documents('compose.yaml')[0]['services'].values():
        yield service['command'].split()


def test_commands_have_flags_that_there_are():
    checked = 0
    for words in commands():
        scripts = [word for word in words if word.startswith('src/')]
        if scripts:
            name = os.path.basename(scripts[0]).removesuffix('.py')
            module = importlib.import_module(name)
            function = {'make_parts': 'make_parts'}.get(name, 'sample_model')
            flags = words[words.index(scripts[0]) + 1 :]
            check_flags(getattr(module, function), flags)
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize('words', [w for w in commands() if 'dask' in w], ids=' '.join)
def test_flags_of_dask_are_there(words):
    pytest.importorskip('distributed')
    kind = words[words.index('dask') + 1]
    command = importlib.import_module(f'distributed.cli.dask_{kind}').main
    known = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {word for word in words if word.startswith('--')} <= known


@needs_bash
@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    subprocess.run(['bash', '-n', script], check=True)
    if shutil.which('shellcheck'):
        subprocess.run(['shellcheck', '-x', script], cwd=ROOT, check=True)


def test_pods_find_each_other():
    driver, workers, service, policy = documents('kubernetes.yaml')
    labels = [job['spec']['template']['metadata']['labels'] for job in (driver, workers)]
    assert service['spec']['selector'] == labels[0]
    assert (
        policy['spec']['podSelector']['matchLabels'].items()
        <= labels[0].items() & labels[1].items()
    )
    pods = [job['spec']['template']['spec'] for job in (driver, workers)]
    [scheduler], [worker] = pods[0]['initContainers'], pods[1]['containers']
    port = str(service['spec']['ports'][0]['port'])
    assert port in scheduler['command']
    assert f'tcp://{service["metadata"]["name"]}:{port}' in worker['command']
    claims = [[volume['persistentVolumeClaim'] for volume in pod['volumes']] for pod in pods]
    mounts = [pod['containers'][0]['volumeMounts'] for pod in pods]
    assert claims[0] == claims[1] and mounts[0] == mounts[1]


# Stands for Slurm's srun: two tasks, each with a core of its own.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
cores=($(seq 0 $(($(nproc) - 1))))
for task in 0 1; do taskset --cpu-list "${cores[task % ${#cores[@]}]}" "$@" & done
trap 'kill $(jobs -p)' TERM
wait
"""


@pytest.fixture
def clone(tmp_path):
    """What sbatch would start in: a clone with .venv, and programs that stand for Slurm's."""
    for name in ('src', 'examples', 'models'):
        os.symlink(ROOT / name, tmp_path / name)
    programs = tmp_path / '.venv' / 'bin'
    programs.mkdir(parents=True)
    (programs / 'srun').write_text(SRUN, encoding='utf-8')
    for name, command in [('dask', '-m dask'), ('python3', '')]:
        program = f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n'
        (programs / name).write_text(program, encoding='utf-8')
    (programs / 'hostname').write_text('#!/bin/sh\necho 127.0.0.1\n', encoding='utf-8')
    for program in programs.iterdir():
        program.chmod(0o755)
    (programs / 'activate').write_text(f'PATH={programs}:$PATH\n', encoding='utf-8')
    return tmp_path


def submit(clone, *command, **variables):
    environment = {**os.environ, 'HOME': str(clone), 'SLURM_SUBMIT_DIR': str(clone)}
    environment |= {'SLURM_CPUS_PER_TASK': '1', 'DASK_LOGGING__DISTRIBUTED': 'critical'}
    done = subprocess.run(
        ['bash', *map(str, command)],
        env=environment | variables,
        capture_output=True,
        encoding='utf-8',
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp('serial') / 'samples.jsonl'
    command = [sys.executable, ROOT / 'src' / 'generate_unconditional_samples.py', *SAMPLES]
    subprocess.run([*map(str, command), '--output', str(path)], cwd=ROOT, check=True)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@needs_bash
@pytest.mark.slow
@pytest.mark.skipif(shutil.which('taskset') is None, reason='has no taskset')
def test_a_slurm_job_of_two_workers_makes_the_file_of_one_process(clone, expected):
    """By TLS, and with a core for each worker."""
    pytest.importorskip('distributed')
    script = 'src/generate_unconditional_samples.py'
    flags = (*SAMPLES, '--part_size', 8, '--output', 'samples.jsonl')
    job = clone / 'examples' / 'slurm.sh'
    submit(clone, job, script, *flags, SLURM_JOB_ID=str(os.getpid()))
    assert hashlib.sha256((clone / 'samples.jsonl').read_bytes()).hexdigest() == expected
    assert not (clone / 'samples.jsonl.parts').exists()
    assert (clone / '.gpt-2-tls' / 'key.pem').stat().st_mode & 0o77 == 0


@needs_bash
@pytest.mark.slow
def test_a_slurm_array_makes_the_file_of_one_process(clone, expected, run_script):
    (clone / '.venv' / 'bin' / 'srun').write_text('#!/bin/sh\nshift\nexec "$@"\n', encoding='utf-8')
    flags = (*SAMPLES, '--part_size', 8, '--parts', 'parts', '--workers', 0)
    command = (ROOT / 'src' / 'generate_unconditional_samples.py', *flags)

    def prepare_or_join():
        done = subprocess.run(
            [sys.executable, *map(str, command), '--output', 'samples.jsonl'],
            cwd=clone,
            capture_output=True,
            encoding='utf-8',
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert '8 parts are to be made' in prepare_or_join()
    for task in (0, 1, 2):
        share = {'SLURM_ARRAY_TASK_ID': str(task), 'SLURM_ARRAY_TASK_COUNT': '3'}
        assert 'parts made' in submit(
            clone, clone / 'examples' / 'slurm_array.sh', 'parts', **share
        )
    prepare_or_join()
    assert hashlib.sha256((clone / 'samples.jsonl').read_bytes()).hexdigest() == expected
    assert not (clone / 'parts').exists()
