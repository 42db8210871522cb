import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import types

import pytest

import download_data
from downloads import archives, fetch, transport
from evaluation.tasks import TASKS
from helpers.paths import SRC
from helpers.servers import raw_server, web_server
from helpers.small_archives import files_below, tarred, zipped

ROOT = pathlib.Path(download_data.__file__).parent
RAW = b' \n = A = \n' * 40
TOKENS = b' \n = <unk> = \n' * 40
CN, NE = b'1 A .\n' * 500, b'1 Ann .\n' * 500
SHARD = b'The U.S. , he said .\n' * 300
PTB = b" no it was n't \n" * 20
DIGITS = bytes(range(256)) * 4


FILES = {
    'ptb/ptb.test.txt': PTB,
    'wikitext2/wt-raw.zip': zipped(
        {'wt-raw/': b'', 'wt-raw/wiki.train.raw': b'x' * 5000, 'wt-raw/wiki.test.raw': RAW}
    ),
    'wikitext2/wt.zip': zipped({'wt/wiki.test.tokens': TOKENS, 'wt/wiki.train.tokens': b'y' * 99}),
    'cbt/CBTest.tgz': tarred(
        {
            './CBTest/data/cbtest_CN_train.txt': b'no' * 4000,
            './CBTest/data/cbtest_CN_valid.txt': CN,
            'CBTest/data/cbtest_NE_valid.txt': NE,
        }
    ),
    '1bw/bw.tar.gz': tarred({'bw/training/a': b'z' * 9000, 'bw/heldout/shard': SHARD, 'bw/b': b''}),
    'enwik8/enwik8.zip': zipped({'enwik8': DIGITS}),
}


def known(content):
    return {'size': len(content), 'sha256': hashlib.sha256(content).hexdigest()}


def entry(place, **more):
    return {'urls': ['http://127.0.0.1:9/nowhere/' + place], **known(FILES[place]), **more}


def manifest_of_small_files():
    member = {'file': 'wiki.test.raw', 'max_size': 3000}
    tokens = {'file': 'wiki.test.tokens', 'max_size': 3000}
    cn, ne = {'file': 'cn.txt', 'max_size': 5000}, {'file': 'ne.txt', 'max_size': 5000}
    shard = {'file': 'shard', 'max_size': 9000}
    digits = {'file': 'enwik8', 'size': len(DIGITS), 'md5': hashlib.md5(DIGITS).hexdigest()}
    return {
        'aliases': {'wiki2': 'wikitext2', 'penntreebank': 'ptb', 'lm1b': '1bw'},
        'sets': {
            'ptb': {'ptb.test.txt': entry('ptb/ptb.test.txt')},
            'wikitext2': {
                'wt-raw.zip': entry(
                    'wikitext2/wt-raw.zip', members={'wt-raw/wiki.test.raw': member}
                ),
                'wt.zip': entry('wikitext2/wt.zip', members={'wt/wiki.test.tokens': tokens}),
            },
            'cbt': {
                'CBTest.tgz': entry(
                    'cbt/CBTest.tgz',
                    members={
                        'CBTest/data/cbtest_CN_valid.txt': cn,
                        'CBTest/data/cbtest_NE_valid.txt': ne,
                    },
                )
            },
            '1bw': {'bw.tar.gz': entry('1bw/bw.tar.gz', members={'bw/heldout/shard': shard})},
            'enwik8': {'enwik8.zip': entry('enwik8/enwik8.zip', members={'enwik8': digits})},
        },
    }


DATA = {
    'ptb/ptb.test.txt': PTB,
    'wikitext2/wiki.test.raw': RAW,
    'wikitext2/wiki.test.tokens': TOKENS,
    'cbt/cn.txt': CN,
    'cbt/ne.txt': NE,
    '1bw/shard': SHARD,
    'enwik8/enwik8': DIGITS,
}


