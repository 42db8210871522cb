import errno
import json
import math
import os
import shutil
import sys

import numpy as np
import pytest

import score as script
from fast import DTYPES
from helpers.made_parts import InProcess
from helpers.texts import write_lines
from scoring import parts
from scoring.scorer import Scorer
from support.stopping import OutputLost

TEXT = 'Fellow citizens — of the naïve 日本 Senate,\r\n\r\nI have the honor to report: ' * 9
LABELS = [
    'documents',
    'tokens',
    'words',
    'characters',
    'bytes',
    'total nats',
    'perplexity per token',
    'perplexity per word',
    'bits per byte',
    'bits per character',
]


@pytest.fixture(scope='module')
def scorer(models_dir):
    with Scorer('demo', str(models_dir)) as scorer:
        yield scorer


@pytest.fixture
def run(call, models_dir, scorer, monkeypatch):
    """Run the script in this process, on a scorer that is there: (*arguments) -> as `call` does."""
    monkeypatch.setattr(scorer, 'close', lambda: None)
    monkeypatch.setattr(script, 'start_scorer', lambda *model, **more: scorer)
    flags = ['--model_name', 'demo', '--models_dir', models_dir]
    return lambda *arguments: call(script.score, *arguments, *flags)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_bytes(TEXT.encode())
    return path


def values(lines):
    """The numbers of the last ten lines, by label."""
    return dict(line.rsplit(maxsplit=1) for line in lines[-len(LABELS) :])


def test_the_numbers_of_a_text_in_their_order(run, file, scorer):
    status, out, err = run(file)
    assert (status, err) == (0, '')
    lines = out.splitlines()
    assert [line[:22].strip() for line in lines] == LABELS
    numbers = {label: float(number) for label, number in values(lines).items()}
    tokens = scorer.encoder.encode(TEXT)
    nats = -scorer.score_document(tokens).logprobs.sum(dtype=np.float64)
    n_bytes, n_words = len(TEXT.encode()), len(TEXT.split())
    assert numbers == pytest.approx(
        {
            'documents': 1,
            'tokens': len(tokens),
            'words': n_words,
            'characters': len(TEXT),
            'bytes': n_bytes,
            'total nats': nats,
            'perplexity per token': math.exp(nats / len(tokens)),
            'perplexity per word': math.exp(nats / n_words),
            'bits per byte': nats / math.log(2) / n_bytes,
            'bits per character': nats / math.log(2) / len(TEXT),
        },
        abs=1e-3,
        rel=1e-6,
    )


def test_standard_input_is_a_document_like_another(run_script, file, run):
    flags = ['--model_name', 'demo']
    for arguments in (['-', *flags], [*flags, '-']):
        piped = run_script('src/score.py', *arguments, input=TEXT)
        assert (piped.returncode, piped.stderr) == (0, '')
        assert piped.stdout == run(file)[1].replace('\r', '')


def test_each_of_several_documents_has_a_line_and_all_have_one_sum(run, file, tmp_path):
    lines = write_lines(tmp_path / 'more.jsonl', ['One.', '', 'And another one.', ' \n', TEXT])
    status, out, _ = run(lines)
    out = out.splitlines()
    names = [line.split(': ')[0] for line in out[:4]]
    assert names == [f'{lines} {number}' for number in (1, 3, 4, 5)]
    assert len(out) == 4 + len(LABELS)
    total = sum(float(line.split('total nats ')[1].split(',')[0]) for line in out[:4])
    assert float(values(out)['total nats']) == pytest.approx(total, abs=0.01)
    assert values(out)['documents'] == '4'
    assert 'perplexity per word none' in out[2]  # there is no word in it
    alone = values(run(file)[1].splitlines())
    for label in LABELS[5:]:
        assert f'{label} {alone[label]}' in out[3]


def test_a_separated_text_is_scored_as_its_documents_are(run, tmp_path):
    lines = write_lines(tmp_path / 'lines.jsonl', ['One.\n', 'And another one.'])
    text = tmp_path / 'text.txt'
    text.write_text('One.\n<|endoftext|>\nAnd another one.<|endoftext|>\n', encoding='utf-8')
    status, out, err = run(text, '--separator', '<|endoftext|>')
    assert (status, err) == (0, '')
    assert out == run(lines)[1].replace(str(lines), str(text))
    status, out, err = run(text)
    assert (status, values(out.splitlines())['documents']) == (0, '1')
    assert err.startswith('note: <|endoftext|> is in the text 2 times')


