import inspect
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from encoder import get_encoder
from generate_unconditional_samples import sample_model
from helpers.kills import end_again_and_again
from helpers.paths import ROOT
from support.settings import SAMPLING

SCRIPT = ROOT / 'src' / 'generate_unconditional_samples.py'
ASCII_ONLY = {'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0'}
N_CTX = 64  # of the model called `bytes`


@pytest.fixture
def flags(byte_models):
    return ('--model_name', 'bytes', '--models_dir', byte_models)


def samples_of(output):
    """The texts between the headers, which must count from 1."""
    before, *parts = re.split(r'={40} SAMPLE (\d+) ={40}\n', output)
    assert before == ''
    assert [int(number) for number in parts[::2]] == list(range(1, len(parts) // 2 + 1))
    return [text.removesuffix('\n') for text in parts[1::2]]


def records_of(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').split('\n')[:-1]]


def start(*flags, **options):
    """Start the script in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
    environment |= options.pop('env', {})
    streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command = [sys.executable, str(SCRIPT), *map(str, flags)]
    return subprocess.Popen(command, env=environment, **(streams | options))


# Samples


def test_samples_are_counted_exactly_and_do_not_depend_on_the_batch_size(call, fast_start, flags):
    common = (*flags, '--seed', 3, '--nsamples', 5, '--length', 20)
    many = {call(sample_model, *common, '--batch_size', b) for b in (1, 2, 7)}
    ((status, output, errors),) = many
    assert (status, errors) == (0, '')
    assert len(samples_of(output)) == len(set(samples_of(output))) == 5


def test_steps_are_compiled_when_asked_or_when_it_pays_and_samples_stay(
    call, fast_start, flags, monkeypatch, tmp_path
):
    from generation import engine

    def interrupted(*_):
        raise KeyboardInterrupt

    compiled = []
    shared = engine.Engine('bytes', str(flags[-1]))
    generate = shared.generate

    def noted(*arguments):
        compiled.append(shared.compiled)
        return generate(*arguments)

    monkeypatch.setattr(shared, 'generate', noted)
    common = (*flags, '--seed', 3, '--length', 20, '--batch_size', 2)

    def answer(*more):
        compiled.clear()
        return call(sample_model, *common, *more), set(compiled)

    plain = answer('--nsamples', 3, '--noxla')
    assert plain == answer('--nsamples', 3) == answer('--nsamples', 3, '--xla', 'False')
    assert plain[0][0] == 0 and plain[1] == {False}
    assert set(fast_start) == {None}
    assert answer('--nsamples', 3, '--xla') == (plain[0], {True})
    assert fast_start[-1] == 1  # XLA shares a program among the cores itself
    asked = []
    monkeypatch.setattr(shared, 'compiling_pays', lambda *numbers: asked.append(numbers) or True)
    assert answer('--nsamples', 3) == (plain[0], {True})
    path = tmp_path / 'out.jsonl'
    answer('--nsamples', 2, '--output', path)
    answer('--nsamples', 7, '--output', path)  # five more
    monkeypatch.setattr(shared, 'generate', interrupted)
    answer('--nsamples', 0)
    assert asked == [(2, 40), (2, 20), (2, 60), (2, math.inf)]


def test_without_a_length_samples_fill_the_context(call, fast_start, flags, tmp_path):
    path = tmp_path / 'out.jsonl'
    call(sample_model, *flags, '--nsamples', 1, '--output', path)
    assert len(records_of(path)[0]['tokens']) == N_CTX


def test_a_record_holds_the_sample_and_what_it_takes_to_make_it_again(
    call, fast_start, flags, tmp_path
):
    path = tmp_path / 'out.jsonl'
    knobs = ('--nsamples', 3, '--length', 20, '--temperature', 0.9, '--top_k', 200, '--top_p', 0.99)
    knobs += ('--min_p', 0.001, '--repetition_penalty', 1.1)
    assert call(sample_model, *flags, *knobs, '--output', path) == (0, '', '')
    encoder = get_encoder('bytes', str(flags[-1]))
    first, *others = records_of(path)
    assert first['model'] == 'bytes' and len(first['weights']) == 16
    assert first['settings'] == {
        'length': 20,
        'temperature': 0.9,
        'top_k': 200,
        'top_p': 0.99,
        'min_p': 0.001,
        'typical_p': 1,
        'repetition_penalty': 1.1,
        'stop_at_end': False,
    }
    for record in (first, *others):
        assert record['text'] == encoder.decode(record['tokens'])
        assert record['ended'] == (encoder.end_of_text in record['tokens'])
        assert record['seed'] == first['seed'] and record['settings'] == first['settings']
    _, output, _ = call(sample_model, *flags, *knobs, '--seed', first['seed'])
    assert samples_of(output) == [record['text'] for record in (first, *others)]


def test_stop_at_end_cuts_samples_before_the_end_token_and_says_so(
    call, fast_start, flags, tmp_path
):
    common = (*flags, '--seed', 1, '--nsamples', 24, '--batch_size', 8)
    paths = tmp_path / 'whole.jsonl', tmp_path / 'stopped.jsonl'
    call(sample_model, *common, '--output', paths[0])
    call(sample_model, *common, '--output', paths[1], '--stop_at_end')
    whole, stopped = map(records_of, paths)
    end = get_encoder('bytes', str(flags[-1])).end_of_text
    for free, cut in zip(whole, stopped, strict=True):
        tokens = free['tokens']
        assert len(tokens) == N_CTX
        assert cut['ended'] == free['ended'] == (end in tokens)
        assert cut['tokens'] == (tokens[: tokens.index(end)] if end in tokens else tokens)
    assert 0 < sum(record['ended'] for record in stopped) < 24


def test_models_dir_may_be_written_with_a_variable(call, fast_start, byte_models, monkeypatch):
    monkeypatch.setenv('MODELS', str(byte_models))
    folder = ('--model_name', 'bytes', '--models_dir', '$MODELS')
    status, output, errors = call(sample_model, *folder, '--nsamples', 1, '--length', 1)
    assert (status, errors) == (0, '') and len(samples_of(output)) == 1


# Interruptions


@pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')
def test_a_killed_run_is_continued_to_the_file_of_an_uninterrupted_one(
    call, fast_start, flags, tmp_path
):
    """Even if the last line was cut off, in another process, with another batch size."""
    common = (*flags, '--seed', 3, '--nsamples', 400, '--output')
    killed, whole = tmp_path / 'killed.jsonl', tmp_path / 'whole.jsonl'
    process = start(*common, killed)
    deadline = time.monotonic() + 60
    while not killed.exists() or killed.read_bytes().count(b'\n') < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.communicate() == (b'', b'')
    before = killed.read_bytes()
    assert 3 <= before.count(b'\n') < 400
    killed.write_bytes(before[:-5])

    assert call(sample_model, *common, killed, '--batch_size', 100) == (0, '', '')
    assert call(sample_model, *common, whole, '--batch_size', 80) == (0, '', '')
    assert killed.read_bytes() == whole.read_bytes()
    assert whole.read_bytes().startswith(before)
    assert len(records_of(whole)) == 400


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='kills as POSIX does')
def test_a_run_that_is_ended_again_and_again_writes_what_one_that_was_not_does(
    call, fast_start, flags, tmp_path
):
    """At any moment, with another batch size each time: no whole line is ever lost."""
    common = (*flags, '--seed', 3, '--nsamples', 20_000, '--output')
    path, whole = tmp_path / 'tried.jsonl', tmp_path / 'whole.jsonl'
    batch_sizes = itertools.count(5)
    contents = [b'']

    def lines():
        content = path.read_bytes() if path.exists() else b''
        return content[: content.rfind(b'\n') + 1]

    def check(number, errors):
        assert lines().startswith(contents[-1])
        contents.append(lines())
        if number != signal.SIGKILL and errors:
            assert errors.startswith(f'stopped by {number.name}')

    end_again_and_again(
        start=lambda: start(*common, path, '--batch_size', next(batch_sizes), encoding='utf-8'),
        progress=lambda: len(lines()),
        check=check,
    )
    n = contents[-1].count(b'\n')
    assert len(set(contents)) > 3
    common = (
        *flags,
        '--seed',
        3,
        '--nsamples',
        min(n + 50, 20_000),
        '--batch_size',
        80,
        '--output',
    )
    assert call(sample_model, *common, path) == (0, '', '')
    assert call(sample_model, *common, whole) == (0, '', '')
    assert path.read_bytes() == whole.read_bytes()


def test_a_run_without_a_seed_goes_on_with_that_of_the_file(call, fast_start, flags, tmp_path):
    path = tmp_path / 'out.jsonl'
    common = (*flags, '--length', 30, '--output', path)  # few bytes may be alike: none is UTF-8
    call(sample_model, *common, '--nsamples', 2)
    assert call(sample_model, *common, '--nsamples', 4) == (0, '', '')
    assert [record['sample'] for record in records_of(path)] == [1, 2, 3, 4]
    assert len({record['seed'] for record in records_of(path)}) == 1
    assert len({record['text'] for record in records_of(path)}) == 4


def test_a_file_goes_on_however_its_model_is_spelled(call, fast_start, byte_models, tmp_path):
    path = tmp_path / 'out.jsonl'
    common = ('--models_dir', byte_models, '--length', 5, '--output', path)
    for nsamples, name in enumerate(('bytes', 'bytes/', './bytes'), start=1):
        more = ('--model_name', name, '--nsamples', nsamples)
        assert call(sample_model, *common, *more) == (0, '', '')
    assert {record['model'] for record in records_of(path)} == {'bytes'}


def test_a_finished_file_is_left_alone_without_tensorflow(
    call, fast_start, flags, tmp_path, monkeypatch
):
    path = tmp_path / 'out.jsonl'
    common = (*flags, '--length', 5, '--output', path)
    call(sample_model, *common, '--nsamples', 3)
    before = path.read_bytes()
    monkeypatch.setitem(sys.modules, 'generation.engine', None)
    for nsamples in (2, 3):
        answer = call(sample_model, *common, '--nsamples', nsamples)
        assert answer == (0, '', f'{path} holds 3 samples already\n')
    assert path.read_bytes() == before


def test_control_c_keeps_what_is_written(call, fast_start, flags, tmp_path, monkeypatch):
    from generation import engine

    path = tmp_path / 'out.jsonl'
    common = (*flags, '--seed', 3, '--length', 5, '--output')
    shared = engine.Engine('bytes', str(flags[-1]))
    generate = shared.generate

    def interrupted(prompts, settings, first_sample=0, progress=None):
        if first_sample == 4:
            raise KeyboardInterrupt
        return generate(prompts, settings, first_sample, progress)

    with monkeypatch.context() as patch:
        patch.setattr(shared, 'generate', interrupted)
        endless = call(sample_model, *common, path, '--batch_size', 2)
    kept = f'{path} keeps its samples: run the same command again to go on'
    assert endless == (130, '', f'\n{kept}\n')
    assert len(records_of(path)) == 4
    call(sample_model, *common, tmp_path / 'whole.jsonl', '--nsamples', 4)
    assert path.read_bytes() == (tmp_path / 'whole.jsonl').read_bytes()


# What is refused


@pytest.mark.parametrize(
    'wrong, message',
    [
        (['--nsamples', -1], 'nsamples must be a whole number of at least 0 (0 goes on without'),
        (['--nsamples', 'many'], 'nsamples must be'),
        (['--batch_size', 0], 'batch_size must be'),
        (['--batch_size', 10**9], 'batch_size must be at most'),
        (['--batch_size', '2.0'], 'batch_size must be'),
        (['--length', 0], 'length must be'),
        (['--length', 65], 'a prompt of 1 tokens and 65 new ones exceed the context of 64 tokens'),
        (['--temperature', -1], 'temperature must be'),
        (['--temperature'], 'temperature must be'),
        (['--temperature', '1e400'], 'temperature must be'),
        (['--top_k', -1], 'top_k must be'),
        (['--top_k', '[40]'], 'top_k must be'),
        (['--top_p', 0], 'top_p must be'),
        (['--top_p', 'nan'], 'top_p must be'),
        (['--min_p', 2], 'min_p must be'),
        (['--typical_p', 0], 'typical_p must be'),
        (['--repetition-penalty', 0], 'repetition_penalty must be'),
        (['--seed', '1e3'], 'seed must be'),
        (['--stop_at_end=yes'], 'stop_at_end must be'),
        (['--xla=yes'], "xla must be True or False, not 'yes'"),
        (['--model_name', '/bytes'], "model name '/bytes' does not name a folder inside"),
        (['--model_name', 'nowhere'], "there is no model 'nowhere' in"),
        (['--models_dir', '/nowhere'], 'there is no model'),
        (['--output'], '--output needs a value'),
        (['--output', '/nowhere/out.jsonl'], '[Errno 2] No such file or directory'),
        (['--output', os.curdir], '. is not a regular file'),
        (['--output', os.devnull], f'{os.devnull} is not a regular file'),
        (['--prompt', 'Hello'], 'unknown flag --prompt'),
        (['--nsample', 3], 'unknown flag --nsample; did you mean --nsamples?'),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_without_tensorflow(
    call, no_tensorflow, flags, wrong, message
):
    status, output, errors = call(sample_model, *flags, *wrong)
    assert (status, output) == (2, '')
    assert errors.startswith(f'error: {message}') and errors.count('\n') == 1


def test_a_file_of_something_else_is_refused_untouched(call, no_tensorflow, flags, tmp_path):
    path = tmp_path / 'thesis.txt'
    path.write_bytes(b'Chapter 1')
    status, _, errors = call(sample_model, *flags, '--nsamples', 1, '--output', path)
    assert status == 2 and path.read_bytes() == b'Chapter 1'
    assert errors == f'error: {path} line 1 is no record of a sample; not touched\n'


def test_samples_made_otherwise_are_not_continued(call, fast_start, flags, tmp_path, monkeypatch):
    path = tmp_path / 'out.jsonl'
    common = (*flags, '--output', path, '--length', 5)
    call(sample_model, *common, '--nsamples', 1)
    before = path.read_bytes()
    monkeypatch.setitem(sys.modules, 'generation.engine', None)
    status, _, errors = call(sample_model, *common, '--nsamples', 2, '--temperature', 0.5)
    assert status == 2 and path.read_bytes() == before
    assert errors.startswith(f'error: {path} was made with temperature=1, not 0.5: repeat its')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_is_one_line(call, fast_start, flags, tmp_path, monkeypatch):
    from generation import sample_file

    class FullDisk(sample_file.SampleFile):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            with open('/dev/full', 'ab') as full:
                os.dup2(full.fileno(), self.file.fileno())

    monkeypatch.setattr('generate_unconditional_samples.SampleFile', FullDisk)
    path = tmp_path / 'out.jsonl'
    more = ('--nsamples', 2, '--length', 5, '--output', path)
    status, output, errors = call(sample_model, *flags, *more)
    assert (status, output) == (2, '')
    assert errors == f"error: [Errno 28] No space left on device: '{path}'\n"


def test_without_a_download_the_default_run_says_how_to_get_one(call, no_tensorflow, models_dir):
    status, output, errors = call(sample_model, '--models_dir', models_dir)
    assert (status, output) == (2, '') and errors.count('\n') == 1
    assert 'python3 download_model.py 124M' in errors and '(--model_name demo works now)' in errors


def test_help_names_every_flag(call, no_tensorflow):
    status, output, errors = call(sample_model, '--', '--help')
    assert (status, errors) == (0, '')
    for name in inspect.signature(sample_model).parameters:
        assert f'--{name}=' in output
    for field in SAMPLING.values():
        assert field.metadata['help'][-30:] in ' '.join(output.split())


# In a process of its own


@pytest.mark.skipif(sys.platform == 'win32', reason='closes a pipe as POSIX shells do')
def test_an_endless_run_ends_without_a_word_when_its_reader_does(flags):
    """Until then it prints UTF-8 whatever the locale, and nothing on standard error."""
    process = start(*flags, '--seed', 3, env=ASCII_ONLY)
    shown = b''.join(process.stdout.readline() for _ in range(50))
    process.stdout.close()
    assert process.stderr.read() == b''
    assert process.wait(timeout=60) == 1
    assert shown.startswith(b'=' * 40 + b' SAMPLE 1 ' + b'=' * 40)
    assert '\ufffd' in shown.decode('utf-8')


@pytest.mark.skipif(sys.platform == 'win32', reason='has no pseudo-terminals')
@pytest.mark.parametrize('stop', [False, True])
def test_the_progress_bar_is_for_terminals_and_shows_the_rate(flags, tmp_path, stop):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    path = tmp_path / 'out.jsonl'
    ends = ('--stop_at_end', '--seed', 5, '--batch_size', 2) if stop else ()
    process = start(*flags, '--nsamples', 3, '--output', path, *ends, stderr=theirs)
    os.close(theirs)
    shown = b''
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux's end of file
        pass
    os.close(ours)
    assert process.communicate()[0] == b'' and process.returncode == 0
    *_, last = shown.decode('utf-8').rstrip().split('\r')
    n_tokens = sum(len(record['tokens']) for record in records_of(path))
    assert n_tokens < 192 if stop else n_tokens == 192
    assert re.search(rf'100%.* {n_tokens}/{n_tokens} \[.*[\d.]+k? tokens/s\]$', last)
    assert len(records_of(path)) == 3


@pytest.mark.slow
def test_the_demo_model_runs_from_the_command_line(run_script, models_dir):
    flags = ('--model_name', 'demo', '--models_dir', models_dir, '--nsamples', 2, '--length', 20)
    result = run_script('src/generate_unconditional_samples.py', *flags)
    assert (result.returncode, result.stderr) == (0, '')
    assert len(samples_of(result.stdout)) == 2