class Small:
    """A manifest of small files in place of the real one, a mirror of them, and a data folder."""

    def __init__(self, tmp_path):
        self.path = tmp_path / 'manifest.json'
        self.manifest = manifest_of_small_files()
        self.mirror = tmp_path / 'mirror'
        self.data = tmp_path / 'data'
        for place, content in FILES.items():
            put(self.mirror / place, content)
        self.save()

    def save(self):
        self.path.write_text(json.dumps(self.manifest), encoding='utf-8')

    def replace(self, place, content):
        """Change a file of the mirror, and what the manifest knows of it."""
        put(self.mirror / place, content)
        name, file = place.split('/')
        self.manifest['sets'][name][file] |= known(content)
        self.save()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def small(tmp_path, monkeypatch):
    small = Small(tmp_path)
    monkeypatch.setattr(download_data, 'MANIFEST', str(small.path))
    monkeypatch.setattr(fetch, 'FIRST_WAIT', 0.0)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    return small


@pytest.fixture
def get(call, small):
    """Run the script over the mirror: (*tasks and flags) -> (status, output lines, error lines)."""

    def run(*arguments, base=small.mirror):
        where = ['--data_dir', small.data] + ([] if base is None else ['--base_url', base])
        status, out, err = call(download_data.download_data, *arguments, *where)
        return status, out.splitlines(), err.splitlines()

    return run


@pytest.fixture
def web(tmp_path):
    """(address, paths asked for by GET) of a web server over tmp_path."""
    with web_server(tmp_path) as (address, asked):
        yield address, asked


def data_below(folder):
    """The files of a data folder without archives and records."""
    aside = ('.zip', '.gz', '.tgz', '.json')
    return {name: c for name, c in files_below(folder).items() if not name.endswith(aside)}


# The straight way


def test_fetches_and_unpacks_what_the_tasks_need(get, small):
    status, out, err = get('all')
    assert status == 0
    assert data_below(small.data) == DATA
    archives = {place: FILES[place] for place in FILES if place != 'ptb/ptb.test.txt'}
    assert {n: c for n, c in files_below(small.data).items() if n in archives} == archives
    shown = [line.split()[0] for line in out]
    assert shown.count('downloaded') == 6 and shown.count('unpacked') == 6
    digest = hashlib.sha256(SHARD).hexdigest()
    path = small.data / '1bw' / 'shard'
    assert f'unpacked {path}: {len(SHARD):,} bytes, sha256 {digest}' in out


def test_an_archive_of_which_only_the_md5_was_published(get, small):
    """Its size, and what it holds, are learnt from the first one that has this digest."""
    archive = tarred({'test-full/src.sgm': TOKENS})
    md5 = hashlib.md5(archive).hexdigest()
    put(small.mirror / 'wmt14/test-full.tgz', archive)
    member = {'file': 'src.sgm', 'max_size': 3000}
    entry = {'urls': ['http://127.0.0.1:9/x'], 'md5': md5, 'members': {'test-full/src.sgm': member}}
    small.manifest['sets']['wmt14'] = {'test-full.tgz': entry}
    small.save()
    status, out, _ = get('wmt14')
    assert (status, out[0]) == (0, f'downloaded {small.data / "wmt14" / "test-full.tgz"}: md5')
    record = json.loads((small.data / 'wmt14' / 'unpacked.json').read_text('utf-8'))['src.sgm']
    assert record['archive_md5'] == md5 and record['sha256'] == known(TOKENS)['sha256']
    assert 'archive_sha256' not in record
    put(small.data / 'wmt14' / 'src.sgm', b'<' + TOKENS[1:])
    status, out, _ = get('wmt14', base=None)  # from the archive that is there
    assert [line.split()[0] for line in out] == ['wrong', 'verified', 'unpacked']
    put(small.mirror / 'wmt14/test-full.tgz', tarred({'test-full/src.sgm': RAW}))
    (small.data / 'wmt14' / 'test-full.tgz').unlink()
    (small.data / 'wmt14' / 'src.sgm').unlink()
    status, _, err = get('wmt14')
    assert status == 2 and f'instead of {md5}' in err[-1]
    assert not (small.data / 'wmt14' / 'src.sgm').exists()


