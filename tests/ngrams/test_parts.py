import json
import os

import pytest

import overlap as script
from helpers.made_parts import InProcess
from helpers.paths import ROOT
from helpers.texts import write_lines
from ngrams import parts
from support.documents import Separator, texts_of, texts_of_span

DEMO = ('--model_name', 'demo', '--models_dir', ROOT / 'models')
LINE = 'We, the People of the United States — in Order to form a more perfect Union, number {}.'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with texts of several kinds; parts are made in this process."""
    write_lines(tmp_path / 'train.jsonl', [LINE.format(n) for n in range(90)])
    (tmp_path / 'train.txt').write_text(LINE.format('last') * 9 + '<|endoftext|>' + 'x ' * 99)
    test = [LINE.format(n)[n % 60 :] + '<|endoftext|> nothing of it' * (n % 3) for n in range(70)]
    write_lines(tmp_path / 'test.jsonl', ['', 'short', *test])
    (tmp_path / 'test.txt').write_text(LINE.format(7) + ' x' * 20, 'utf-8')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts, 'SPAN_BYTES', 700)
    InProcess(monkeypatch)
    return tmp_path


def run(call, name, *flags):
    train = ['tr*.*', 'test.jsonl', 'test.txt', 'test.jsonl', *DEMO]
    saved = ['--filter', f'{name}.filter', '--results', f'{name}.json', '--documents']
    status, output, errors = call(script.overlap, *train, *saved, *flags)
    assert status == 0, errors
    return output, errors


@pytest.mark.parametrize('size', [1, 4, 1000])
@pytest.mark.parametrize('separators', [[], ['--separator=<|endoftext|>', '--test_separator=x']])
def test_figures_are_those_of_one_process(call, no_tensorflow, folder, size, separators):
    expected = run(call, 'serial', *separators)
    assert run(call, 'shared', '--workers=2', f'--part_size={size}', *separators) == expected
    serial, shared = (folder / f'{name}.json' for name in ('serial', 'shared'))
    assert shared.read_bytes() == serial.read_bytes()
    serial, shared = (folder / f'{name}.filter' for name in ('serial', 'shared'))
    assert shared.read_bytes() == serial.read_bytes()
    assert not list(folder.glob('*.parts'))
    # TRAIN is in the filter now, and is not read again.
    assert run(call, 'shared', '--workers=2', *separators)[0] == expected[0]


def test_the_spans_of_a_file_are_all_of_it(folder):
    spans = parts.spans(['test.jsonl', 'test.txt'])
    assert len(spans) > 5 and spans[-1] == [str(folder / 'test.txt'), None]
    for separator in (None, '<|endoftext|>'):
        split = separator and Separator(separator)
        found = [t for path, span in spans[:-1] for t in texts_of_span(path, *span, split)]
        assert found == list(texts_of('test.jsonl', separator and Separator(separator)))


@pytest.mark.parametrize('size', [1, 2, 3, 5, 1000])
def test_a_line_belongs_to_the_span_that_it_begins_in(tmp_path, size):
    path = tmp_path / 'a.jsonl'
    lines = ['{"text": "naïve"}', '', '{"text": "日本"}', ' ', '{"text": "\\n"}', '{"text": "end"}']
    path.write_text('\ufeff' + '\n'.join(lines), 'utf-8')
    starts = range(0, os.path.getsize(path), size)
    found = [t for start in starts for t in texts_of_span(str(path), start, start + size)]
    assert found == ['naïve', '日本', '\n', 'end']


def test_a_bad_line_is_named_by_its_place(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_bytes(b'{"text": "a"}\n{"text": 1}\n{"text": "\xff"}\n')
    with pytest.raises(ValueError, match='a.jsonl, the line at byte 14, holds no text'):
        list(texts_of_span(str(path), 5, 20))
    with pytest.raises(ValueError, match='a.jsonl: byte 36 is not UTF-8'):
        list(texts_of_span(str(path), 20, 99))


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['train.txt', 'test.txt'], ['workers need --filter']),
        (['-', '--filter=f', '--capacity=9'], ['standard input', 'several workers']),
        (['train.txt', '-', '--filter=f'], ['several workers']),
        (['train.txt', '--filter=f', '--exact'], ['--exact takes no filter']),
    ],
)
def test_what_cannot_be_shared_is_refused(call, folder, arguments, words):
    status, output, errors = call(script.overlap, *arguments, *DEMO, '--workers=2')
    assert (status, output) == (2, '')
    for word in words:
        assert word in errors


def test_files_that_change_meanwhile_are_refused(call, folder, monkeypatch):
    flags = ['train.jsonl', *DEMO, '--filter=f', '--workers=1']
    with monkeypatch.context() as patch:
        InProcess(patch).stops_after = 2
        assert call(script.overlap, *flags)[0] == 130
    status, _, errors = call(script.overlap, *flags[:-1])  # by itself
    assert status == 2 and 'f.parts holds parts that workers have made' in errors
    with open('train.jsonl', 'a') as file:
        file.write(json.dumps({'text': 'more'}) + '\n')
    status, _, errors = call(script.overlap, *flags)
    assert status == 2 and 'was begun with' in errors
