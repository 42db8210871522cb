import builtins
import inspect
import io
import os
import re
import select
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from helpers.paths import ROOT
from interactive_conditional_samples import interact_model
from support.settings import SAMPLING
from support.stopping import deferred_interrupts

SCRIPT = ROOT / 'src' / 'interactive_conditional_samples.py'
RULE = '=' * 80
ASCII_ONLY = {'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0'}


def header(number):
    return '=' * 40 + f' SAMPLE {number} ' + '=' * 40


@pytest.fixture
def flags(byte_models):
    return ('--model_name', 'bytes', '--models_dir', byte_models)


class Typist:
    """Stands in for a user at a terminal: input() returns or raises what is typed, in turn."""

    def __init__(self, *typed):
        self.typed, self.prompts = list(typed), []

    def isatty(self):
        return True

    def input(self, prompt=''):
        self.prompts.append(prompt)
        answer = self.typed.pop(0) if self.typed else EOFError()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def typing(monkeypatch):
    """Let the script's user type these lines; exceptions are Ctrl-C and Ctrl-D."""

    def start(*typed):
        typist = Typist(*typed)
        monkeypatch.setattr(sys, 'stdin', typist)
        monkeypatch.setattr(builtins, 'input', typist.input)
        return typist

    return start


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C works, even where the tests run in the background of a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_control_c():
    """At a moment when an exception would be lost, as within TensorFlow's session."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass


class Parrot:
    """Stands in for the engine: sample n of a prompt is `n:prompt`, byte by byte."""

    interrupted_at = None  # a sample that Ctrl-C stops in the middle
    on_gpu, dtype = True, 'float32'

    def __init__(self, model_name, models_dir, encoder, dtype, n_shards):
        self.encoder = encoder
        self.requests = Parrot.requests = []
        Parrot.n_shards = n_shards

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def answer(self, prompt, number):
        return self.encoder.encode(f'{number}:{self.encoder.decode(prompt)}')

    def stream(self, prompts, settings, first_sample=0):
        self.requests.append((len(prompts), settings, first_sample))
        (prompt,) = prompts
        for n, token in enumerate(self.answer(prompt, first_sample)):
            if n == 2 and first_sample == self.interrupted_at:
                press_control_c()
            yield np.array([[token]])

    def generate(self, prompts, settings, first_sample=0, progress=None):
        self.requests.append((len(prompts), settings, first_sample))
        if first_sample == self.interrupted_at:
            press_control_c()
        progress(len(prompts))
        return [self.answer(prompt, first_sample + i) for i, prompt in enumerate(prompts)]


@pytest.fixture
def parrot(monkeypatch):
    monkeypatch.setitem(sys.modules, 'generation.engine', types.SimpleNamespace(Engine=Parrot))
    monkeypatch.setattr(Parrot, 'interrupted_at', None)
    return Parrot


@pytest.mark.parametrize('given, expected', [([], None), (['--shards', '3'], 3), (['--xla'], 1)])
def test_the_engine_has_the_shards_that_are_asked_for(call, parrot, flags, given, expected):
    assert call(interact_model, *flags, '--prompt', 'Hello', *given)[0] == 0
    assert parrot.n_shards == expected


# What is printed


def test_one_sample_has_the_format_of_2019(call, parrot, flags):
    output = f'{header(1)}\n0:Hello\n{RULE}\n'
    assert call(interact_model, *flags, '--prompt', 'Hello') == (0, output, '')


@pytest.mark.parametrize('batch_size', [1, 2, 5, 7])
def test_samples_are_counted_exactly_and_numbered_from_one(call, parrot, flags, batch_size):
    more = ('--prompt', 'Hi', '--nsamples', 5, '--batch_size', batch_size)
    _, output, _ = call(interact_model, *flags, *more)
    assert output == ''.join(f'{header(n + 1)}\n{n}:Hi\n' for n in range(5)) + f'{RULE}\n'
    rows = [request[0] for request in parrot.requests]
    assert sum(rows) == 5 and max(rows) <= batch_size


class Screen(io.RawIOBase):
    """Standard output that remembers each write that reaches it."""

    def __init__(self):
        self.writes = []

    def writable(self):
        return True

    def write(self, data):
        self.writes.append(bytes(data).decode('utf-8'))
        return len(data)


def test_a_character_appears_when_all_of_its_bytes_are_there(monkeypatch, call, parrot, flags):
    screen = Screen()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BufferedWriter(screen), newline='\n'))
    call(interact_model, *flags, '--prompt', 'é日😀')
    assert screen.writes == [f'{header(1)}\n', *'0:é日😀', '\n', f'{RULE}\n']


# Where prompts come from


@pytest.mark.parametrize('text', ['123', '[1, 2]', '1e5', "it's", 'None', 'é日', 'a\n\nb\n', ' '])
def test_a_prompt_is_taken_as_it_was_typed(call, parrot, flags, text):
    output = f'{header(1)}\n0:{text}\n{RULE}\n'
    for given in (['--prompt', text], [f'--prompt={text}']):
        assert call(interact_model, *flags, *given) == (0, output, '')


def test_a_prompt_may_look_like_a_flag(call, parrot, flags):
    assert '\n0:--x\n' in call(interact_model, *flags, '--prompt=--x')[1]
    status, _, errors = call(interact_model, *flags, '--prompt', '--x')
    assert status == 2 and errors.startswith('error: --prompt needs a value')


@pytest.mark.parametrize('text', [' a\n\nb \n', ' a\n\nb ', ' a\r\n\r\nb \r\n'])
def test_files_and_pipes_give_all_their_text_less_one_final_newline(
    call, parrot, flags, tmp_path, monkeypatch, text
):
    output = f'{header(1)}\n0: a\n\nb \n{RULE}\n'
    path = tmp_path / 'prompt.txt'
    path.write_bytes(text.encode('utf-8'))
    assert call(interact_model, *flags, '--prompt_file', path) == (0, output, '')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(text.encode('utf-8'))))
    assert call(interact_model, *flags) == (0, output, '')


@pytest.mark.parametrize('nsamples', [1, 2])
def test_control_c_during_a_given_prompt_ends_with_its_status(call, parrot, flags, nsamples):
    parrot.interrupted_at = 0
    given = ('--prompt', 'Hello', '--nsamples', nsamples)
    status, output, errors = call(interact_model, *flags, *given)
    assert (status, errors) == (130, '\n') and RULE not in output


def test_control_c_that_the_process_ignores_stays_ignored(call, parrot, flags, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    parrot.interrupted_at = 0
    try:
        output = f'{header(1)}\n0:Hello\n{RULE}\n'
        assert call(interact_model, *flags, '--prompt', 'Hello') == (0, output, '')
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_control_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt):
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail('the second press did nothing')
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# The conversation


def test_prompts_are_asked_for_until_the_end_of_input(call, parrot, flags, typing):
    typist = typing('one', 'two')
    status, output, errors = call(interact_model, *flags)
    assert (status, errors) == (0, '')
    assert output == f'{header(1)}\n0:one\n{RULE}\n{header(1)}\n1:two\n{RULE}\n\n'
    assert typist.prompts == ['Model prompt >>> '] * 3


def test_control_c_at_the_prompt_ends_politely(call, parrot, flags, typing):
    typing(KeyboardInterrupt())
    assert call(interact_model, *flags) == (0, '\n', '')


def test_control_c_during_a_sample_stops_that_sample_only(call, parrot, flags, typing):
    typing('one', 'two')
    parrot.interrupted_at = 0
    status, output, errors = call(interact_model, *flags)
    assert (status, errors) == (0, '')
    assert output == f'{header(1)}\n0:\n{header(1)}\n1:two\n{RULE}\n\n'


def test_a_sample_that_takes_too_much_memory_does_not_end_the_conversation(
    call, parrot, flags, typing, monkeypatch
):
    def stream(self, prompts, settings, first_sample=0):
        if first_sample == 0:
            raise ValueError('not enough memory')
        return answered(self, prompts, settings, first_sample)

    answered = parrot.stream
    monkeypatch.setattr(parrot, 'stream', stream)
    typing('one', 'two')
    status, output, errors = call(interact_model, *flags)
    assert (status, errors) == (0, '')
    assert output == f'{header(1)}\nnot enough memory\n{header(1)}\n1:two\n{RULE}\n\n'


def test_the_same_prompt_again_gives_other_samples(call, parrot, flags, typing):
    typing('same', 'same', '', 'same')
    call(interact_model, *flags, '--nsamples', 3, '--batch_size', 2, '--seed', 5)
    assert [first for _, _, first in parrot.requests] == [0, 2, 3, 5, 6, 8]
    assert {settings.seed for _, settings, _ in parrot.requests} == {5}


@pytest.mark.parametrize(
    'lines, prompt',
    [
        (['"""one', 'two', 'three"""'], 'one\ntwo\nthree'),
        (['"""', 'one', '', '"""'], '\none\n\n'),
        (['"""one line"""'], 'one line'),
        (['"""say "hi" """'], 'say "hi" '),
        (['say """hi"""'], 'say """hi"""'),
    ],
)
def test_triple_quotes_hold_a_prompt_of_several_lines(call, parrot, flags, typing, lines, prompt):
    typist = typing(*lines)
    _, output, _ = call(interact_model, *flags)
    assert f'\n0:{prompt}\n{RULE}' in output
    assert typist.prompts[1 : len(lines)] == ['... '] * (len(lines) - 1)


@pytest.mark.parametrize('typed', ['', '""""""'])
def test_an_empty_prompt_is_asked_for_again(call, parrot, flags, typing, typed):
    typing(typed, 'two')
    _, output, _ = call(interact_model, *flags)
    assert output.startswith(f'Prompt should not be empty!\n{header(1)}\n')


def test_a_prompt_that_does_not_fit_is_asked_for_again(call, parrot, flags, typing):
    typing('x' * 65, 'x' * 56, 'x' * 55)
    _, output, _ = call(interact_model, *flags, '--length', 10)
    first, second, *rest = output.splitlines()
    assert first == (
        'a prompt of 65 tokens and 10 new ones exceed the context of 64 tokens: '
        'at most 55 prompt tokens fit (--keep_end takes the end of a prompt)'
    )
    assert second == (
        'a prompt of 56 tokens and 10 new ones exceed the context of 64 tokens: '
        'at most 9 new tokens fit (--keep_end takes the end of a prompt)'
    )
    assert rest[0] == header(1)


def test_the_end_of_prompts_is_used_where_asked_for(call, parrot, flags, typing):
    typing('x' * 65 + 'end', 'short')
    status, output, errors = call(interact_model, *flags, '--length', 60, '--keep_end')
    assert (status, errors) == (0, 'note: of 68 prompt tokens the last 5 are used\n')
    assert output == f'{header(1)}\n0:xxend\n{RULE}\n{header(1)}\n1:short\n{RULE}\n\n'


def test_what_is_typed_may_not_be_utf8(call, parrot, flags, typing):
    typing(UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid start byte'), 'two')
    _, output, _ = call(interact_model, *flags)
    assert output.splitlines()[1] == header(1)


@pytest.mark.parametrize('n_prompt, length', [(1, 32), (33, 32), (34, 31), (64, 1)])
def test_without_a_length_samples_take_half_the_context_or_the_room_left(
    call, parrot, flags, n_prompt, length
):
    call(interact_model, *flags, '--prompt', 'x' * n_prompt)
    ((_, settings, _),) = parrot.requests
    assert settings.length == length


# What is refused


@pytest.mark.parametrize(
    'wrong, message',
    [
        (['--nsamples', 0], 'nsamples must be a whole number of at least 1, not 0'),
        (['--nsamples', 'many'], "nsamples must be a whole number of at least 1, not 'many'"),
        (['--nsamples'], 'nsamples must be'),
        (['--batch_size', 0], 'batch_size must be'),
        (['--batch_size', 10**9], 'batch_size must be at most'),
        (['--batch_size', 1.5], 'batch_size must be'),
        (['--length', 0], 'length must be'),
        (['--length', 'long'], 'length must be'),
        (['--length', 65], 'a prompt of 1 tokens and 65 new ones exceed the context of 64'),
        (['--temperature', -1], 'temperature must be'),
        (['--temperature', 'hot'], 'temperature must be'),
        (['--top_k', -1], 'top_k must be'),
        (['--top_k', 1.5], 'top_k must be'),
        (['--top_p', 0], 'top_p must be'),
        (['--top_p', 1.5], 'top_p must be'),
        (['--seed', 'abc'], 'seed must be'),
        (['--seed', -1], 'seed must be'),
        (['--keep_end=yes'], "keep_end must be True or False, not 'yes'"),
        (['--stop_at_end=1'], 'stop_at_end must be'),
        (['--xla=yes'], "xla must be True or False, not 'yes'"),
        (['--model_name', '../bytes'], "model name '../bytes' does not name a folder inside"),
        (['--model_name', 'nowhere'], "there is no model 'nowhere' in"),
        (['--models_dir', '/nowhere'], 'there is no model'),
        (['--prompt', ''], 'Prompt should not be empty!'),
        (['--prompt', 'x' * 65], 'a prompt of 65 tokens'),
        (['--prompt', 'x' * 60, '--length', 6], 'a prompt of 60 tokens and 6 new ones'),
        (['--prompt', 'a', '--prompt_file', 'b'], 'give --prompt or --prompt_file, not both'),
        (['--prompt_file', '/nowhere'], "[Errno 2] No such file or directory: '/nowhere'"),
        (['--top-k-logits', 3], 'unknown flag --top_k_logits'),
        (['--temprature', 3], 'unknown flag --temprature; did you mean --temperature?'),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_without_tensorflow(
    call, no_tensorflow, typing, flags, wrong, message
):
    typing()
    status, output, errors = call(interact_model, *flags, *wrong)
    assert (status, output) == (2, '')
    assert errors.startswith(f'error: {message}') and errors.count('\n') == 1


def test_text_that_is_not_utf8_is_refused_with_its_source(
    call, no_tensorflow, flags, tmp_path, monkeypatch
):
    path = tmp_path / 'prompt.txt'
    path.write_bytes(b'caf\xe9')
    _, _, errors = call(interact_model, *flags, '--prompt_file', path)
    assert errors.startswith(f'error: {path} is not UTF-8 text: ') and errors.count('\n') == 1
    _, _, errors = call(interact_model, *flags, '--prompt', 'caf\udce9')
    assert errors.startswith('error: --prompt is not UTF-8 text: ') and errors.count('\n') == 1
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(path.open('rb'), encoding='utf-8'))
    _, _, errors = call(interact_model, *flags)
    assert errors.startswith('error: standard input is not UTF-8 text: ')


def test_without_a_download_the_default_run_says_how_to_get_one(call, no_tensorflow, models_dir):
    status, output, errors = call(interact_model, '--models_dir', models_dir)
    assert (status, output) == (2, '') and errors.count('\n') == 1
    assert 'python3 download_model.py 124M' in errors and '(--model_name demo works now)' in errors


def test_help_names_every_flag(call, no_tensorflow):
    status, output, errors = call(interact_model, '--', '--help')
    assert (status, errors) == (0, '')
    for name in inspect.signature(interact_model).parameters:
        assert f'--{name}=' in output
    for field in SAMPLING.values():
        assert field.metadata['help'][-30:] in ' '.join(output.split())


# With the engine


def samples_of(output):
    """The texts between the headers."""
    return re.split(r'\n?={40} SAMPLE \d+ ={40}\n', output.removesuffix(f'\n{RULE}\n'))[1:]


def test_a_streamed_sample_is_the_first_of_many_whatever_the_batch_size(call, fast_start, flags):
    common = (*flags, '--prompt', 'Hello', '--seed', 3)
    _, streamed, _ = call(interact_model, *common)
    many = {call(interact_model, *common, '--nsamples', 5, '--batch_size', b) for b in (2, 5)}
    ((status, output, errors),) = many
    assert (status, errors) == (0, '')
    samples = samples_of(output)
    assert len(set(samples)) == 5
    assert samples[0] == samples_of(streamed)[0]


def test_sampling_flags_reach_the_model(call, fast_start, flags):
    def texts(*more):
        common = ('--prompt', 'Hello', '--nsamples', 4, '--batch_size', 4, '--length', 30)
        return samples_of(call(interact_model, *flags, *common, *more)[1])

    one = texts('--seed', 1)
    assert len(set(one)) == 4
    assert one != texts('--seed', 2)
    greedy = texts('--temperature', 0)
    assert len(greedy) == 4 and len(set(greedy)) == 1
    assert texts('--top_k', 1) == texts('--top_p', 1e-9) == greedy


def test_stop_at_end_cuts_a_sample_before_the_end_token(call, fast_start, flags):
    common = ('--prompt', 'Hi', '--nsamples', 24, '--batch_size', 24, '--length', 60, '--seed', 1)
    whole = samples_of(call(interact_model, *flags, *common)[1])
    stopped = samples_of(call(interact_model, *flags, *common, '--stop_at_end')[1])
    assert stopped == [text.partition('<|endoftext|>')[0] for text in whole]
    assert 0 < sum('<|endoftext|>' in text for text in whole) < 24


def test_a_process_of_its_own_streams_the_same_in_utf8_whatever_the_locale(
    call, run_script, byte_models, typing
):
    flags = ('--model_name', 'bytes', '--models_dir', byte_models, '--seed', 3)
    _, expected, _ = call(interact_model, *flags, '--prompt', 'é日😀')
    command = [sys.executable, str(SCRIPT), *map(str, flags)]
    environment = os.environ | ASCII_ONLY
    environment.pop('TF_CPP_MIN_LOG_LEVEL', None)
    result = subprocess.run(
        command, input='é日😀\n'.encode(), capture_output=True, env=environment, timeout=120
    )
    assert (result.returncode, result.stderr) == (0, b'')
    assert result.stdout.decode('utf-8').replace(os.linesep, '\n') == expected


@pytest.mark.slow
def test_a_refusal_in_a_process_of_its_own_does_not_wait_for_tensorflow(run_script, tmp_path):
    stub = tmp_path / 'tensorflow'
    stub.mkdir()
    (stub / '__init__.py').write_text('raise SystemExit("TensorFlow was imported")')
    environment = {'PYTHONPATH': str(tmp_path)}
    result = run_script('src/interactive_conditional_samples.py', '--length', 0, env=environment)
    assert (result.returncode, result.stdout) == (2, '')
    assert result.stderr.startswith('error: length must be') and result.stderr.count('\n') == 1
    demo = (
        '--model_name',
        'demo',
        '--prompt',
        'x',
        '--models_dir',
        SCRIPT.parent.parent / 'models',
    )
    result = run_script('src/interactive_conditional_samples.py', *demo, env=environment)
    assert 'TensorFlow was imported' in result.stderr  # so the stub does what it should


# At a terminal


class Terminal:
    """The script at a pseudo-terminal; `heard` is the list of what each read brought."""

    def __init__(self, *flags, **environment):
        import pty

        command = [sys.executable, str(SCRIPT), *map(str, flags)]
        clean = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, command, clean | {'TERM': 'dumb'} | environment)
        self.heard, self.unread = [], b''

    def type(self, text):
        os.write(self.fd, text.encode('utf-8'))

    def read_until(self, marker, seconds=60):
        """What is shown up to and with `marker`, or to the end if that is None."""
        shown, self.heard = self.unread, []
        deadline = time.monotonic() + seconds
        while marker is None or marker.encode('utf-8') not in shown:
            ready, _, _ = select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f'no {marker!r} in {seconds} s, only {shown[-500:]!r}'
            try:
                piece = os.read(self.fd, 4096)
            except OSError:  # Linux's end of file
                piece = b''
            if not piece:
                assert marker is None, f'ended without {marker!r}: {shown[-500:]!r}'
                break
            self.heard.append(piece)
            shown += piece
        end = len(shown) if marker is None else shown.index(marker.encode('utf-8')) + len(marker)
        shown, self.unread = shown[:end], shown[end:]
        return shown.decode('utf-8', errors='replace').replace('\r\n', '\n')

    def status(self):
        """The exit status, once the script has ended."""
        self.read_until(None)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self):
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def terminal():
    if sys.platform == 'win32':
        pytest.skip('has no pseudo-terminals')
    opened = []

    def start(*flags, **environment):
        opened.append(Terminal(*flags, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_conversation_at_a_terminal(terminal, byte_models):
    """Text streams, and Ctrl-C stops a sample, then ends the script."""
    user = terminal('--model_name', 'long', '--models_dir', byte_models, '--top_k', 256)
    assert user.read_until('Model prompt >>> ') == 'Model prompt >>> '

    user.type('"""first\n')
    user.read_until('\n... ')
    user.type('second"""\n')
    user.read_until(f'{header(1)}\r\n')
    user.read_until(RULE)
    assert len(user.heard) > 3, 'the sample did not arrive in pieces'
    user.read_until('Model prompt >>> ')

    user.type('\n')
    assert 'Prompt should not be empty!' in user.read_until('Model prompt >>> ')

    user.type('again\n')
    user.read_until(header(1))
    time.sleep(0.1)  # nobody is quicker, and input() itself loses a signal in its first instant
    user.type('\x03')
    assert RULE not in user.read_until('\nModel prompt >>> ')

    user.type('x' * 2990 + '\n')
    user.read_until(header(1))
    user.read_until(f'{RULE}\r\nModel prompt >>> ')

    time.sleep(0.1)
    user.type('\x03')
    assert user.status() == 0


def test_lines_can_be_edited_and_recalled_and_are_utf8_whatever_the_locale(terminal, byte_models):
    pytest.importorskip('readline')
    flags = ('--model_name', 'bytes', '--models_dir', byte_models, '--length', 1)
    user = terminal(*flags, **ASCII_ONLY, TERM='vt100')
    user.read_until('Model prompt >>> ')
    user.type('é日' * 14 + '\n')  # of 5 bytes, each a token: the message counts them
    assert 'a prompt of 70 tokens' in user.read_until('\nModel prompt >>> ')
    user.type('x' * 74 + '\x01yy\n')  # Ctrl-A goes to the start of the line
    assert 'a prompt of 76 tokens' in user.read_until('\nModel prompt >>> ')
    user.type('\x1b[A\x01\x04\x04\x04\n')  # the line before, less its first three characters
    assert 'a prompt of 73 tokens' in user.read_until('\nModel prompt >>> ')
    user.type('\x04')
    assert user.status() == 0