def test_several_files_have_a_table_with_the_numbers_that_each_has_alone(run, file, tmp_path):
    lines = write_lines(tmp_path / 'more.jsonl', ['One.', '', 'And another one.'])
    (tmp_path / 'empty.txt').touch()
    status, out, err = run(lines, tmp_path / 'empty.txt', file)
    assert (status, err) == (0, '')
    head, *rows, empty = out.splitlines()[: -len(LABELS)]
    assert head.split() == ['file', 'tokens', 'perplexity', 'bits', 'per', 'byte'] and empty == ''
    assert {len(line) for line in rows} == {len(head)}
    shown = ('tokens', 'perplexity per token', 'bits per byte')
    alone = [values(run(path)[1].splitlines()) for path in (lines, file)]
    together = values(out.splitlines())
    assert [row.split() for row in rows] == [
        [name, *(numbers[label] for label in shown)]
        for name, numbers in zip((str(lines), str(file), 'total'), (*alone, together), strict=True)
    ]
    assert together['documents'] == '3'


def test_tokens_are_written_with_all_their_numbers(run, file, tmp_path, scorer):
    other = tmp_path / 'other.txt'
    other.write_text('Two words', encoding='utf-8')
    path = tmp_path / 'tokens.jsonl'
    assert run(file, other, '--tokens', path)[0] == 0
    records = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    for name, text in ((file, TEXT), (other, 'Two words')):
        own = [r for r in records if r['document'] == str(name)]
        assert [r['index'] for r in own] == list(range(len(own)))
        assert [r['id'] for r in own] == scorer.encoder.encode(text)
        assert ''.join(r['text'] for r in own) == text
        data = b''.join(bytes.fromhex(r.get('bytes', r['text'].encode().hex())) for r in own)
        assert data == text.encode()
        scores = scorer.score_document([r['id'] for r in own], details=True)
        for key, array in zip(('logprob', 'rank', 'entropy'), scores[:3], strict=True):
            np.testing.assert_allclose([r[key] for r in own], array, rtol=1e-6)
    assert list(records[0]) == ['document', 'index', 'id', 'text', 'logprob', 'rank', 'entropy']


def test_the_page_holds_the_texts_and_the_numbers(run, file, tmp_path):
    path, tokens = tmp_path / 'page.html', tmp_path / 'tokens.jsonl'
    status, out, _ = run(file, '--html', path, '--tokens', tokens)
    page = path.read_bytes().decode()
    data = json.loads(page.split('<script type="application/json">')[1].split('</script>')[0])
    assert ''.join(data['text']) == TEXT
    records = [json.loads(line) for line in tokens.read_text(encoding='utf-8').splitlines()]
    assert data['logprob'] == [record['logprob'] for record in records]
    for number in list(values(out.splitlines()).values())[1:]:
        assert f'<dd>{number}</dd>' in page
    assert page.endswith('</html>\n') and '<title>Surprisal of demo</title>' in page


def test_a_name_that_is_not_utf8_is_shown_escaped_and_nothing_is_lost(run, file, tmp_path):
    try:
        shutil.copy(file, os.fsencode(tmp_path) + b'/caf\xe9\n.txt')
    except OSError:
        pytest.skip('names are UTF-8 here')
    name = f'{tmp_path}/caf\\udce9\\n.txt'
    page, tokens = tmp_path / 'page.html', tmp_path / 'tokens.jsonl'
    status, out, err = run(file, tmp_path / 'caf\udce9\n.txt', '--html', page, '--tokens', tokens)
    assert (status, err) == (0, '')
    head, *rows = out.splitlines()[:4]
    assert rows[1].startswith(f'{name} ') and {len(row) for row in rows} == {len(head)}
    assert values(out.splitlines())['documents'] == '2'
    records = [json.loads(line) for line in tokens.read_text(encoding='utf-8').splitlines()]
    assert {record['document'] for record in records} == {str(file), name}
    assert f'<h2>{name}</h2>' in page.read_text(encoding='utf-8')


def test_context_and_stride_are_those_of_the_library(run, file, scorer):
    tokens = scorer.encoder.encode(TEXT)
    for flags, arguments in [
        ([], (256, 128)),
        (['--context', 100], (100, 50)),
        (['--context', 20, '--stride', 3], (20, 3)),
        (['--context', 1], (1, 1)),
    ]:
        nats = float(values(run(file, *flags)[1].splitlines())['total nats'])
        assert nats == pytest.approx(-scorer.score_document(tokens, *arguments).total, abs=1e-3)