def test_an_archive_that_is_read_as_it_is(get, small):
    """CNN/Daily Mail's stories: of 312,000 small files a task reads some, once."""
    stories = tarred({'cnn/stories/a.story': b'A paragraph.\n\n@highlight\n\nOne\n'})
    put(small.mirror / 'cnndm/cnn.tgz', stories)
    entry = {'urls': ['http://127.0.0.1:9/x'], **known(stories)}
    small.manifest['sets']['cnndm'] = {'cnn.tgz': entry}
    small.save()
    status, out, err = get('cnndm', '--remove_archives')
    assert (status, len(out)) == (0, 1) and not [line for line in err if 'deleted' in line]
    assert files_below(small.data) == {'cnndm/cnn.tgz': stories}
    status, out, _ = get('cnndm', '--verify')
    assert (status, out) == (0, [f'verified {small.data / "cnndm" / "cnn.tgz"}: size, sha256'])


def test_over_the_web(get, small, web):
    address, asked = web
    assert get('cbt', 'ptb', base=f'{address}/mirror/')[0] == 0
    assert asked == ['/mirror/cbt/CBTest.tgz', '/mirror/ptb/ptb.test.txt']
    assert data_below(small.data) == {n: DATA[n] for n in DATA if n.startswith(('cbt', 'ptb'))}


def test_what_was_unpacked_is_on_record(get, small):
    get('wikitext2')
    record = json.loads((small.data / 'wikitext2' / 'unpacked.json').read_text('utf-8'))
    assert record == {
        'wiki.test.raw': {
            **known(RAW),
            'archive': 'wt-raw.zip',
            'archive_sha256': known(FILES['wikitext2/wt-raw.zip'])['sha256'],
            'member': 'wt-raw/wiki.test.raw',
        },
        'wiki.test.tokens': {
            **known(TOKENS),
            'archive': 'wt.zip',
            'archive_sha256': known(FILES['wikitext2/wt.zip'])['sha256'],
            'member': 'wt/wiki.test.tokens',
        },
    }


@pytest.mark.parametrize(
    'tasks, folders',
    [
        (['PTB'], ['ptb']),
        (['WikiText-2,ptb', 'wiki2'], ['ptb', 'wikitext2']),
        (['penn-treebank', 'PTB,ptb'], ['ptb']),
        (['1BW'], ['1bw']),
        (['lm1b', '1bw'], ['1bw']),
        (['All'], ['1bw', 'cbt', 'enwik8', 'ptb', 'wikitext2']),
    ],
)
def test_names_as_they_are_typed(get, small, tasks, folders):
    status, out, _ = get(*tasks)
    assert (status, sorted(os.listdir(small.data))) == (0, folders)
    assert len([line for line in out if line.startswith('downloaded')]) == sum(
        len(small.manifest['sets'][name]) for name in folders
    )


def test_archives_may_go(get, small):
    status, out, err = get('1bw')
    archive = small.data / '1bw' / 'bw.tar.gz'
    assert [line for line in err if 'not needed any more' in line and str(archive) in line]
    assert archive.exists()
    status, out, err = get('1bw', '--remove_archives')
    assert (status, out[-1]) == (0, f'removed {archive}')
    assert sorted(os.listdir(small.data / '1bw')) == ['shard', 'unpacked.json']
    status, out, err = get('1bw', base=None)
    assert (status, out, err) == (0, [f'verified {small.data / "1bw" / "shard"}: size, sha256'], [])


def test_an_archive_is_kept_until_it_is_unpacked(get, small):
    small.replace('1bw/bw.tar.gz', tarred({'bw/heldout/other': SHARD}))
    assert get('1bw', '--remove_archives')[0] == 2
    assert (small.data / '1bw' / 'bw.tar.gz').exists()


# What is there already


def test_nothing_is_fetched_or_unpacked_twice(get, small, web):
    address, asked = web
    get('all', '--remove_archives')
    before = {p: p.stat().st_mtime_ns for p in small.data.rglob('*') if p.is_file()}
    status, out, err = get('all', base=address + '/mirror')
    assert (status, asked, err) == (0, [], [])
    assert all(line.startswith('verified') for line in out) and len(out) == 7
    assert {p: p.stat().st_mtime_ns for p in small.data.rglob('*') if p.is_file()} == before


