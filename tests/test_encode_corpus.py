import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from encode_corpus import encode_corpus
from encoder import get_encoder

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT = ROOT / 'src' / 'encode_corpus.py'
DEMO = ('--model_name', 'demo', '--models_dir', ROOT / 'models')
POEM = 'Whose woods these are I think I know.\n' * 50


@pytest.fixture
def poem(tmp_path):
    path = tmp_path / 'poem.txt'
    path.write_text(POEM, encoding='utf-8', newline='\n')
    return path


def start(*flags, **streams):
    """Start the script in a process of its own."""
    streams = (
        dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) | streams
    )
    return subprocess.Popen([sys.executable, str(SCRIPT), *map(str, flags)], **streams)


def test_it_writes_the_tokens_and_says_how_many(call, no_tensorflow, tmp_path, poem):
    status, output, errors = call(encode_corpus, tmp_path / 'out', poem, *DEMO)
    assert (status, errors) == (0, '')
    encoder = get_encoder('demo', ROOT / 'models')
    description = json.loads((tmp_path / 'out' / 'corpus.json').read_text(encoding='utf-8'))
    lines = []
    text = ''
    for split in ('train', 'validation'):
        tokens = np.load(tmp_path / 'out' / f'{split}.npy')
        part = encoder.decode(tokens[:-1])
        assert tokens[-1] == encoder.end_of_text
        ratio = len(part) / len(tokens)
        lines.append(f'{split}: 1 document, {len(tokens)} tokens, {ratio:.2f} bytes per token')
        text += part
        assert description[split]['tokens'] == len(tokens)
    assert text == POEM
    assert output == '\n'.join([*lines, ''])


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no disk that is always full')
def test_who_loses_its_output_is_told_that_the_corpus_is_written(call, monkeypatch, tmp_path, poem):
    with open('/dev/full', 'w') as full, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', full)
        status, _, errors = call(encode_corpus, tmp_path / 'out', poem, *DEMO)
    lost = 'error: cannot write to standard output: No space left on device; '
    assert (status, errors) == (2, f'{lost}{tmp_path / "out"} is written\n')
    assert (tmp_path / 'out' / 'corpus.json').exists()


def test_its_flags_reach_the_corpus(call, tmp_path, poem):
    source = tmp_path / 'texts' / 'a.jsonl'
    source.parent.mkdir()
    source.write_text('{"text": "12"}\n{"text": "34"}\n' * 100, encoding='utf-8')
    folders = [tmp_path / name for name in 'abc']
    flags = ('--validation', 0.5, '--seed', 3)
    status, output, _ = call(encode_corpus, folders[0], poem, tmp_path / '*' / '*', *DEMO, *flags)
    assert status == 0
    kept, held_out = map(int, re.findall(r': (\d+) documents', output))
    assert kept + held_out == 201 and 70 < held_out < 130
    call(encode_corpus, folders[1], poem, source, *DEMO, '--validation', 0)
    assert sorted(os.listdir(folders[1])) == ['corpus.json', 'train.npy']
    call(encode_corpus, folders[2], poem, *DEMO, '--validation_data', source.parent)
    descriptions = [json.loads((f / 'corpus.json').read_text(encoding='utf-8')) for f in folders]
    assert [d['seed'] for d in descriptions] == [3, 0, 0]
    assert [d['split'] for d in descriptions] == ['document', 'none', 'sources']
    assert descriptions[2]['validation']['documents'] == 200


def test_a_separator_splits_texts(call, tmp_path, poem):
    poem.write_text('One.\n<|endoftext|>\nTwo.\n<|endoftext|>\n', encoding='utf-8')
    flags = (poem, *DEMO, '--validation', 0)
    status, output, errors = call(encode_corpus, tmp_path / 'a', *flags)
    assert status == 0 and 'train: 1 document, ' in output
    assert errors.startswith('note: <|endoftext|> is in the text 2 times.')
    status, output, errors = call(
        encode_corpus, tmp_path / 'b', *flags, '--separator', '<|endoftext|>'
    )
    assert (status, errors) == (0, '') and 'train: 2 documents, ' in output
    encoder = get_encoder('demo', ROOT / 'models')
    tokens = np.load(tmp_path / 'b' / 'train.npy')
    assert encoder.decode(tokens) == 'One.\n<|endoftext|>Two.\n<|endoftext|>'
    assert tokens.tolist().count(encoder.end_of_text) == 2


def test_tokens_and_tables_of_other_programs_become_text_as_the_guide_says(tmp_path, monkeypatch):
    guide = (ROOT / 'src' / 'training' / 'README.md').read_text(encoding='utf-8')
    decode, convert = re.findall(r'```python\n(.*?)```', guide, re.DOTALL)
    shutil.copytree(ROOT / 'models' / 'demo', tmp_path / 'models' / '124M')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    encoder = get_encoder('124M', 'models')
    tokens = [encoder.encode(text) for text in ('One é.', 'Two.')]
    tokens = np.array([*tokens[0], encoder.end_of_text, *tokens[1]], np.uint16)
    tokens.tofile('train.bin')
    exec(decode, {})
    assert pathlib.Path('text.txt').read_bytes() == 'One é.<|endoftext|>Two.'.encode()
    np.savez_compressed('text.npz', tokens[:2], tokens[2:])
    exec(re.sub(r'tokens = .*\n# of an .npz: ', '', decode), {})
    assert pathlib.Path('text.txt').read_bytes() == 'One é.<|endoftext|>Two.'.encode()
    pathlib.Path('table.csv').write_text('n,text\n1,"a, ""é"""\n2,"b\nc"\n', encoding='utf-8')
    exec(convert, {})
    lines = pathlib.Path('table.jsonl').read_text(encoding='utf-8').splitlines()
    assert [json.loads(line)['text'] for line in lines] == ['a, "é"', 'b\nc']


