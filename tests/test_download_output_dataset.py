"""`download_data.py output_dataset` against servers on this machine."""

import base64
import hashlib
import json

import pytest

import download_data
from detection import output_dataset
from downloads import fetch
from helpers.servers import raw_server, web_server

RECORDS = '\n'.join(
    json.dumps({'id': n, 'ended': True, 'length': 3, 'text': f'text {n}'}) for n in range(3000)
).encode()
OTHERS = RECORDS.replace(b'text', b'tale')


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Change the manifest: (addresses of the two servers, what was published of webtext.test)."""

    def change(*bases, known=None):
        with open(output_dataset.FILE, encoding='utf-8') as f:
            manifest = json.load(f)
        manifest['bases'] = list(bases)
        manifest['known'] = {'webtext.test.jsonl': known} if known else {}
        manifest['splits']['test']['predicted_size'] = 3000
        path = tmp_path / 'manifest.json'
        path.write_text(json.dumps(manifest), encoding='utf-8')
        monkeypatch.setattr(output_dataset, 'FILE', str(path))

    monkeypatch.setattr(fetch, 'FIRST_WAIT', 0.0)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    return change


@pytest.fixture
def get(call, tmp_path):
    """Run the script: (sources, *flags) -> (status, output lines, error lines)."""

    def run(sources, *flags, splits='test'):
        where = ('--data_dir', tmp_path / 'data', '--sources', sources, '--splits', splits)
        command = download_data.download_data, 'output_dataset', *where, *flags
        status, out, err = call(*command)
        return status, out.splitlines(), err.splitlines()

    return run


def put(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def sending(content, md5=None, cut=None):
    """What a server answers that has one file; the first GET ends after so many bytes."""
    gets = []

    def answer(method, first):
        gets.append(method == 'GET')
        status = '206 Partial Content' if first else '200 OK'
        lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(content) - first}']
        if first:
            lines += [f'Content-Range: bytes {first}-{len(content) - 1}/{len(content)}']
        elif md5:
            lines += [f'Content-MD5: {base64.b64encode(md5).decode()}']
        yield '\r\n'.join([*lines, '', '']).encode()
        if method == 'GET':
            yield content[first : cut if sum(gets) == 1 else None]

    return answer


def test_sources_and_splits_are_chosen_and_explained(get, published, tmp_path):
    for source in ('webtext', 'small-117M-k40'):
        for split in ('test', 'valid'):
            put(tmp_path / 'web' / 'v1', f'{source}.{split}.jsonl', RECORDS)
    with web_server(tmp_path / 'web') as (address, asked):
        published('http://127.0.0.1:9', address)  # the first mirror does not answer
        status, out, _ = get('webtext,124M-k40')
    assert status == 0
    assert asked == ['/v1/webtext.test.jsonl', '/v1/small-117M-k40.test.jsonl']
    folder = tmp_path / 'data' / 'output_dataset'
    assert (folder / 'small-117M-k40.test.jsonl').read_bytes() == RECORDS
    assert out[-2].startswith("webtext: human: documents of WebText's held-out test set")
    assert out[-1] == 'small-117M-k40: samples of the 124M model, top-k 40'


def test_what_came_first_is_compared_from_then_on(get, published, tmp_path):
    md5 = hashlib.md5(RECORDS).digest()
    path = tmp_path / 'data' / 'output_dataset' / 'xl-1542M.test.jsonl'
    with raw_server(sending(RECORDS, md5)) as (address, requests):
        published(address)
        assert get('1558M')[:2] == (
            0,
            [
                f'downloaded {path}: md5, contents',
                'xl-1542M: samples of the 1558M model, temperature 1, no truncation',
            ],
        )
        requests.clear()
        assert get('1558M')[1][0] == f'verified {path}: size, sha256, contents'
        assert requests == []
    record = json.loads((path.parent / 'checksums.json').read_text())['xl-1542M.test.jsonl']
    assert record['sha256'] == hashlib.sha256(RECORDS).hexdigest()
    path.write_bytes(OTHERS)
    status, out, _ = get('1558M', '--verify')
    assert status == 1 and out[0].startswith(f'wrong {path}: sha256')
    path.unlink()
    assert get('1558M', '--verify')[:2] == (1, [f'missing {path}'])
    with raw_server(sending(OTHERS)) as (address, _):  # the server has changed its mind
        published(address)
        status, _, errors = get('1558M')
    assert status == 2 and 'sha256' in errors[-1] and not path.exists()


def test_a_file_that_is_not_what_the_server_says_is_refused(get, published, tmp_path):
    with raw_server(sending(RECORDS, hashlib.md5(OTHERS).digest())) as (address, _):
        published(address)
        status, _, errors = get('xl-1542M')
    assert status == 2 and 'md5' in errors[-1]
    assert not list((tmp_path / 'data' / 'output_dataset').glob('*.jsonl'))


@pytest.mark.parametrize('page', [b'<html>gone</html>', b'<html>gone</html>\n' * 400])
def test_an_error_page_is_no_file(get, published, page):
    with raw_server(sending(page)) as (address, _):
        published(address)
        status, _, errors = get('xl-1542M')
    assert status == 2 and 'error: ' in errors[-1]


def test_an_interrupted_download_goes_on(get, published, tmp_path):
    with raw_server(sending(RECORDS, hashlib.md5(RECORDS).digest(), cut=2**17)) as (address, asked):
        published(address)
        assert get('xl-1542M')[0] == 0
    assert any(method == 'GET' and first > 0 for method, first in asked)
    path = tmp_path / 'data' / 'output_dataset' / 'xl-1542M.test.jsonl'
    assert path.read_bytes() == RECORDS


def test_published_sums_decide_where_there_are_some(get, published, tmp_path):
    known = {'size': len(RECORDS), 'sha256': hashlib.sha256(RECORDS).hexdigest()}
    put(tmp_path / 'usb', 'webtext.test.jsonl', OTHERS)
    published('http://127.0.0.1:9', known=known)
    status, _, errors = get('webtext', '--base_url', tmp_path / 'usb')
    assert status == 2 and 'sha256' in errors[-1]
    put(tmp_path / 'usb', 'webtext.test.jsonl', RECORDS)
    status, out, _ = get('webtext', '--base_url', tmp_path / 'usb')
    assert status == 0 and 'downloaded' in out[0] and 'size, sha256, contents' in out[0]
    assert not (tmp_path / 'data' / 'output_dataset' / 'checksums.json').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['output_dataset'], 'name at least one source with --sources: all, v1'),
        (['output-dataset', 'ptb', '--sources', 'webtext'], 'is downloaded alone'),
        (['ptb', '--sources', 'webtext'], '--sources is for output_dataset'),
        ([], 'or output_dataset'),
        (['output_dataset', '--sources', 'gpt3'], "unknown source 'gpt3'"),
    ],
)
def test_bad_arguments_are_one_line(call, arguments, message):
    status, out, errors = call(download_data.download_data, *arguments)
    assert (status, out, errors.count('\n')) == (2, '', 1) and message in errors