@pytest.mark.parametrize('damage', [b'', b'changed', RAW[:-1], RAW[:-1] + b'!'])
def test_a_damaged_file_is_unpacked_again_from_the_archive_that_is_there(get, small, damage):
    get('wikitext2')
    path = small.data / 'wikitext2' / 'wiki.test.raw'
    path.write_bytes(damage)
    status, out, err = get('wikitext2', base=None)
    assert status == 0
    assert [line.split()[0] for line in out] == ['wrong', 'verified', 'verified', 'unpacked']
    assert path.read_bytes() == RAW


def test_a_missing_member_is_unpacked_again(get, small):
    get('cbt')
    (small.data / 'cbt' / 'ne.txt').unlink()
    assert get('cbt', base=None)[0] == 0
    assert data_below(small.data) == {'cbt/cn.txt': CN, 'cbt/ne.txt': NE}


def test_a_damaged_archive_is_fetched_again(get, small):
    get('cbt')
    shutil.copy(small.data / 'cbt' / 'cn.txt', small.data / 'cbt' / 'CBTest.tgz')
    (small.data / 'cbt' / 'cn.txt').unlink()
    assert get('cbt')[0] == 0
    assert files_below(small.data)['cbt/CBTest.tgz'] == FILES['cbt/CBTest.tgz']
    assert data_below(small.data) == {'cbt/cn.txt': CN, 'cbt/ne.txt': NE}


def test_files_that_the_user_put_there_are_taken(get, small):
    put(small.data / 'wikitext2' / 'wiki.test.raw', b'mine')
    put(small.data / 'wikitext2' / 'wiki.test.tokens', b'mine too')
    put(small.data / 'ptb' / 'ptb.test.txt', PTB)
    put(small.data / 'enwik8' / 'enwik8', DIGITS)
    status, out, err = get('wikitext2', 'ptb', 'enwik8', base=None)
    assert (status, len(out), err) == (0, 4, [])
    assert out[0].endswith('wiki.test.raw: nothing to compare with')
    assert out[3] == f'verified {small.data / "enwik8" / "enwik8"}: size, md5'


def test_a_file_that_is_too_large_to_be_the_right_one(get, small):
    put(small.data / 'wikitext2' / 'wiki.test.raw', b'x' * 3001)
    status, out, _ = get('wikitext2')
    assert status == 0
    assert 'wrong' in out[0] and '3,001 bytes' in out[0]
    assert data_below(small.data)['wikitext2/wiki.test.raw'] == RAW


def test_a_damaged_record_does_not_stop_anybody(get, small):
    get('1bw')
    for nonsense in (b'', b'{', b'[]', b'\xff', b'{"shard": {}}'):
        put(small.data / '1bw' / 'unpacked.json', nonsense)
        assert get('1bw')[0] == 0


# --verify


def test_verify_prints_a_line_a_file_and_changes_nothing(get, small, web):
    address, asked = web
    get('all', '--remove_archives')
    status, out, err = get('all', '--verify', base=address + '/mirror')
    assert (status, len(out), err) == (0, 7, [])
    assert all(line.startswith('verified ') for line in out)
    put(small.data / '1bw' / 'shard', SHARD[:-1] + b'?')
    (small.data / 'cbt' / 'ne.txt').unlink()
    before = files_below(small.data)
    status, out, err = get('all', '--verify', base=address + '/mirror')
    assert (status, len(out), err, asked) == (1, 7, [], [])
    assert f'missing {small.data / "cbt" / "ne.txt"}' in out
    assert [line for line in out if line.startswith(f'wrong {small.data / "1bw" / "shard"}: sha2')]
    assert files_below(small.data) == before


def test_verify_of_nothing(get, small):
    status, out, err = get('ptb', '--verify')
    assert (status, out, err) == (1, [f'missing {small.data / "ptb" / "ptb.test.txt"}'], [])
    assert not small.data.exists()


# Mirrors and local files