def test_a_corpus_that_is_there_is_not_replaced(call, tmp_path, poem):
    assert call(encode_corpus, tmp_path / 'out', poem, *DEMO)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()}
    status, output, errors = call(encode_corpus, tmp_path / 'out', poem, *DEMO, '--seed', 1)
    assert (status, output, errors.count('\n')) == (2, '', 1)
    assert 'holds train.npy already' in errors
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'name at least one source'),
        (['nowhere'], 'there is no file or folder nowhere'),
        (['poem.txt', 'bad.txt'], 'bad.txt: byte 1 is not UTF-8'),
        (['poem.txt', '--validation', 'some'], "validation must be at least 0 and below 1, not 's"),
        (['poem.txt', '--validation', 1], 'below 1, not 1'),
        (['poem.txt', 'poem.txt'], 'poem.txt is named twice and could be both'),
        (['poem.txt', '--separator', '***'], 'the separator .* is nowhere in poem.txt'),
        (['poem.txt', '--separator='], 'an empty separator splits nothing'),
        (['poem.txt', '--seed', 'x'], "seed must be a whole number .* not 'x'"),
        (['poem.txt', '--model_name', 'none'], 'none: encoder.json is missing'),
        (['poem.txt', '--validation_data', '*.txt'], 'poem.txt is in the sources and in'),
        (['poem.txt', '--valid', 0.1], 'unknown flag --valid; did you mean --validation?'),
    ],
)
def test_bad_input_ends_in_one_line(
    call, no_tensorflow, tmp_path, monkeypatch, poem, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'bad.txt').write_bytes(b'a\xff')
    status, output, errors = call(encode_corpus, 'out', *DEMO, *arguments)
    assert (status, output, errors.count('\n')) == (2, '', 1)
    assert re.match(f'error: .*({message})', errors)
    assert not list(tmp_path.rglob('*.npy')) and not list(tmp_path.rglob('unfinished*'))


@pytest.mark.skipif(sys.platform == 'win32', reason='sets a limit of POSIX')
def test_a_full_disk_ends_in_one_line(call, tmp_path, poem):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        status, output, errors = call(encode_corpus, tmp_path / 'out', poem, *DEMO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, output) == (2, '')
    assert errors == f"error: [Errno 27] File too large: '{tmp_path}/out/train.npy'\n"
    assert os.listdir(tmp_path / 'out') == []


@pytest.fixture
def stopped(tmp_path):
    """Start the script on a pipe of documents that does not end, send a signal, tell the rest."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit SIG_IGN
    pipe, folder = tmp_path / 'endless.jsonl', tmp_path / 'out'
    os.mkfifo(pipe)

    def stop(number):
        process = start(folder, pipe, *DEMO)
        writing = os.open(pipe, os.O_RDWR)
        deadline = time.monotonic() + 60
        while not list(folder.glob('unfinished-*')):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.write(writing, b'{"text": "some text"}\n' * 1000)
        time.sleep(0.2)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        os.close(writing)
        return process.returncode, output, errors, os.listdir(folder)

    yield stop
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == 'win32', reason='has no such signals')
def test_ctrl_c_leaves_nothing(stopped):
    assert stopped(signal.SIGINT) == (130, b'', b'\n', [])


@pytest.mark.skipif(sys.platform == 'win32', reason='has no such signals')
def test_after_a_kill_there_is_no_corpus_and_it_can_be_run_again(stopped, call, tmp_path, poem):
    status, _, _, (left,) = stopped(signal.SIGKILL)
    assert status == -signal.SIGKILL and left.startswith('unfinished-')
    assert call(encode_corpus, tmp_path / 'out', poem, *DEMO)[0] == 0
    assert sorted(os.listdir(tmp_path / 'out')) == [
        'corpus.json',
        'train.npy',
        left,
        'validation.npy',
    ]


@pytest.mark.skipif(sys.platform == 'win32', reason='has no pseudo-terminals')
@pytest.mark.parametrize('lines', [False, True])
def test_the_progress_bar_is_for_terminals_and_shows_bytes(tmp_path, poem, lines):
    import fcntl
    import pty
    import struct
    import termios

    if lines:
        poem = tmp_path / 'poem.jsonl'
        poem.write_text(json.dumps({'text': POEM, 'id': 'x' * 1000}), encoding='utf-8')
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    process = start(tmp_path / 'out', poem, *DEMO, stderr=theirs)
    os.close(theirs)
    shown = b''
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux's end of file
        pass
    os.close(ours)
    assert process.communicate()[0].startswith(b'train: ') and process.returncode == 0
    *_, last = shown.decode('utf-8').rstrip().split('\r')
    # How much text a .jsonl file holds is not known before the end.
    assert re.search(r'^1\.90kB \[' if lines else r'100%.* 1\.90k/1\.90k \[.*B/s\]$', last)


@pytest.mark.slow
def test_the_script_reads_a_pipe_and_needs_no_more_than_a_vocabulary(run_script, tmp_path):
    vocabulary = tmp_path / 'models' / 'words'
    vocabulary.mkdir(parents=True)
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(ROOT / 'models' / 'demo' / name, vocabulary)
    flags = ('--model_name', 'words', '--models_dir', tmp_path / 'models', '--validation', 0)
    result = run_script(SCRIPT, tmp_path / 'out', '/dev/stdin', *flags, input=POEM)
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout.startswith('train: 1 document, ')
