"""What holds for every reader, and for the manifest."""

import json
import types

import pytest

from evaluation import data_files
from evaluation.tasks import (
    cbt,
    crows_pairs,
    lambada,
    language_modeling,
    stereoset,
    winobias,
    winograd,
)
from helpers.data_files import fails, put

EVERY = [  # reader, arguments, file, command
    (lambada.read_lambada, ('openai',), 'lambada/lambada_test.jsonl', 'lambada'),
    (
        lambada.read_lambada,
        ('plain',),
        'lambada_plain/lambada_test_plain_text.txt',
        'lambada_plain',
    ),
    (cbt.read_cbt, ('CN',), 'cbt/cbtest_CN_valid_2000ex.txt', 'cbt'),
    (cbt.read_cbt, ('NE',), 'cbt/cbtest_NE_valid_2000ex.txt', 'cbt'),
    (language_modeling.read_wikitext, (2, True), 'wikitext2/wiki.test.raw', 'wikitext2'),
    (language_modeling.read_wikitext, (2, False), 'wikitext2/wiki.test.tokens', 'wikitext2'),
    (language_modeling.read_wikitext, (103, True), 'wikitext103/wiki.test.raw', 'wikitext103'),
    (language_modeling.read_wikitext, (103, False), 'wikitext103/wiki.test.tokens', 'wikitext103'),
    (language_modeling.read_ptb, ('test',), 'ptb/ptb.test.txt', 'ptb'),
    (language_modeling.read_ptb, ('valid',), 'ptb/ptb.valid.txt', 'ptb'),
    (language_modeling.read_one_billion, (), '1bw/news.en.heldout-00000-of-00050', '1bw'),
    (language_modeling.read_enwik8, (), 'enwik8/enwik8', 'enwik8'),
    (language_modeling.read_text8, (), 'text8/text8', 'text8'),
    (winograd.read_winograd, (), 'winograd/WSCollection.xml', 'winograd'),
    (stereoset.read_stereoset, (), 'stereoset/dev.json', 'stereoset'),
    (
        crows_pairs.read_crows_pairs,
        (),
        'crows_pairs/crows_pairs_anonymized.csv',
        'crows_pairs',
    ),
    (winobias.read_winobias, (), 'winobias/pro_stereotyped_type1.txt.test', 'winobias'),
]


@pytest.fixture(params=EVERY, ids=lambda case: case[2])
def case(request):
    return types.SimpleNamespace(
        **dict(zip(('read', 'arguments', 'file', 'command'), request.param, strict=True))
    )


@pytest.mark.parametrize('complete', [True, False])
def test_a_missing_file_names_the_command(case, tmp_path, complete):
    command = f'{case.command} --data_dir {tmp_path}$'
    with pytest.raises(ValueError, match=f'there is no .*; .*download_data.py {command}') as caught:
        case.read(tmp_path, *case.arguments, complete=complete)
    assert str(tmp_path / case.file) in str(caught.value)


def test_the_default_folder_needs_no_flag(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f'there is no .*download_data.py {case.command}$'):
        case.read('data', *case.arguments)


def acceptable(command, content, complete):
    """Whether nothing in the format, nor in what was published, speaks against such a file."""
    if command == '1bw':  # neither its lines nor its bytes were published
        return content.startswith(b'<')
    if command in ('ptb', 'lambada_plain'):
        return content.startswith(b'<') and not complete
    return command == 'enwik8' and content.startswith(b'<') and not complete


@pytest.mark.parametrize('complete', [True, False])
@pytest.mark.parametrize('content', [b'', b'<html>Not Found</html>\n', b'\xff\xfe\x00<\x80 \n'])
def test_no_reader_takes_an_empty_file_or_an_error_page(case, tmp_path, content, complete):
    put(tmp_path, case.file, content)
    if acceptable(case.command, content, complete):
        assert case.read(tmp_path, *case.arguments, complete=complete)
        return
    fails(
        case.read,
        tmp_path,
        *case.arguments,
        complete=complete,
        command=case.command,
        reason='is not right: ',
    )


def test_a_folder_in_place_of_a_file(case, tmp_path):
    (tmp_path / case.file).mkdir(parents=True)
    fails(case.read, tmp_path, *case.arguments, command=case.command, reason='.')


def test_the_data_folder_may_have_a_tilde(tmp_path, monkeypatch):
    for name in ('HOME', 'USERPROFILE'):
        monkeypatch.setenv(name, str(tmp_path))
    put(tmp_path, 'd/ptb/ptb.test.txt', b' a b \n')
    assert language_modeling.read_ptb('~/d', complete=False) == ['a b']


@pytest.mark.parametrize(
    'read, value',
    [
        (lambada.read_lambada, 'raw'),
        (cbt.read_cbt, 'V'),
        (language_modeling.read_wikitext, 3),
        (language_modeling.read_ptb, 'train'),
    ],
)
def test_an_unknown_choice_lists_the_known(tmp_path, read, value):
    with pytest.raises(ValueError, match=rf'is {value!r}, not one of \w+, \w+$'):
        read(tmp_path, value)