def test_a_failure_leaves_no_file_and_an_old_one_as_it_was(
    run, tmp_path, file, scorer, monkeypatch
):
    old = tmp_path / 'tokens.jsonl'
    old.write_text('old', encoding='utf-8')

    scores = scorer.score_document(scorer.encoder.encode(TEXT), details=True)

    def fails(*arguments, **options):
        yield scores
        raise ValueError('no more')

    monkeypatch.setattr(scorer, 'score_documents', fails)
    status, out, err = run(file, file, '--tokens', old, '--html', tmp_path / 'page.html')
    assert status == 2 and err == 'error: no more\n'
    assert old.read_text(encoding='utf-8') == 'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['text.txt', 'tokens.jsonl']


def test_outputs_are_written_though_nobody_reads_the_numbers(run, file, tmp_path, monkeypatch):
    def closed(line):
        raise OutputLost(errno.EPIPE, 'Broken pipe', 'standard output')

    tokens = tmp_path / 'tokens.jsonl'
    assert run(file, file, '--tokens', tmp_path / 'whole.jsonl')[0] == 0
    monkeypatch.setattr(script.tqdm, 'write', closed)
    told = f'standard output was closed; {tokens} written all the same\n'
    assert run(file, file, '--tokens', tokens) == (1, '', told)
    assert tokens.read_bytes() == (tmp_path / 'whole.jsonl').read_bytes()
    assert run(file, file) == (1, '', '')


@pytest.mark.parametrize(
    'flags, message',
    [
        ([], 'name at least one source'),
        (['nowhere.txt'], 'there is no file or folder nowhere.txt'),
        (
            ['FILE', '--context', '257'],
            'context must be a whole number of at least 1 and below 257',
        ),
        (['FILE', '--context', '8', '--stride', '9'], 'stride must be'),
        (['FILE', '--stride', '0'], 'stride must be'),
        (['FILE', '--tokens_at_once', '0'], 'tokens_at_once must be'),
        (['FILE', '--dtype', 'half'], f'dtype must be one of {", ".join(DTYPES)}'),
        (['FILE', '--model_name', 'nothing'], "there is no model 'nothing'"),
        (['EMPTY'], 'there is no text in'),
        (['LATIN'], 'latin.txt: byte 1 is not UTF-8'),
        (['FILE', '--tokens', 'no/such/folder'], 'No such file or directory'),
    ],
)
def test_bad_input_is_one_line_before_tensorflow_is_loaded(
    call, models_dir, file, tmp_path, no_tensorflow, monkeypatch, flags, message
):
    monkeypatch.setitem(sys.modules, 'scoring.scorer', None)
    (tmp_path / 'empty.txt').touch()
    (tmp_path / 'latin.txt').write_bytes(b'a\xe9')
    names = {'FILE': file, 'EMPTY': tmp_path / 'empty.txt', 'LATIN': tmp_path / 'latin.txt'}
    flags = [names.get(flag, flag) for flag in flags]
    if '--model_name' not in flags:
        flags += ['--model_name', 'demo']
    status, out, err = call(script.score, *flags, '--models_dir', models_dir)
    assert (status, out) == (2, '')
    assert message in err and err.count('\n') == 1


def test_outputs_do_not_replace_a_text_nor_each_other(call, file, tmp_path, no_tensorflow):
    (tmp_path / 'folder').mkdir()
    again = tmp_path / 'folder' / '..' / file.name
    both = ['--tokens', tmp_path / 'new', '--html', tmp_path / 'new']
    for flags in (['--tokens', file], ['--html', again], both):
        status, out, err = call(script.score, file, *flags, '--model_name', 'demo')
        assert (status, out) == (2, '')
        assert 'is a source, or another output: choose another name' in err
    assert file.read_bytes() == TEXT.encode() and not (tmp_path / 'new').exists()


def test_a_vocabulary_without_an_end_is_refused(call, models_dir, tmp_path, file, no_tensorflow):
    shutil.copytree(models_dir / 'demo', tmp_path / 'models' / 'odd')
    path = tmp_path / 'models' / 'odd' / 'encoder.json'
    vocabulary = json.loads(path.read_text(encoding='utf-8'))
    del vocabulary['<|endoftext|>']
    path.write_text(json.dumps(vocabulary), encoding='utf-8')
    flags = ['--model_name', 'odd', '--models_dir', tmp_path / 'models']
    status, _, err = call(script.score, file, *flags)
    assert status == 2 and 'has no <|endoftext|> to start texts with' in err


