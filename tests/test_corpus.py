import io
import itertools
import json
import os
import pathlib
import sys
import tempfile
import tracemalloc
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import corpus
from encoder import CHUNK_CHARACTERS, END_OF_TEXT, Encoder, bytes_to_unicode, get_encoder

MODELS = pathlib.Path(__file__).parent.parent / 'models'
END = 256
TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=40)
DOCUMENTS = st.lists(TEXT | st.just(f'a {END_OF_TEXT} b'), min_size=1, max_size=8)
property_test = settings(max_examples=100, deadline=None, database=None)


def byte_encoder(end=END):
    """An encoder whose ids are the bytes of the text, so that expected files can be spelled out."""
    ids = {char: byte for byte, char in bytes_to_unicode().items()}
    return Encoder(ids | ({} if end is None else {END_OF_TEXT: end}), [])


BYTES = byte_encoder()
DEMO = get_encoder('demo', MODELS)


def write_lines(path, documents):
    lines = [json.dumps({'text': document}) + '\n' for document in documents]
    path.write_text(''.join(lines), encoding='utf-8')
    return path


def documents_of(path, encoder=BYTES):
    """The documents of a file of tokens: what stands before each end token."""
    tokens = corpus.open_tokens(path).tolist()
    assert tokens[-1] == encoder.end_of_text
    ends = [i for i, token in enumerate(tokens) if token == encoder.end_of_text]
    starts = [0, *(end + 1 for end in ends)]
    return [encoder.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=False)]


def splits_of(folder, encoder=BYTES):
    return [documents_of(folder / f'{split}.npy', encoder) for split in ('train', 'validation')]


def described(folder):
    return json.loads((folder / 'corpus.json').read_text(encoding='utf-8'))


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Documents


@pytest.fixture
def library(tmp_path):
    """A folder of texts, the documents of which are their own paths."""
    names = ['b.txt', 'a.txt', 'a/z.TXT', 'a/a.txt', 'a-b/c.txt', 'notes.md', '[x].txt']
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding='utf-8')
    write_lines(tmp_path / 'a' / 'm.jsonl', ['m1', 'm2'])
    return tmp_path


@pytest.mark.parametrize(
    'sources, documents',
    [
        (['b.txt', 'a.txt'], ['b.txt', 'a.txt']),
        (['notes.md'], ['notes.md']),
        (['.'], '[x].txt a/a.txt m1 m2 a/z.TXT a-b/c.txt a.txt b.txt'.split()),
        (['a'], ['a/a.txt', 'm1', 'm2', 'a/z.TXT']),
        (['*.txt'], ['[x].txt', 'a.txt', 'b.txt']),
        (['**/?.txt'], ['a/a.txt', 'a-b/c.txt', 'a.txt', 'b.txt']),
        (['a*'], ['a/a.txt', 'm1', 'm2', 'a/z.TXT', 'a-b/c.txt', 'a.txt']),
        (['[x].txt'], ['[x].txt']),
        (['a.txt', 'a.txt'], ['a.txt', 'a.txt']),
        ([pathlib.Path('a') / 'm.jsonl'], ['m1', 'm2']),
    ],
)
def test_sources_are_files_folders_and_patterns(library, monkeypatch, sources, documents):
    monkeypatch.chdir(library)
    assert list(corpus.read_documents(sources)) == documents


def test_standard_input_is_one_document(monkeypatch, tmp_path):
    (tmp_path / 'a.txt').write_text('first', encoding='utf-8')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO('a\r\né'.encode()), 'ascii'))
    assert list(corpus.read_documents([tmp_path / 'a.txt', '-'])) == ['first', 'a\r\né']


@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl'])
def test_a_byte_order_mark_is_dropped_and_line_ends_stay(tmp_path, name):
    text = 'one\r\ntwo\n\rthree\x85\u2028 \ufeff'
    data = text if name == 'a.txt' else json.dumps({'text': text}, ensure_ascii=False)
    (tmp_path / name).write_bytes(b'\xef\xbb\xbf' + data.encode('utf-8'))
    assert list(corpus.read_documents([tmp_path / name])) == [text]