def test_a_set_that_is_not_downloaded_is_put_in_place_by_hand(tmp_path):
    file = data_files.DataFile(tmp_path, 'mine', 'a.txt', complete=True)
    with pytest.raises(ValueError, match=r'there is no .*mine.a\.txt; put the right one there$'):
        with file.complaints():
            file.text()
    put(tmp_path, 'mine/a.txt', b'one\r\ntwo\n')
    assert file.lines() == ['one', 'two']
    file.require(2, 'lines')  # any number: it was not published


@pytest.mark.parametrize(
    'line, reason',
    [
        (b'{"a": 1', 'line 2 is not JSON'),
        (b'', 'line 2 is not JSON'),
        (b'[' * 100_000, 'line 2 is not JSON'),
        (b'[1]', 'line 2 is not an object with a, b'),
        (b'{"a": 1}', 'line 2 is not an object with a, b'),
        (b'{"a": 1, "b": 2, "c": 3}', None),
    ],
)
def test_records_are_a_json_object_a_line(tmp_path, line, reason):
    path = put(tmp_path, 'mine/a.jsonl', b'{"a": "one", "b": []}\n' + line + b'\n')
    file = data_files.DataFile(tmp_path, 'mine', 'a.jsonl', complete=True)
    if reason is None:
        assert file.records('a', 'b') == [{'a': 'one', 'b': []}, {'a': 1, 'b': 2, 'c': 3}]
        return
    with pytest.raises(ValueError, match=f'^{path} is not right: {reason}.*; put the right one'):
        with file.complaints():
            file.records('a', 'b')


def test_the_manifest_is_that_of_the_published_files():
    """Names, sizes and digests as they were published; a slip of the pen would stop every user."""
    published = {
        'lambada_test.jsonl': (1819752, '4aa8d02c', 'fabdb226'),
        'wikitext-2-v1.zip': (4475746, '92675f1d', '7ee817488c'),
        'wikitext-2-raw-v1.zip': (4721645, 'ef7edb56', '615435a11'),
        'wikitext-103-v1.zip': (190229076, '242ba0f2', '31539590'),
        'wikitext-103-raw-v1.zip': (191984949, '91c00ae2', '655a33794'),
        'ptb.test.txt': (449945, 'dd65dff3', 'b033728deee0'),
        'ptb.valid.txt': (399782, 'c9fe6985', '1cc34df1bf2'),
        'CBTest.tgz': (120547669, '932df0ca', '2e4a61e92'),
        'enwik8.zip': (36445475, '547994d9', '4932534bc'),
        'text8.zip': (31344016, 'a6640522', '7a38e5232'),
        '1-billion-word-language-modeling-benchmark-r13output.tar.gz': (
            1792209805,
            '01ba6038',
            'ae9e90a34e',
        ),
        'WSCollection.xml': (113235, '98c845a5', 'c9f58c91'),
        'lambada-dataset.tar.gz': (334527694, '8fbe4990', 'd082f2ad5d7'),
        'coqa-dev-v1.0.json': (9090845, 'dfa367a9', '0701f2540a'),
        'NQ-open.dev.jsonl': (391316, 'f15567f3', '15b40616'),
        'NQ-open.train.jsonl': (8522298, '0c93aaf1', '57a0aabf'),
        'all_test.txt': (2109547, 'c4f5efb5', '81a009bd'),
        'cnn_stories.tgz': (158577824, 'e8fbc002', '9d65cb200'),
        'dailymail_stories.tgz': (375893739, 'ad690100', '9878d14147e'),
        'test-full.tgz': (None, 'a8cd784e', '9ec7eb389a'),
        'dev.zip': (38714274, 'd796e363', '8956dfd1'),
        'dev.json': (12502245, '73a0f31b', '676c90'),
        'crows_pairs_anonymized.csv': (437764, 'dfb36986', 'bcbceab9d0c'),
        'pro_stereotyped_type1.txt.test': (34820, 'db783890', 'c6689'),
        'anti_stereotyped_type1.txt.test': (34778, '331db5bd', '61dd2'),
        'pro_stereotyped_type2.txt.test': (31749, 'ea1c1fd9', '52438'),
        'anti_stereotyped_type2.txt.test': (31769, '336571ac', '33a8f'),
    }
    entries = {n: e for files in data_files.MANIFEST['sets'].values() for n, e in files.items()}
    assert set(entries) == set(published)
    for name, (size, start, end) in published.items():
        entry = entries[name]
        assert entry.get('size') == size
        digest = entry.get('sha256') or entry['md5']
        assert len(digest) == (64 if 'sha256' in entry else 32)
        assert digest.startswith(start) and digest.endswith(end)
        assert entry['urls'][0].endswith('/' + name)
    assert entries['enwik8.zip']['members']['enwik8']['sha256'].endswith('2d582218c024a8')
    assert entries['text8.zip']['members']['text8']['md5'] == '3bea1919949baf155f99411df5fada7e'
    json.dumps(data_files.MANIFEST, allow_nan=False)