@pytest.fixture
def by_workers(run, scorer, monkeypatch, tmp_path):
    """InProcess, whose workers have the scorer that is there; the working folder is tmp_path."""
    monkeypatch.setattr(parts, 'start_scorer', lambda *model, **more: scorer)
    monkeypatch.chdir(tmp_path)
    return InProcess(monkeypatch)


def contents(folder, name):
    return [(folder / f'{name}.{ending}').read_bytes() for ending in ('jsonl', 'html')]


SHARED = ['--workers=2', '--context=32', '--stride=10']


@pytest.mark.parametrize('size', [[], ['--part_size=3']])
def test_workers_change_nothing(run, by_workers, file, tmp_path, size):
    lines = write_lines(tmp_path / 'more.jsonl', ['One.', '', TEXT, 'And another one.'])
    outputs = [[f'--tokens={n}.jsonl', f'--html={n}.html'] for n in 'ab']
    expected = run(file, lines, *outputs[0], *SHARED[1:])
    assert expected[0] == 0
    assert run(file, lines, *outputs[1], *SHARED, *size) == expected
    assert contents(tmp_path, 'a') == contents(tmp_path, 'b')
    assert run(file, lines, *SHARED, *size) == expected  # scored without ranks and entropies
    assert sorted(os.listdir()) == ['a.html', 'a.jsonl', 'b.html', 'b.jsonl', lines.name, file.name]
    assert by_workers.missing[0] == by_workers.missing[1] > 2


def test_workers_go_on_where_they_were_stopped(run, by_workers, file, tmp_path):
    expected = run(file, '--tokens=a.jsonl', '--html=a.html', *SHARED[1:])
    (tmp_path / 'b.jsonl').write_text('earlier')
    flags = [file, '--tokens=b.jsonl', '--html=b.html', *SHARED, '--part_size=1']
    by_workers.stops_after = 5
    status, out, err = run(*flags)
    kept = tmp_path / 'b.jsonl.parts'
    told = f'{kept} keeps what is made: run the same command again to go on'
    assert (status, out, err.split('\n')[1]) == (130, '', told)
    status, out, err = run(*flags[:3])  # by itself
    assert (status, out) == (2, '') and f'{kept} holds parts that workers have made' in err
    assert (tmp_path / 'b.jsonl').read_text() == 'earlier'
    by_workers.stops_after = None
    assert run(*flags) == expected
    assert contents(tmp_path, 'a') == contents(tmp_path, 'b') and not kept.exists()
    assert by_workers.missing[1] == by_workers.missing[0] - 5


def test_parts_of_another_text_are_refused(run, by_workers, file, tmp_path):
    by_workers.stops_after = 2
    flags = ['--parts=p', *SHARED, '--part_size=1']
    assert run(file, *flags)[0] == 130
    file.write_text(TEXT.replace('honor', 'honour'))
    status, out, err = run(file, *flags)
    assert (status, out) == (2, '') and "was begun with items='" in err
    file.write_bytes(TEXT.encode())
    by_workers.stops_after = None
    assert run(file, *flags)[:2] == run(file, *SHARED[1:])[:2]


def test_no_workers_write_the_folder_alone(run, monkeypatch, file, tmp_path, no_tensorflow):
    """And leave what is there as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'b.jsonl').write_text('earlier')
    status, out, err = run(file, '--tokens=b.jsonl', '--workers=0', '--part_size=1')
    assert (status, out) == (0, '') and 'are to be made, by src/make_parts.py' in err
    assert (tmp_path / 'b.jsonl').read_text() == 'earlier'
    assert (tmp_path / 'b.jsonl.parts' / 'job.json').exists()


def test_two_workers_from_standard_input(run_script, run, file, tmp_path):
    """Real ones: each on its own core, of its own process."""
    flags = ['--model_name=demo', *SHARED, '--part_size=8', f'--tokens={tmp_path}/b.jsonl']
    shared = run_script('src/score.py', '-', *flags, input=TEXT)
    assert shared.returncode == 0, shared.stderr
    expected = run(file, f'--tokens={tmp_path}/a.jsonl', *SHARED[1:])[1]
    assert shared.stdout == expected.replace('\r', '')
    records = [(tmp_path / f'{name}.jsonl').read_text('utf-8') for name in 'ab']
    assert records[0].replace(str(file), 'standard input') == records[1]