def test_a_line_of_a_jsonl_file_is_a_document(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes(
        b'{"id": 1, "text": "one\\ntwo"}\r\n\n  \n{"text": ""}\n{"text": "\xc3\xa9 \\ud83e\\udd16"}'
    )
    assert list(corpus.read_documents([tmp_path / 'a.jsonl'])) == ['one\ntwo', 'é 🤖']


def test_empty_documents_are_skipped_and_nothing_else_is_an_error(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'')
    (tmp_path / 'b.txt').write_bytes(b'\xef\xbb\xbf')
    write_lines(tmp_path / 'c.jsonl', ['', ''])
    with pytest.raises(ValueError, match=r'there is no text in .*a\.txt, .*b\.txt, .*c\.jsonl'):
        list(corpus.read_documents([tmp_path]))
    with pytest.raises(ValueError, match='there is no text in nothing'):
        list(corpus.read_documents([]))
    (tmp_path / 'd.txt').write_bytes(b'\n')
    assert list(corpus.read_documents([tmp_path])) == ['\n']


@pytest.mark.parametrize(
    'source, message',
    [
        ('nowhere.txt', 'there is no file or folder nowhere.txt'),
        ('*.md', r'no file matches \*\.md'),
        ('empty', r'there is no \.txt or \.jsonl file in the folder empty'),
    ],
)
def test_a_source_that_is_not_there_is_an_error_at_once(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=message):
        corpus.read_documents([source])


@pytest.mark.parametrize(
    'name, data, message',
    [
        ('a.txt', b'abc\xff', r'a\.txt: byte 3 is not UTF-8'),
        ('a.txt', b'\xef\xbb\xbfab\xc3', r'a\.txt: byte 5 is not UTF-8'),
        ('a.txt', 'abc'.encode('utf-16'), r'a\.txt: byte 0 is not UTF-8'),
        ('a.jsonl', b'{"text": "a"}\n\n{"text": "\xff"}', r'a\.jsonl: byte 25 is not UTF-8'),
        ('a.jsonl', b'{"text": "a"}\n\n{"text": "', r'a\.jsonl line 3 is not JSON \(Unterminated'),
        ('a.jsonl', b'{"text": 1}\n', r'a\.jsonl line 1 holds no text in a field "text"'),
        ('a.jsonl', b'{"Text": "a"}\n', r'a\.jsonl line 1 holds no text'),
        ('a.jsonl', b'"text"\n', r'a\.jsonl line 1 holds no text'),
        ('a.jsonl', b'[' * 200000, r'a\.jsonl line 1 is not JSON'),
        ('a.jsonl', b'{"text": "a\\ud800"}', r'a\.jsonl line 1: character 1 .* surrogate U\+D800'),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        list(corpus.read_documents([tmp_path / name]))
    assert '\n' not in str(caught.value)


def test_a_folder_that_may_not_be_read_is_an_error(library, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if pathlib.Path(path).name == 'a':
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(PermissionError):
        corpus.find_files([library])


def test_one_document_is_held_at_a_time(tmp_path):
    size = 2**21
    for number in range(4):
        (tmp_path / f'{number}.txt').write_bytes(b'a' * size)
    documents = corpus.read_documents([tmp_path])
    # While it is decoded, a document is there as bytes and as str.
    assert peak_memory(lambda: deque(documents, maxlen=0)) < 2.5 * size


# Encoding


@settings(property_test, max_examples=40)
@given(DOCUMENTS, st.integers(0, 2**63 - 1), st.sampled_from([BYTES, DEMO]))
def test_documents_come_back_from_the_files_in_order(documents, seed, encoder):
    written = [document for document in documents if document]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        source = write_lines(folder / 'a.jsonl', documents)
        if len(written) < 2:
            return
        corpus.encode_corpus([source], encoder, folder, validation=0.4, seed=seed)
        train, validation = splits_of(folder, encoder)
    assert train and validation
    held_out = [corpus.is_held_out(n, 0.4, seed) for n in range(len(written))]
    assert train == [text for text, out in zip(written, held_out, strict=True) if not out]
    assert validation == [text for text, out in zip(written, held_out, strict=True) if out]


def test_ids_are_those_of_the_encoder_and_the_end_token(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 1000)
    long = 'Whose woods these are\n\n  I think I know. ' * (3 * CHUNK_CHARACTERS // 40)
    documents = ['short', long, f'é {END_OF_TEXT}\r\n', 'x' * 5000, 'last one ']
    source = write_lines(tmp_path / 'a.jsonl', documents)
    corpus.encode_corpus([source], DEMO, tmp_path / 'out', validation=0)
    expected = [i for text in documents for i in [*DEMO.encode(text), DEMO.end_of_text]]
    assert np.load(tmp_path / 'out' / 'train.npy', mmap_mode='r').tolist() == expected


@pytest.mark.parametrize('end, dtype', [(256, 'uint16'), (65535, 'uint16'), (65536, 'uint32')])
def test_tokens_are_as_wide_as_the_vocabulary_needs(tmp_path, end, dtype):
    (tmp_path / 'a.txt').write_bytes(b'AB')
    corpus.encode_corpus([tmp_path / 'a.txt'], byte_encoder(end), tmp_path, validation=0)
    tokens = np.load(tmp_path / 'train.npy')
    assert (tokens.dtype, tokens.tolist()) == (np.dtype(dtype), [65, 66, end])


@pytest.mark.filterwarnings('error')  # a file that is not closed cannot be moved on Windows
def test_the_description_says_what_was_written_and_from_what(tmp_path):
    documents = ['one', 'zwölf', f'{END_OF_TEXT}', '日本']
    source = write_lines(tmp_path / 'a.jsonl', documents)
    folder = tmp_path / 'deep' / 'out'
    returned = corpus.encode_corpus([source], BYTES, folder, validation=0.5, seed=3)
    assert sorted(os.listdir(folder)) == ['corpus.json', 'train.npy', 'validation.npy']
    assert described(folder) == returned
    for split, texts in zip(('train', 'validation'), splits_of(folder), strict=True):
        size = len(''.join(texts).encode('utf-8'))
        counts = {'documents': len(texts), 'tokens': size + len(texts), 'bytes': size}
        assert returned.pop(split) == counts
    assert returned.pop('vocabulary_sha256') == corpus.vocabulary_sha256(byte_encoder())
    assert returned == {
        'split': 'document',
        'sources': [str(source)],
        'validation_sources': None,
        'validation_fraction': 0.5,
        'seed': 3,
        'n_vocab': 257,
    }


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems have no such file names')
def test_a_source_may_have_a_name_that_is_not_utf8(tmp_path):
    source = tmp_path / os.fsdecode(b'\xff.txt')
    source.write_bytes(b'some text')
    corpus.encode_corpus([source], BYTES, tmp_path)
    assert described(tmp_path)['sources'] == [str(source)]


def test_vocabularies_differ_in_their_digest():
    ids = BYTES.encoder
    merged = ids | {'ab': 257, 'bc': 258}
    encoders = [
        BYTES,
        byte_encoder(257),
        Encoder(merged, [('a', 'b'), ('b', 'c')]),
        Encoder(merged, [('b', 'c'), ('a', 'b')]),
    ]
    assert len(set(map(corpus.vocabulary_sha256, encoders))) == 4
    reordered = Encoder(dict(reversed(ids.items())), [])
    assert corpus.vocabulary_sha256(reordered) == corpus.vocabulary_sha256(BYTES)


def test_progress_adds_up_to_the_bytes_of_text(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 1000)
    source = write_lines(tmp_path / 'a.jsonl', ['日本 ' * 100] * 30)
    done = []
    written = corpus.encode_corpus([source], BYTES, tmp_path, progress=done.append)
    assert len(done) > 5
    assert sum(done) == written['train']['bytes'] + written['validation']['bytes'] == 21000


# The split


def held_out(n, fraction, seed):
    return {number for number in range(n) if corpus.is_held_out(number, fraction, seed)}


def test_whether_a_document_is_held_out_depends_on_seed_and_number_only(tmp_path):
    documents = [f'document {n}' for n in range(300)]
    kept = []
    for n in (300, 100):
        source = write_lines(tmp_path / f'{n}.jsonl', documents[:n])
        folder = tmp_path / f'out{n}'
        corpus.encode_corpus([source], BYTES, folder, validation=0.1, seed=5)
        kept.append(splits_of(folder)[1])
    assert kept[1] == [text for text in kept[0] if text in documents[:100]]
    assert kept[0] == [documents[number] for number in sorted(held_out(300, 0.1, 5))]
    assert held_out(300, 0.1, 5) != held_out(300, 0.1, 6)


def test_the_split_of_a_seed_stays_the_same_for_ever():
    assert held_out(100, 0.05, 0) == {1, 10, 59, 82}
    assert held_out(100, 0.05, 2**63 - 1) == {1, 27, 84}
    # printf '0 2' | sha256sum begins with 545b97492c92
    assert corpus.uniform(0, 2) == 0x922C49975B54 / 2**48


@pytest.mark.parametrize('fraction', [0.001, 0.05, 0.5, 0.99])
def test_about_the_fraction_is_held_out_and_a_larger_one_holds_out_more(fraction):
    for seed in range(3):
        chosen = held_out(10000, fraction, seed)
        assert abs(len(chosen) - 10000 * fraction) < 5 * np.sqrt(10000 * fraction) + 1
        assert chosen <= held_out(10000, min(1, fraction * 1.5), seed)


def test_both_sides_get_a_document_of_two():
    firsts = Counter()
    for seed, fraction in itertools.product(range(100), (1e-9, 0.05, 0.999)):
        chosen = held_out(2, fraction, seed)
        assert len(chosen) == 1
        firsts.update(chosen)
    assert min(firsts[0], firsts[1]) > 90  # not always the same one


def test_of_a_single_document_the_end_is_held_out(tmp_path):
    lines = [f'line {n}\n' for n in range(1000)]
    (tmp_path / 'a.txt').write_text(''.join(lines), encoding='utf-8', newline='\n')
    written = corpus.encode_corpus([tmp_path / 'a.txt'], BYTES, tmp_path, validation=0.1)
    assert written['split'] == 'tail'
    ((head,), (tail,)) = splits_of(tmp_path)
    assert head + tail == ''.join(lines)
    assert head.endswith('\n') and tail.startswith('line ')
    assert tail.count('\n') == pytest.approx(100, abs=50)


@pytest.mark.parametrize(
    'text, fraction, tail',
    [
        ('ab', 0.5, 'b'),
        ('ab', 1e-9, 'b'),
        ('ab', 0.999, 'b'),
        ('one two. three four. five six', 0.4, 'five six'),
        ('one two three four', 0.4, 'four'),
        ('title\n' + 'x' * 94, 0.2, 'x' * 20),
        ('x\n' * 50, 0.2, 'x\n' * 10),  # of many lines, the nearest end
        ('a\nb c\nd. e f\n\n\n', 0.5, 'd. e f\n\n\n'),
    ],
)
def test_a_cut_is_made_where_something_ends_nearby(text, fraction, tail):
    assert corpus.cut(text, fraction) == (text.removesuffix(tail), tail)


@property_test
@given(st.text('ab. \n', min_size=2), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_cut_loses_nothing_and_leaves_something_on_each_side(text, fraction):
    head, tail = corpus.cut(text, fraction)
    assert head and tail and head + tail == text
    assert 0.5 * len(text) * fraction - 1 <= len(tail) <= 1.5 * len(text) * fraction + 1


def test_a_document_of_one_character_cannot_be_cut(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'a')
    with pytest.raises(ValueError, match='1 character'):
        corpus.encode_corpus([tmp_path / 'a.txt'], BYTES, tmp_path / 'out')


def test_nothing_is_held_out_with_a_fraction_of_0(tmp_path):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    written = corpus.encode_corpus([source], BYTES, tmp_path / 'out', validation=0)
    assert (written['split'], written['train']['documents']) == ('none', 3)
    assert 'validation' not in written
    assert sorted(os.listdir(tmp_path / 'out')) == ['corpus.json', 'train.npy']


def test_validation_may_have_sources_of_its_own(tmp_path):
    train = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    held_out = write_lines(tmp_path / 'b.jsonl', ['d', 'e'])
    written = corpus.encode_corpus([train], BYTES, tmp_path / 'out', validation_sources=[held_out])
    assert splits_of(tmp_path / 'out') == [['a', 'b', 'c'], ['d', 'e']]
    assert (written['split'], written['validation_sources']) == ('sources', [str(held_out)])
    assert written['validation_fraction'] is None


def test_what_is_learned_is_not_held_out(tmp_path):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    source = os.path.join(tmp_path, '.', source.name)
    with pytest.raises(ValueError, match=r'a\.jsonl is in the sources and in the validation'):
        corpus.encode_corpus([source], BYTES, tmp_path / 'out', validation_sources=[tmp_path])


# Errors, interruptions, memory


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'encoder': byte_encoder(end=None)}, r'the vocabulary has no <\|endoftext\|>'),
        ({'validation': 1}, 'validation must be at least 0 and below 1, not 1'),
        ({'validation': -0.1}, 'not -0.1'),
        ({'validation': '0.1'}, "not '0.1'"),
        ({'validation': float('nan')}, 'not nan'),
        ({'validation': True}, 'not True'),
        ({'seed': -1}, 'seed must be a whole number'),
        ({'seed': 2**63}, 'seed must be'),
        ({'sources': ['nowhere']}, 'there is no file or folder nowhere'),
        ({'validation_sources': ['nowhere']}, 'there is no file or folder nowhere'),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(tmp_path, changes, message):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    arguments = {'sources': [source], 'encoder': BYTES, 'folder': tmp_path / 'out'} | changes
    with pytest.raises(ValueError, match=message):
        corpus.encode_corpus(**arguments)
    assert os.listdir(tmp_path) == ['a.jsonl']


@pytest.mark.parametrize('name', ['corpus.json', 'train.npy', 'validation.npy'])
def test_files_that_are_there_are_not_replaced(tmp_path, name):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    (tmp_path / name).write_text('mine', encoding='utf-8')
    with pytest.raises(ValueError, match=f'holds {name} already'):
        corpus.encode_corpus([source], BYTES, tmp_path, progress=lambda n: pytest.fail('too late'))
    assert (tmp_path / name).read_text(encoding='utf-8') == 'mine'


def test_nor_are_those_that_come_meanwhile(tmp_path):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    folder = tmp_path / 'out'

    def finish_first(n):
        (folder / 'validation.npy').write_text('mine', encoding='utf-8')

    with pytest.raises(ValueError, match='holds validation.npy already'):
        corpus.encode_corpus([source], BYTES, folder, progress=finish_first)
    assert os.listdir(folder) == ['validation.npy']


def test_bad_input_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 10)
    (tmp_path / 'a.jsonl').write_text('{"text": "some text"}\n' * 50 + '?', encoding='utf-8')
    with pytest.raises(ValueError, match='line 51'):
        corpus.encode_corpus([tmp_path / 'a.jsonl'], BYTES, tmp_path / 'out')
    assert os.listdir(tmp_path / 'out') == []


def test_an_interruption_leaves_nothing_and_there_was_nothing_before_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 10)
    source = write_lines(tmp_path / 'a.jsonl', ['some text'] * 20)
    folder = tmp_path / 'out'
    seen = []

    def interrupt(n):
        seen.append(set(os.listdir(folder)) & set(corpus.corpus_files()))
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corpus.encode_corpus([source], BYTES, folder, progress=interrupt)
    assert seen == [set()] * 5
    assert os.listdir(folder) == []


@pytest.mark.parametrize('after', [False, True])
@pytest.mark.parametrize('step', [0, 1, 2])
def test_an_interruption_while_files_are_moved_leaves_nothing(tmp_path, monkeypatch, step, after):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    replace, moved = os.replace, []

    def interrupted(source, target):
        moved.append(os.path.basename(target))
        if len(moved) <= step or after:
            replace(source, target)
        if len(moved) > step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, 'replace', interrupted)
        corpus.encode_corpus([source], BYTES, tmp_path / 'out')
    assert moved == ['train.npy', 'validation.npy', 'corpus.json'][: step + 1]
    assert os.listdir(tmp_path / 'out') == []


@pytest.mark.parametrize('size', [100, 2**18])  # too much when the file ends, or before
def test_a_full_disk_leaves_nothing(tmp_path, size):
    resource = pytest.importorskip('resource')
    (tmp_path / 'a.txt').write_bytes(b'some text ' * size)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(OSError):
            corpus.encode_corpus([tmp_path / 'a.txt'], BYTES, tmp_path / 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / 'out') == []


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 2**15)
    document = 'The quick brown fox jumps over the lazy dog.\n' * 50

    def peak(n):
        source = write_lines(tmp_path / f'{n}.jsonl', [document] * n)
        return peak_memory(lambda: corpus.encode_corpus([source], DEMO, tmp_path / f'out{n}'))

    peak(10)  # builds the encoder's fast path
    assert peak(1000) < peak(100) + 2**18 < len(document) * 1000


