import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.paths import SRC
from support import command_line


def flags_of(*argv):
    """What a function receives that is called with this command line."""
    received = {}

    def function(
        name: str = 'default',
        number=3,
        temperature=1,
        text: str = None,
        models_dir: str = 'models',
        switch: bool = False,
    ):
        flags = locals()
        received.update((flag, flags[flag]) for flag in flags if flag != 'received')

    command_line.run(function, argv)
    return received


def fails(error):
    def function():
        raise error

    return function


def never(name: str = None, top_k=0, top_p=1, switch=False):
    """Must not be run."""
    raise AssertionError('was run')


TEXTS = ['123', '1e5', '[1, 2]', '{}', 'None', 'True', "it's", '"quoted"', 'a b', 'é日\n', '', '-5']


@pytest.mark.parametrize('text', TEXTS)
def test_text_stays_as_it_was_typed(text):
    assert flags_of('--text', text)['text'] == text
    assert flags_of(f'--text={text}')['text'] == text
    assert flags_of(text)['name'] == text


def test_a_hyphen_alone_is_text_where_text_is_expected():
    assert flags_of('-', '--number', '5')['name'] == '-'
    assert flags_of('--number', '5', '-')['name'] == '-'
    assert flags_of('--text', '-', 'x') | {'name': 'x'} == flags_of('x', '--text=-')
    received = []

    def function(*files: str, number=3):
        received.extend([*files, number])

    command_line.run(function, ['a', '-', 'b', '-', '--number', '4'])
    assert received == ['a', '-', 'b', '-', 4]


def test_text_may_look_like_a_flag_after_an_equals_sign():
    for text in ('--x', '-x', '--number=3', '--', '--help', 'a=b'):
        assert flags_of(f'--text={text}')['text'] == text


@given(st.text())
def test_any_text_arrives_unchanged(text):
    assert flags_of(f'--text={text}')['text'] == text


def test_other_values_are_read_as_python():
    assert flags_of('--number', '5')['number'] == 5
    assert flags_of('--number=-5')['number'] == -5
    assert flags_of('--number', '-5')['number'] == -5
    assert flags_of('--number=None')['number'] is None
    assert flags_of('--temperature', '0.7')['temperature'] == 0.7
    assert flags_of('--number', 'word')['number'] == 'word'


def test_flags_may_be_written_with_hyphens_and_shortened_to_a_letter():
    assert flags_of('--models-dir', '/x')['models_dir'] == '/x'
    assert flags_of('--models-dir=1')['models_dir'] == '1'
    assert flags_of('-m', '5')['models_dir'] == '5'
    assert flags_of('-s')['switch'] is True


def test_switches_need_no_value_and_take_only_true_or_false():
    assert flags_of()['switch'] is False
    assert flags_of('--switch')['switch'] is True
    assert flags_of('--switch=False')['switch'] is False
    assert flags_of('--switch', 'False')['switch'] is False
    assert flags_of('--switch', 'True')['switch'] is True
    assert flags_of('--noswitch')['switch'] is False
    assert flags_of('--switch', 'text') == flags_of('--name=text', '--switch')