def test_addresses_are_tried_in_their_order(get, small, web):
    address, asked = web
    put(small.mirror / 'wrong.txt', PTB[:-1] + b'!')
    urls = [f'{address}/mirror/{name}' for name in ('none', 'wrong.txt', 'ptb/ptb.test.txt', 'x')]
    small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = urls
    small.save()
    status, out, err = get('ptb', base=None)
    assert status == 0
    assert asked == ['/mirror/none', '/mirror/wrong.txt', '/mirror/ptb/ptb.test.txt']
    tried = [line for line in err if line.endswith('; trying the next address')]
    assert len(tried) == 2 and '404' in tried[0] and 'sha256' in tried[1]
    assert data_below(small.data) == {'ptb/ptb.test.txt': PTB}


@pytest.mark.parametrize('headers', ['Location: http://[::1', 'Location: file:///etc/passwd'])
def test_after_an_answer_that_makes_no_sense_comes_the_next_address(get, small, web, headers):
    answer = f'HTTP/1.1 302 Found\r\n{headers}\r\nConnection: close\r\n\r\n'.encode()
    with raw_server(lambda *_: [answer]) as (liar, _):
        urls = [f'{liar}/ptb.test.txt', f'{web[0]}/mirror/ptb/ptb.test.txt']
        small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = urls
        small.save()
        status, out, err = get('ptb', base=None)
    assert status == 0 and data_below(small.data) == {'ptb/ptb.test.txt': PTB}
    assert len([line for line in err if line.endswith('; trying the next address')]) == 1


def test_after_an_address_that_is_too_slow_comes_the_next_one(get, small, web, monkeypatch):
    monkeypatch.setattr(transport, 'SLOW_SECONDS', 0.1)
    monkeypatch.setattr(fetch, 'ATTEMPTS', 2)

    def slowly(*_):
        yield b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(PTB)
        for i in range(len(PTB)):
            yield PTB[i : i + 1]
            time.sleep(0.02)

    with raw_server(slowly) as (slow, _):
        urls = [f'{slow}/ptb.test.txt', f'{web[0]}/mirror/ptb/ptb.test.txt']
        small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = urls
        small.save()
        status, out, err = get('ptb', base=None)
    assert status == 0 and data_below(small.data) == {'ptb/ptb.test.txt': PTB}
    [line] = [line for line in err if line.endswith('; trying the next address')]
    assert 'slower than 1,000 bytes a second, 2 times' in line


def test_what_one_mirror_sent_the_next_one_continues(get, small, web, monkeypatch):
    address, asked = web
    put(small.data / 'ptb' / 'ptb.test.txt.part', PTB[:100])
    urls = [f'{address}/mirror/none', f'{address}/mirror/ptb/ptb.test.txt']
    small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = urls
    small.save()
    future = 4_000_000_000  # newer than the server's file, or it would count as outdated
    os.utime(small.data / 'ptb' / 'ptb.test.txt.part', (future, future))
    sent = []
    transfer = fetch.transfer

    def watched(session, file, part, offer, bar):
        sent.append(fetch.length(part))
        return transfer(session, file, part, offer, bar)

    monkeypatch.setattr(fetch, 'transfer', watched)
    assert get('ptb', base=None)[0] == 0
    assert sent == [100, 100]


def test_no_address_has_it(get, small, web):
    address, _ = web
    urls = [f'{address}/one', f'{address}/two']
    small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = urls
    small.save()
    status, out, err = get('ptb', base=None)
    assert (status, out) == (2, [])
    assert err[-1].startswith(f'error: {urls[0]}: 404 ')
    assert f'; {urls[1]}: 404 ' in err[-1] and '--base_url' in err[-1]
    assert len([line for line in err if 'trying the next address' in line]) == 1
    assert files_below(small.data) == {}