def test_memory_is_a_small_multiple_of_the_largest_document(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 2**15)
    DEMO.encode('')
    text = b'The quick brown fox jumps over the lazy dog.\n' * 50000
    (tmp_path / 'a.txt').write_bytes(text)
    peak = peak_memory(lambda: corpus.encode_corpus([tmp_path / 'a.txt'], DEMO, tmp_path))
    assert peak < 3 * len(text) + 2**23


# Reading


def save(path, tokens, dtype='uint16'):
    np.save(path, np.array(tokens, dtype))
    return path


def test_tokens_are_mapped_not_read(tmp_path):
    path = save(tmp_path / 'a.npy', range(1000))
    tokens = corpus.open_tokens(path, n_vocab=1000)
    assert isinstance(tokens, np.memmap) and not tokens.flags.writeable
    assert tokens.tolist() == list(range(1000))


@pytest.mark.parametrize(
    'data, message',
    [
        (None, 'No such file'),
        (b'', 'cannot read tokens from'),
        (b'some text', 'cannot read tokens from'),
        (b'\x93NUMPY\x01\x00', 'cannot read tokens from'),
        (np.zeros(3), r'a\.npy holds float64 of shape \[3\], not one dimension of uint16 or'),
        (np.zeros(3, 'int32'), 'holds int32'),
        (np.zeros((3, 2), 'uint16'), r'of shape \[3, 2\]'),
        (np.uint16(3), r'of shape \[\]'),
        (np.zeros(0, 'uint16'), r'a\.npy'),
        (np.array(['a', None]), 'cannot read tokens from'),
    ],
)
def test_what_is_not_a_file_of_tokens_is_refused(tmp_path, data, message):
    path = tmp_path / 'a.npy'
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data is not None:
        np.save(path, data)
    with pytest.raises(ValueError, match=message):
        corpus.open_tokens(path)