@pytest.mark.parametrize(
    'argv, message',
    [
        (['--topk', '4'], 'unknown flag --topk; did you mean --top_k? (-- --help lists all flags)'),
        (['--top-o=4'], 'unknown flag --top_o; did you mean --top_p?'),
        (['--zzzz'], 'unknown flag --zzzz (-- --help'),
        (['-t', '1'], 'unknown flag --t'),
        (['--name'], '--name needs a value'),
        (['--noswitch=True'], '--noswitch takes no value'),
        (['x', '-', '--name', 'y'], 'unexpected argument -'),
        (['--name', '--switch'], '--name needs a value'),
        (['demo', '1', '2', 'True', 'surplus'], "unexpected argument 'surplus'"),
        (['demo', '1', '2', '--switch', '3'], "unexpected argument '3'"),
        (['1', '2', 'True', 'surplus', '--name', 'x'], "unexpected argument 'surplus'"),
        (['--', '--interactive'], 'unknown flag --'),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line_before_anything_runs(call, argv, message):
    status, out, err = call(never, *argv)
    assert (status, out) == (2, '')
    assert err.startswith(f'error: {message}') and err.count('\n') == 1


@pytest.mark.parametrize(
    'argv', [['--help'], ['-h'], ['--', '--help'], ['--name', 'x', '--help'], ['--zz', '--help']]
)
def test_help_is_shown_whatever_else_is_given(call, argv):
    status, out, err = call(never, *argv)
    assert (status, err) == (0, '')
    for flag in ('--name', '--top_k', '--top_p', '--switch', 'Must not be run.'):
        assert flag in out


@pytest.mark.parametrize(
    'error',
    [ValueError('two\n  lines: 5'), OSError('two lines: 5'), FileNotFoundError('two lines:\n5')],
)
def test_what_a_user_can_trigger_is_one_line_and_status_2(call, error):
    assert call(fails(error)) == (2, '', 'error: two lines: 5\n')


@pytest.mark.parametrize(
    'text, shown',
    [
        ('\x1b]0;title\x07\x1b[2Jgone', r'\x1b]0;title\x07\x1b[2Jgone'),
        ('a\rb\x00c\x9b1m', r'a b\x00c\x9b1m'),
        ('left \u202e to right', r'left \u202e to right'),
        ('\udcff.txt', r'\udcff.txt'),
        ('naïve 日本 🙂', 'naïve 日本 🙂'),
    ],
)
def test_an_error_does_nothing_to_the_terminal(call, text, shown):
    """What it quotes may come from a server, or from a file that somebody else has made."""
    assert call(fails(ValueError(text))) == (2, '', f'error: {shown}\n')


def test_too_much_for_the_memory_is_one_line_too(call):
    assert call(fails(MemoryError())) == (2, '', 'error: there is not enough memory for that\n')


def test_a_bug_keeps_its_traceback():
    for error in (TypeError('bug'), KeyError('bug'), AssertionError('bug')):
        with pytest.raises(type(error)):
            command_line.run(fails(error), [])


def test_an_interruption_ends_with_the_status_of_sigint(call):
    assert call(fails(KeyboardInterrupt())) == (130, '', '\n')


def start(body, *argv, **options):
    """Start a little script in a process of its own; its streams are pipes of bytes."""
    program = f'import sys\nfrom support import command_line\n{body}\ncommand_line.run(f)'
    streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    environment = os.environ | {'PYTHONPATH': str(SRC)} | options.pop('env', {})
    command = [sys.executable, '-c', program, *argv]
    return subprocess.Popen(command, env=environment, **(streams | options))


ASCII_ONLY = {'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0'}


def test_streams_are_utf8_whatever_the_locale_says():
    body = 'def f():\n  t = sys.stdin.read()\n  print(t)\n  print(t, file=sys.stderr)'
    process = start(body, stdin=subprocess.PIPE, env=ASCII_ONLY)
    out, err = process.communicate('é日本😀'.encode())
    assert (out.decode('utf-8'), err.decode('utf-8')) == ('é日本😀\n', 'é日本😀\n')


@pytest.mark.skipif(sys.platform != 'linux', reason='file names that are not UTF-8')
def test_a_line_may_quote_a_file_name_that_is_not_utf8():
    body = 'def f(name: str):\n  print(name)\n  raise ValueError(name)'
    process = start(body, b'\xff \xc3\xa9')
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b'\\udcff \xc3\xa9\n')
    assert err == b'error: \\udcff \xc3\xa9\n'


@pytest.mark.skipif(sys.platform == 'win32', reason='closes a pipe as POSIX shells do')
@pytest.mark.parametrize('lines', [1, 10**9])
def test_a_reader_that_goes_away_ends_the_script_without_a_word(lines):
    ours, theirs = os.pipe()
    os.close(ours)
    process = start(f'def f():\n  for _ in range({lines}): print("line")', stdout=theirs)
    os.close(theirs)
    assert process.communicate(timeout=60) == (None, b'')
    assert process.returncode == 1


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_under_standard_output_is_one_line():
    with open('/dev/full', 'wb') as full:
        process = start('def f(): print("line")', stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err == b'error: cannot write to standard output: No space left on device\n'


def test_what_a_refusal_needs_is_free_of_tensorflow():
    """Scripts take seconds less to say no if these modules do without TensorFlow."""
    names = 'support.command_line encoder hparams loading.model_files loading.startup '
    scripts = 'generate_unconditional_samples interactive_conditional_samples make_random_model'
    more = 'support.settings generation.sample_file generation.start scoring.start'
    modules = ', '.join(f'{names} {more} {scripts}'.split())
    body = f'import {modules}\ndef f(): print("tensorflow" in sys.modules)'
    assert start(body).communicate()[0] == b'False\n'