@pytest.mark.parametrize('flat', [False, True])
@pytest.mark.parametrize('kind', ['folder', 'tilde', 'file', 'web'])
def test_a_mirror_may_have_a_folder_a_set_or_none(
    get, small, web, tmp_path, flat, kind, monkeypatch
):
    if flat:
        for place in FILES:
            shutil.move(small.mirror / place, small.mirror / place.split('/')[1])
    for name in ('HOME', 'USERPROFILE'):
        monkeypatch.setenv(name, str(tmp_path))
    base = {
        'folder': small.mirror,
        'tilde': '~/mirror',
        'file': small.mirror.as_uri(),
        'web': f'{web[0]}/mirror',
    }[kind]
    assert get('ptb', 'cbt', base=base)[0] == 0
    assert data_below(small.data) == {n: DATA[n] for n in DATA if n.startswith(('cbt', 'ptb'))}


def test_what_a_mirror_lacks_comes_from_the_addresses_of_the_manifest(get, small, web):
    address, asked = web
    shutil.move(small.mirror / 'ptb', small.mirror.parent / 'elsewhere')
    small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = [f'{address}/elsewhere/ptb.test.txt']
    small.save()
    assert get('ptb', 'cbt')[0] == 0
    assert asked == ['/elsewhere/ptb.test.txt']


def test_a_single_file_that_the_user_has(get, small, web, tmp_path):
    put(tmp_path / 'Downloads' / 'a b' / 'bw.tar.gz', FILES['1bw/bw.tar.gz'])
    small.manifest['sets']['ptb']['ptb.test.txt']['urls'] = [web[0] + '/mirror/ptb/ptb.test.txt']
    small.save()
    base = tmp_path / 'Downloads' / 'a b' / 'bw.tar.gz'
    assert get('1bw', 'ptb', base=base)[0] == 0
    assert data_below(small.data) == {'1bw/shard': SHARD, 'ptb/ptb.test.txt': PTB}
    assert base.read_bytes() == FILES['1bw/bw.tar.gz']


def test_a_single_file_that_no_task_asks_for(get, small, tmp_path):
    put(tmp_path / 'holiday.zip', b'')
    status, out, err = get('1bw', 'ptb', base=tmp_path / 'holiday.zip')
    assert (status, out, len(err)) == (2, [], 1)
    assert re.search(r'holiday.zip: .*(bw.tar.gz, ptb.test.txt)', err[0])


def test_an_address_may_be_long():
    base = 'https://host/' + 'a' * 5000
    addresses = download_data.base_addresses(base, ['f'])('ptb', 'f')
    assert addresses == [f'{base}/ptb/f', f'{base}/f']


@pytest.mark.parametrize(
    'arguments, reason',
    [
        ([], r'name at least one task, or all: ptb \(0.0 MB\), wikitext2'),
        ([','], 'name at least one task'),
        (['wikitext3'], r"unknown task 'wikitext3', did you mean wikitext2\? \(there are: ptb"),
        (['ptb,xyzzy'], r"unknown task 'xyzzy' \(there are: "),
        (['ptb', '--base_url', 'no/such/folder'], 'neither a folder that is there'),
        (['ptb', '--base_url', 'ftp://127.0.0.1'], 'only http, https and file'),
        (['ptb', '--datadir', 'x'], 'did you mean --data_dir'),
    ],
)
def test_bad_arguments_are_one_line(call, small, arguments, reason):
    status, out, err = call(download_data.download_data, *arguments)
    assert (status, out, len(err.splitlines())) == (2, '', 1)
    assert re.search(reason, err)


# Failing


def test_a_full_disk_is_noticed_before_anything_is_fetched(get, small, web, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=4999))
    status, out, err = get('1bw', base=web[0] + '/mirror')
    needed = len(FILES['1bw/bw.tar.gz']) + 9000
    reason = f'not enough disk space in {small.data}: {needed:,} bytes needed, 4,999 free'
    assert (status, out, err) == (2, [], ['error: ' + reason])
    assert web[1] == [] and not small.data.exists()


def test_an_archive_that_is_there_needs_no_space(get, small, monkeypatch):
    get('1bw')
    (small.data / '1bw' / 'shard').unlink()
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=9000))
    assert get('1bw', base=None)[0] == 0