def test_archives_and_folders_are_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', np.zeros(3, 'uint16'))
    for path in (tmp_path / 'a.npz', tmp_path):
        with pytest.raises(ValueError, match='cannot read tokens from'):
            corpus.open_tokens(path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    whole = save(tmp_path / 'a.npy', range(50)).read_bytes()
    for size in range(len(whole)):
        (tmp_path / 'b.npy').write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r'b\.npy'):
            corpus.open_tokens(tmp_path / 'b.npy')


@property_test
@given(st.data())
def test_a_damaged_header_is_refused_or_harmless(data):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(50, dtype='uint16'))
    damaged = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, 79), min_size=1, max_size=3)):
        damaged[place] = data.draw(st.sampled_from(b'{}(),:019-<uTs \n\x00\xff\'"'))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'a.npy')
        path.write_bytes(damaged)
        try:
            assert corpus.open_tokens(path).ndim == 1
        except ValueError as error:
            assert 'a.npy' in str(error)


def test_tokens_outside_the_vocabulary_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BLOCK', 10)
    for place in (0, 9, 10, 24):
        tokens = np.arange(25)
        tokens[place] = 300
        path = save(tmp_path / 'a.npy', tokens)
        corpus.open_tokens(path, n_vocab=301)
        with pytest.raises(ValueError, match='holds token 300; the vocabulary has 300'):
            corpus.open_tokens(path, n_vocab=300)


