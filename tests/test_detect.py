import errno
import html
import json
import sys

import pytest

import detect as script
from detection import features, findings, parts, start
from fast import DTYPES
from helpers.made_parts import InProcess
from helpers.stub_detector import StubDetector
from helpers.texts import write_lines
from scoring.scorer import Scorer
from support.stopping import OutputLost

TEXT = 'Fellow citizens — of the naïve 日本 Senate,\r\n\r\nI have the honor to report: ' * 9


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
    return lambda *arguments: call(script.detect, *arguments, *flags)


@pytest.fixture
def detector(monkeypatch, scorer):
    detector = StubDetector()

    def opened(folder, models_dir, of_scorer):
        assert folder == 'a_detector' and of_scorer is scorer
        return detector

    monkeypatch.setattr(script, 'open_detector', opened)
    monkeypatch.setattr(start, 'read_description', lambda folder: {'model': 'demo'})
    return detector


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_bytes(TEXT.encode())
    return path


def records_of(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def test_a_line_and_a_record_for_each_document(run, file, tmp_path, scorer):
    lines = write_lines(tmp_path / 'more.jsonl', ['One.', '', TEXT])
    status, out, err = run(file, lines, '--output', tmp_path / 'out.jsonl')
    assert (status, err) == (0, '')
    names = [str(file), f'{lines} 1', f'{lines} 3']
    out = out.splitlines()
    assert [line.split(': ')[0] for line in out] == names
    records = records_of(tmp_path / 'out.jsonl')
    assert [record.pop('document') for record in records] == names
    ((n, scores),) = features.score_texts(scorer, [TEXT])
    assert records[0] == records[2] == findings.record_of(TEXT, n, scores, None)
    values = dict(zip(features.NAMES, features.features_of(scores), strict=True))
    assert f'tokens {n}, log-probability {values["mean_logprob"]:.3f}, ' in out[0]
    assert f' z {values["z"]:.2f}, rank > 40 {100 * values["outside_top_40"]:.1f} %' in out[0]
    assert out[1].endswith('too short under 50 tokens')
    counts = out[0].split('GLTR ')[1].split()
    assert sum(map(int, counts)) == n
    assert 'machine' not in out[0]


def test_a_detector_says_rates_and_that_they_are_no_verdicts(run, file, detector, tmp_path):
    output = tmp_path / 'out.jsonl'
    status, out, err = run(file, '--detector', 'a_detector', '--output', output)
    assert status == 0
    (record,) = records_of(output)
    assert f'machine {100 * record["fake_probability"]:.2f} %, ' in out
    assert 'human texts that score higher ' in out and out.endswith('of 1,000\n')
    assert err.startswith('note: These are rates, not verdicts.') and err.count('\n') == 1


def test_a_detector_brings_its_model(call, models_dir, file, detector, scorer, monkeypatch):
    started = []
    monkeypatch.setattr(scorer, 'close', lambda: None)
    monkeypatch.setattr(
        script, 'start_scorer', lambda *model, **more: started.append(model) or scorer
    )
    flags = ['--models_dir', models_dir, '--detector', 'a_detector']
    assert call(script.detect, file, *flags)[0] == 0
    assert started == [('demo', str(models_dir))]


def test_all_is_told_in_one_forward_pass(run, file, detector, scorer, monkeypatch, tmp_path):
    read, run_session = [], Scorer._run

    def counting(self, fetches, feed):
        read.extend(tokens.size for key, tokens in feed.items() if key is scorer.operations.tokens)
        return run_session(self, fetches, feed)

    monkeypatch.setattr(Scorer, '_run', counting)
    text = tmp_path / 'short.txt'
    text.write_text(TEXT[:300], encoding='utf-8')
    flags = ['--detector', 'a_detector', '--html', tmp_path / 'page.html']
    assert run(text, *flags)[0] == 0
    n = len(scorer.encoder.encode(TEXT[:300]))
    assert n <= sum(read) <= n + 16


def test_the_page_holds_the_text_its_ranks_and_the_numbers(run, file, tmp_path, scorer):
    path = tmp_path / 'page.html'
    status, out, _ = run(file, '--html', path)
    page = path.read_bytes().decode()
    data = json.loads(page.split('<script type="application/json">')[1].split('</script>')[0])
    assert ''.join(data['text']) == TEXT
    ((n, scores),) = features.score_texts(scorer, [TEXT])
    assert data['rank'] == scores.ranks.tolist() and sum(data['u']) == n
    for label, value in findings.rows_of(findings.record_of(TEXT, n, scores, None)):
        assert f'{label} {value}' in out
        assert f'<dt>{html.escape(label)}</dt><dd>{value}</dd>' in page
    assert '"levels": [1, 11, 101, 1001]' in page and findings.CAUTION in page
    assert page.endswith('</html>\n') and '<title>Token ranks of demo</title>' in page


def test_standard_input_is_a_document_like_another(run_script, file, run):
    piped = run_script('src/detect.py', '-', '--model_name', 'demo', input=TEXT)
    assert (piped.returncode, piped.stderr) == (0, '')
    assert piped.stdout == run(file)[1].replace('\r', '').replace(str(file), 'standard input')


def test_outputs_are_written_though_nobody_reads_the_lines(run, file, tmp_path, monkeypatch):
    def closed(line):
        raise OutputLost(errno.EPIPE, 'Broken pipe', 'standard output')

    output = tmp_path / 'out.jsonl'
    monkeypatch.setattr(script.tqdm, 'write', closed)
    told = f'standard output was closed; {output} written all the same\n'
    assert run(file, file, '--output', output) == (1, '', told)
    assert len(records_of(output)) == 2
    assert run(file) == (1, '', '')


def test_a_failure_leaves_an_old_file_as_it_was(run, tmp_path, file, scorer, monkeypatch):
    old = tmp_path / 'out.jsonl'
    old.write_text('old', encoding='utf-8')

    def fails(*arguments, **options):
        raise ValueError('no more')
        yield

    monkeypatch.setattr(scorer, 'score_documents', fails)
    assert run(file, '--output', old) == (2, '', 'error: no more\n')
    assert old.read_text(encoding='utf-8') == 'old'


@pytest.mark.parametrize(
    'flags, message',
    [
        ([], 'name at least one source'),
        (['nowhere.txt'], 'there is no file or folder nowhere.txt'),
        (['FILE', '--tokens_at_once', '0'], 'tokens_at_once must be'),
        (['FILE', '--dtype', 'half'], f'dtype must be one of {", ".join(DTYPES)}'),
        (['FILE', '--model_name', 'nothing'], "there is no model 'nothing'"),
        (['FILE', '--detector', 'nowhere'], 'nowhere is no detector'),
        (['FILE', '--html', 'FILE'], 'is a source, or another output'),
        (['EMPTY'], 'there is no text in'),
        (['FILE', '--output', 'no/such/folder'], 'No such file or directory'),
    ],
)
def test_bad_input_is_one_line_before_tensorflow_is_loaded(
    call, models_dir, file, tmp_path, no_tensorflow, monkeypatch, flags, message
):
    monkeypatch.setitem(sys.modules, 'scoring.scorer', None)
    (tmp_path / 'empty.txt').touch()
    names = {'FILE': file, 'EMPTY': tmp_path / 'empty.txt'}
    flags = [names.get(flag, flag) for flag in flags]
    if '--model_name' not in flags:
        flags += ['--model_name', 'demo']
    status, out, err = call(script.detect, *flags, '--models_dir', models_dir)
    assert (status, out) == (2, '')
    assert message in err and err.count('\n') == 1


@pytest.fixture
def by_workers(run, scorer, monkeypatch, tmp_path):
    """InProcess, whose workers have the scorer that is there; the working folder is tmp_path."""
    monkeypatch.setattr(parts, 'scorer_of', lambda job: scorer)
    monkeypatch.chdir(tmp_path)
    return InProcess(monkeypatch)


@pytest.mark.parametrize('kind', [None, 'scores', 'words'])
def test_workers_change_nothing(run, by_workers, detector, file, tmp_path, monkeypatch, kind):
    detector.kind = kind
    monkeypatch.setattr(parts, 'detector_digest', lambda folder: folder and 'digest')
    monkeypatch.setattr(parts, 'open_detector', lambda *_: detector)
    monkeypatch.setattr(script, 'detector_digest', lambda folder: folder and 'digest')
    lines = write_lines(tmp_path / 'more.jsonl', ['One.', '', TEXT, 'And another one.'])
    with_detector = ['--detector=a_detector'] * bool(kind)
    outputs = [[f'--output={n}.jsonl', f'--html={n}.html'] for n in 'abc']
    expected = run(file, lines, *outputs[0], *with_detector)
    flags = [file, lines, *outputs[1], *with_detector, '--workers=2', '--part_size=1']
    by_workers.stops_after = 1
    status, out, err = run(*flags)
    assert (status, out) == (130, '') and 'b.jsonl.parts keeps what is made' in err
    status, out, err = run(*flags[:-2])  # by itself
    assert (status, out) == (2, '') and 'b.jsonl.parts holds parts that workers have made' in err
    by_workers.stops_after = None
    assert run(*flags) == expected
    assert run(file, lines, outputs[2][0], *with_detector, '--workers=2') == expected  # no page
    files = [[(tmp_path / f'{n}.{e}').read_bytes() for e in ('jsonl', 'html')] for n in 'ab']
    assert files[0] == files[1]
    assert files[0][0] == (tmp_path / 'c.jsonl').read_bytes()
    assert by_workers.missing == [4, 3, 4] and not list(tmp_path.glob('*.parts'))


@pytest.mark.slow
def test_two_workers(run_script, file, tmp_path):
    """Real ones, on a core each."""
    lines = write_lines(tmp_path / 'more.jsonl', ['One.', TEXT, 'And another one.'] * 9)
    printed = []
    for name, flags in {'a': [], 'b': ['--workers=2', '--part_size=4']}.items():
        outputs = [f'--output={tmp_path}/{name}.jsonl', f'--html={tmp_path}/{name}.html']
        done = run_script('src/detect.py', file, lines, '--model_name=demo', *outputs, *flags)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    for ending in ('jsonl', 'html'):
        a, b = ((tmp_path / f'{name}.{ending}').read_bytes() for name in 'ab')
        assert a == b