def test_a_disk_that_fills_while_unpacking(get, small, monkeypatch):
    get('1bw')
    (small.data / '1bw' / 'shard').unlink()
    before = files_below(small.data)

    def full(stream, part, *rest):
        part.write(b'some')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(archives, 'copy', full)
    status, out, err = get('1bw')
    assert (status, len(err)) == (2, 1)
    assert re.search(r'the disk is full, .*shard not unpacked; .*bw.tar.gz is kept', err[0])
    assert files_below(small.data) == before
    monkeypatch.undo()


def test_a_full_disk_does_not_send_the_user_to_the_next_address(get, small, monkeypatch):
    def full(session, file, part, offer, bar):
        part.write(b'so')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(fetch, 'transfer', full)
    status, out, err = get('ptb')
    assert status == 2
    assert 'the disk is full' in err[-1] and 'next address' not in ''.join(err)


SLOW_UNPACKING = """
import sys, time
sys.path.insert(0, {src!r})
import download_data
from downloads import archives
from support import command_line
download_data.MANIFEST = {manifest!r}
archives.DISK_BLOCK = 100
def slow(fd, fsync=archives.os.fsync):
    print('written', flush=True)
    time.sleep(60)
archives.os.fsync = slow
command_line.run(download_data.download_data, ['1bw', '--data_dir', {data!r}])
"""


def test_a_kill_leaves_nothing_half(get, small):
    get('1bw')
    (small.data / '1bw' / 'shard').unlink()
    code = SLOW_UNPACKING.format(src=str(SRC), manifest=str(small.path), data=str(small.data))
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        while b'written' not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
    there = sorted(os.listdir(small.data / '1bw'))
    assert there == ['bw.tar.gz', 'shard.part', 'unpacked.json']
    assert get('1bw', base=None)[0] == 0
    assert sorted(os.listdir(small.data / '1bw')) == ['bw.tar.gz', 'shard', 'unpacked.json']
    assert (small.data / '1bw' / 'shard').read_bytes() == SHARD


def test_two_processes_do_not_unpack_the_same_file(get, small):
    get('1bw')
    (small.data / '1bw' / 'shard').unlink()
    with fetch.exclusive(str(small.data / '1bw' / 'shard.part')) as part:
        part.write(b'theirs')
        status, out, err = get('1bw')
        assert (status, len(err)) == (2, 1) and 'is in use' in err[0]
        assert (small.data / '1bw' / 'shard.part').read_bytes() == b'theirs'


# The script itself, over the real manifest


def test_the_script_and_its_manifest(run_script, tmp_path):
    result = run_script('src/download_data.py', 'all', '--verify', cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, '')
    lines = result.stdout.splitlines()
    assert len(lines) == 32 and all(line.startswith('missing ') for line in lines)
    assert f'missing {os.path.join("data", "lambada", "lambada_test.jsonl")}' in lines
    result = run_script('src/download_data.py', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('error: name at least one task, or all: lambada (1.8 MB), ')
    assert len(result.stderr.splitlines()) == 1
    assert files_below(tmp_path) == {}


def real_manifest():
    with open(SRC / 'evaluation' / 'evaluation_files.json', encoding='utf-8') as f:
        return json.load(f)


def test_the_help_names_every_task():
    for name in real_manifest()['sets']:
        assert re.search(rf'\b{name}\b', download_data.download_data.__doc__)


def test_aliases_are_plain_and_lead_somewhere():
    manifest = real_manifest()
    for alias, name in manifest['aliases'].items():
        assert alias == download_data.plain(alias) and name in manifest['sets']
        assert alias not in map(download_data.plain, manifest['sets'])


def test_every_task_is_known_by_its_name():
    for task in TASKS:
        assert len(download_data.task_names([task], real_manifest())) == 1


def test_every_member_has_a_plain_name_and_a_limit():
    manifest = real_manifest()
    for files in manifest['sets'].values():
        for file, entry in files.items():
            assert entry['urls'] and all(re.match('https?://', url) for url in entry['urls'])
            for member in entry.get('members', {}).values():
                assert re.fullmatch(r'[\w.-]+', member['file']) and member['file'] != file
                assert 0 < member.get('size', member.get('max_size')) <= 100_000_000