# Windows

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1]))


@property_test
@given(SIZES, st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_an_epoch_visits_each_window_of_a_cut_once_and_every_token(sizes, seed, epoch):
    window, n_tokens = sizes
    windows = corpus.Windows(np.arange(n_tokens), window, seed)
    rows = windows.rows(epoch * windows.per_epoch, windows.per_epoch)
    assert rows.shape == (windows.per_epoch, window + 1) and rows.dtype == np.int32
    assert ((rows[:, 1:] - rows[:, :-1]) % n_tokens == 1).all()  # along the ring
    starts = sorted(rows[:, 0].tolist())
    distances = [(b - a) % n_tokens for a, b in zip(starts, starts[1:] + starts[:1], strict=True)]
    if len(starts) > 1:
        shorter = sorted(distances)[0]
        assert sorted(distances)[1:] == [window] * (len(starts) - 1) and 0 < shorter <= window
    targets = Counter(rows[:, 1:].ravel().tolist())
    assert set(targets) == set(range(n_tokens))
    twice = [token for token, times in targets.items() if times > 1]
    assert max(targets.values()) <= 2 and len(twice) == -n_tokens % window


@property_test
@given(SIZES, st.integers(0, 300), st.integers(0, 50), st.integers(0, 300))
def test_rows_depend_on_their_number_only(sizes, first, n, before):
    window, n_tokens = sizes
    tokens = np.arange(n_tokens)
    one_by_one = corpus.Windows(tokens, window, seed=1)
    expected = [one_by_one.rows(number, 1)[0].tolist() for number in range(first, first + n)]
    resumed = corpus.Windows(tokens, window, seed=1)
    resumed.rows(before, 3)
    assert resumed.rows(first, n).tolist() == expected


def test_epochs_and_seeds_cut_elsewhere_and_in_another_order():
    tokens = np.arange(10007)
    starts = {}
    for seed in (0, 1):
        windows = corpus.Windows(tokens, 10, seed)
        for epoch in range(3):
            rows = windows.rows(epoch * windows.per_epoch, windows.per_epoch)
            starts[seed, epoch] = rows[:, 0]
            neighbours = np.count_nonzero(np.diff(rows[:, 0]) == 10)
            assert neighbours < 20  # of 1000 windows; 1 by chance
    assert len({start[0] for start in starts.values()}) == 6
    for one, other in itertools.combinations(starts.values(), 2):
        assert len(set(one.tolist()) & set(other.tolist())) < 500  # at most the few at one end
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


def test_windows_and_noise_of_a_seed_stay_the_same_for_ever():
    windows = corpus.Windows(np.arange(10), 4, seed=7)
    assert windows.rows(0, 6)[:, 0].tolist() == [2, 8, 4, 1, 7, 3]
    assert windows.rows(3 * 10**12, 3)[:, 0].tolist() == [8, 4, 0]
    noise = corpus.noisy(np.zeros([1, 8], np.int32), 0.5, 50000, seed=7, first=3)
    assert noise.tolist() == [[10566, 0, 10108, 0, 0, 0, 32350, 11297]]


def test_too_few_tokens_for_a_window_are_refused():
    with pytest.raises(ValueError, match='8 tokens are too few: a window of 8 takes 9'):
        corpus.Windows(np.arange(8), 8)
    corpus.Windows(np.arange(9), 8)
    with pytest.raises(ValueError, match='window must be a whole number of at least 1'):
        corpus.Windows(np.arange(8), 0)


def test_windows_do_not_read_the_file_into_memory(tmp_path):
    path = save(tmp_path / 'a.npy', np.arange(2**22) % 50000)
    tokens = corpus.open_tokens(path)

    def read():
        windows = corpus.Windows(tokens, 1024)
        return [windows.rows(first, 8) for first in range(0, 8000, 2000)]

    assert peak_memory(read) < 2**21 < path.stat().st_size
    assert peak_memory(lambda: deque(corpus.sequential(tokens, 1024, 16), maxlen=0)) < 2**21
    assert peak_memory(lambda: corpus.open_tokens(path, n_vocab=50000)) < 2**19


# Validation


@property_test
@given(st.integers(2, 200), st.integers(1, 12), st.integers(1, 6))
def test_each_token_but_the_first_is_scored_once_behind_the_one_before(n, window, batch_size):
    tokens = np.random.RandomState(n).randint(50000, size=n).astype('uint16')
    inputs, targets = [], []
    for rows, weights in corpus.sequential(tokens, window, batch_size):
        assert (rows.shape, rows.dtype) == ((batch_size, window + 1), np.int32)
        assert (weights.shape, weights.dtype) == ((batch_size, window), np.float32)
        assert set(weights.ravel()) <= {0, 1} and weights.any()
        inputs += rows[:, :-1][weights == 1].tolist()
        targets += rows[:, 1:][weights == 1].tolist()
        assert not rows[:, 1:][weights == 0].any()
    assert inputs == tokens[:-1].tolist()
    assert targets == tokens[1:].tolist()


def test_the_drawing_of_sequential_is_what_it_does():
    batches = [(r.tolist(), w.tolist()) for r, w in corpus.sequential(np.arange(9), 3, 2)]
    assert batches == [
        ([[0, 1, 2, 3], [3, 4, 5, 6]], [[1, 1, 1], [1, 1, 1]]),
        ([[6, 7, 8, 0], [0, 0, 0, 0]], [[1, 1, 0], [0, 0, 0]]),
    ]


def test_a_single_token_cannot_be_scored():
    with pytest.raises(ValueError, match='1 tokens are too few to score'):
        corpus.sequential(np.arange(1), 3, 2)


# Noise


def test_noise_replaces_the_share_that_was_asked_for_by_any_token():
    rows = np.zeros([100, 1000], np.int32)
    noisy = corpus.noisy(rows, 0.3, 50, seed=0, first=0)
    assert not rows.any() and noisy.dtype == np.int32
    counts = np.bincount(noisy.ravel(), minlength=50)
    assert len(counts) == 50
    assert counts[1:].sum() == pytest.approx(100000 * 0.3 * 49 / 50, rel=0.03)
    assert counts[1:] == pytest.approx(np.full(49, 600), rel=0.25)
    assert (corpus.noisy(rows, 0, 50, seed=0, first=0) == rows).all()
    assert (corpus.noisy(rows + 7, 1, 2, seed=0, first=0) < 2).all()


def test_noise_depends_on_seed_and_row_number_only():
    rows = np.arange(600, dtype=np.int32).reshape(6, 100)
    whole = corpus.noisy(rows, 0.5, 1000, seed=3, first=40)
    parts = [corpus.noisy(rows[i : i + 1], 0.5, 1000, seed=3, first=40 + i) for i in range(6)]
    assert (whole == np.concatenate(parts)).all()
    changed = whole != rows
    assert len({tuple(row) for row in changed}) == 6
    assert (corpus.noisy(rows, 0.5, 1000, seed=4, first=40) != whole).any()


@pytest.mark.parametrize('probability', [-0.1, 1.1, float('nan'), '0.1', None, True])
def test_a_probability_is_from_0_to_1(probability):
    with pytest.raises(ValueError, match='probability of noise must be from 0 to 1'):
        corpus.noisy(np.zeros([1, 2], np.int32), probability, 50, seed=0, first=0)
