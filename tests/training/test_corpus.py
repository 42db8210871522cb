import itertools
import json
import os
import pathlib
import sys
import tempfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder import CHUNK_CHARACTERS, END_OF_TEXT, get_encoder
from helpers.memory import peak_memory
from helpers.paths import ROOT
from helpers.texts import byte_encoder, write_lines
from loading.model_files import vocabulary_sha256
from support import documents
from training import corpus
from training.windows import open_tokens

MODELS = ROOT / 'models'
END = 256
TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=40)
DOCUMENTS = st.lists(TEXT | st.just(f'a {END_OF_TEXT} b'), min_size=1, max_size=8)
property_test = settings(max_examples=100, deadline=None, database=None)


BYTES = byte_encoder()
DEMO = get_encoder('demo', MODELS)


def documents_of(path, encoder=BYTES):
    """The documents of a file of tokens: what stands before each end token."""
    tokens = open_tokens(path).tolist()
    assert tokens[-1] == encoder.end_of_text
    ends = [i for i, token in enumerate(tokens) if token == encoder.end_of_text]
    starts = [0, *(end + 1 for end in ends)]
    return [encoder.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=False)]


def splits_of(folder, encoder=BYTES):
    return [documents_of(folder / f'{split}.npy', encoder) for split in ('train', 'validation')]


def described(folder):
    return json.loads((folder / 'corpus.json').read_text(encoding='utf-8'))


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
        corpus.encode_corpus(corpus.Sources([source]), encoder, folder, validation=0.4, seed=seed)
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
    corpus.encode_corpus(corpus.Sources([source]), DEMO, tmp_path / 'out', validation=0)
    expected = [i for text in documents for i in [*DEMO.encode(text), DEMO.end_of_text]]
    assert np.load(tmp_path / 'out' / 'train.npy', mmap_mode='r').tolist() == expected


@pytest.mark.parametrize('end, dtype', [(256, 'uint16'), (65535, 'uint16'), (65536, 'uint32')])
def test_tokens_are_as_wide_as_the_vocabulary_needs(tmp_path, end, dtype):
    (tmp_path / 'a.txt').write_bytes(b'AB')
    corpus.encode_corpus(
        corpus.Sources([tmp_path / 'a.txt']), byte_encoder(end), tmp_path, validation=0
    )
    tokens = np.load(tmp_path / 'train.npy')
    assert (tokens.dtype, tokens.tolist()) == (np.dtype(dtype), [65, 66, end])


@pytest.mark.filterwarnings('error')  # a file that is not closed cannot be moved on Windows
def test_the_description_says_what_was_written_and_from_what(tmp_path):
    documents = ['one', 'zwölf', f'{END_OF_TEXT}', '日本']
    source = write_lines(tmp_path / 'a.jsonl', documents)
    folder = tmp_path / 'deep' / 'out'
    returned = corpus.encode_corpus(corpus.Sources([source]), BYTES, folder, validation=0.5, seed=3)
    assert sorted(os.listdir(folder)) == ['corpus.json', 'train.npy', 'validation.npy']
    assert described(folder) == returned
    for split, texts in zip(('train', 'validation'), splits_of(folder), strict=True):
        size = len(''.join(texts).encode('utf-8'))
        counts = {'documents': len(texts), 'tokens': size + len(texts), 'bytes': size}
        assert returned.pop(split) == counts
    assert returned.pop('vocabulary_sha256') == vocabulary_sha256(byte_encoder())
    assert returned == {
        'split': 'document',
        'sources': [str(source)],
        'validation_sources': None,
        'validation_fraction': 0.5,
        'separator': None,
        'spelled_ends': 1,
        'seed': 3,
        'n_vocab': 257,
    }


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems have no such file names')
def test_a_source_may_have_a_name_that_is_not_utf8(tmp_path):
    source = tmp_path / os.fsdecode(b'\xff.txt')
    source.write_bytes(b'some text')
    corpus.encode_corpus(corpus.Sources([source]), BYTES, tmp_path)
    assert described(tmp_path)['sources'] == [str(source)]


def test_progress_adds_up_to_the_bytes_of_text(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 1000)
    source = write_lines(tmp_path / 'a.jsonl', ['日本 ' * 100] * 30)
    done = []
    written = corpus.encode_corpus(corpus.Sources([source]), BYTES, tmp_path, progress=done.append)
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
        corpus.encode_corpus(corpus.Sources([source]), BYTES, folder, validation=0.1, seed=5)
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
    written = corpus.encode_corpus(
        corpus.Sources([tmp_path / 'a.txt']), BYTES, tmp_path, validation=0.1
    )
    assert written['split'] == 'tail'
    ((head,), (tail,)) = splits_of(tmp_path)
    assert head + tail == ''.join(lines)
    assert head.endswith('\n') and tail.startswith('line ')
    assert tail.count('\n') == pytest.approx(100, abs=50)


def parts(document, fraction):
    return [''.join(documents.pieces(part)) for part in corpus.cut(document, fraction)]


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
    assert parts(text, fraction) == [text.removesuffix(tail), tail]


@property_test
@given(st.text('ab. \n', min_size=2), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_cut_loses_nothing_and_leaves_something_on_each_side(text, fraction):
    head, tail = parts(text, fraction)
    assert head and tail and head + tail == text
    assert 0.5 * len(text) * fraction - 1 <= len(tail) <= 1.5 * len(text) * fraction + 1


def test_a_document_of_one_character_cannot_be_cut(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'a')
    with pytest.raises(ValueError, match='1 character: .*; --validation 0 holds'):
        corpus.encode_corpus(corpus.Sources([tmp_path / 'a.txt']), BYTES, tmp_path / 'out')


def test_nothing_is_held_out_with_a_fraction_of_0(tmp_path):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    written = corpus.encode_corpus(corpus.Sources([source]), BYTES, tmp_path / 'out', validation=0)
    assert (written['split'], written['train']['documents']) == ('none', 3)
    assert 'validation' not in written
    assert sorted(os.listdir(tmp_path / 'out')) == ['corpus.json', 'train.npy']


def test_validation_may_have_sources_of_its_own(tmp_path):
    train = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    held_out = write_lines(tmp_path / 'b.jsonl', ['d', 'e'])
    written = corpus.encode_corpus(
        corpus.Sources([train]),
        BYTES,
        tmp_path / 'out',
        validation_sources=corpus.Sources([held_out]),
    )
    assert splits_of(tmp_path / 'out') == [['a', 'b', 'c'], ['d', 'e']]
    assert (written['split'], written['validation_sources']) == ('sources', [str(held_out)])
    assert written['validation_fraction'] is None


def test_what_is_learned_is_not_held_out(tmp_path):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    source = os.path.join(tmp_path, '.', source.name)
    with pytest.raises(ValueError, match=r'a\.jsonl is in the sources and in the validation'):
        corpus.encode_corpus(
            corpus.Sources([source]),
            BYTES,
            tmp_path / 'out',
            validation_sources=corpus.Sources([tmp_path]),
        )


def test_separators_split_a_text_and_are_no_part_of_it(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'one\n***\ntwo\n***\nthree')
    separator = documents.Separator('***')
    sources = corpus.Sources([tmp_path / 'a.txt'], separator)
    written = corpus.encode_corpus(sources, BYTES, tmp_path, validation=0)
    assert documents_of(tmp_path / 'train.npy') == ['one\n', 'two\n', 'three']
    assert written['separator'] == '***'


def test_held_out_text_may_be_one_document_where_the_other_is_separated(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'one***two')
    (tmp_path / 'b.txt').write_bytes(b'three')
    separator = documents.Separator('***')
    train, held_out = (corpus.Sources([tmp_path / name], separator) for name in ('a.txt', 'b.txt'))
    corpus.encode_corpus(train, BYTES, tmp_path, validation_sources=held_out)
    assert splits_of(tmp_path) == [['one', 'two'], ['three']]


def test_the_end_token_spelled_out_is_counted_and_noted(tmp_path, capsys):
    text = f'one\n{END_OF_TEXT}\ntwo {END_OF_TEXT}three ' * 700
    (tmp_path / 'a.txt').write_text(text, encoding='utf-8')
    written = corpus.encode_with_progress(
        corpus.Sources([tmp_path / 'a.txt']), BYTES, tmp_path, validation=0.3, seed=0
    )
    assert written['spelled_ends'] == described(tmp_path)['spelled_ends'] == 1400
    assert capsys.readouterr().err == (
        'note: <|endoftext|> is in the text 1,400 times. It is read as these letters and ends no '
        "document; --separator '<|endoftext|>' splits documents there\n"
    )
    separated = corpus.Sources([tmp_path / 'a.txt'], documents.Separator(END_OF_TEXT))
    corpus.encode_with_progress(separated, BYTES, tmp_path / 'out', validation=0.3, seed=0)
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('link', ['same', 'folder', 'symbolic', 'hard'])
def test_a_file_named_twice_would_lie_on_both_sides(tmp_path, link):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b', 'c'])
    other = tmp_path if link == 'folder' else source
    if link in ('symbolic', 'hard'):
        other = tmp_path / 'other.jsonl'
        (os.symlink if link == 'symbolic' else os.link)(source, other)
    sources = corpus.Sources([source, other])
    with pytest.raises(ValueError, match=r'\.jsonl is named twice and could be both learned and'):
        corpus.encode_corpus(sources, BYTES, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    written = corpus.encode_corpus(sources, BYTES, tmp_path / 'out', validation=0)
    assert written['train']['documents'] == 6


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
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(tmp_path, changes, message):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    sources = corpus.Sources([source])
    arguments = {'sources': sources, 'encoder': BYTES, 'folder': tmp_path / 'out'} | changes
    with pytest.raises(ValueError, match=message):
        corpus.encode_corpus(**arguments)
    assert os.listdir(tmp_path) == ['a.jsonl']


def test_sources_that_are_not_there_are_refused_as_they_are_named():
    with pytest.raises(ValueError, match='there is no file or folder nowhere'):
        corpus.Sources(['nowhere'])


@pytest.mark.parametrize('name', ['corpus.json', 'train.npy', 'validation.npy'])
def test_files_that_are_there_are_not_replaced(tmp_path, name):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    (tmp_path / name).write_text('mine', encoding='utf-8')
    with pytest.raises(ValueError, match=f'holds {name} already'):
        corpus.encode_corpus(
            corpus.Sources([source]), BYTES, tmp_path, progress=lambda n: pytest.fail('too late')
        )
    assert (tmp_path / name).read_text(encoding='utf-8') == 'mine'


def test_nor_are_those_that_come_meanwhile(tmp_path):
    source = write_lines(tmp_path / 'a.jsonl', ['a', 'b'])
    folder = tmp_path / 'out'

    def finish_first(n):
        (folder / 'validation.npy').write_text('mine', encoding='utf-8')

    with pytest.raises(ValueError, match='holds validation.npy already'):
        corpus.encode_corpus(corpus.Sources([source]), BYTES, folder, progress=finish_first)
    assert os.listdir(folder) == ['validation.npy']


def test_bad_input_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 10)
    (tmp_path / 'a.jsonl').write_text('{"text": "some text"}\n' * 50 + '?', encoding='utf-8')
    with pytest.raises(ValueError, match='line 51'):
        corpus.encode_corpus(corpus.Sources([tmp_path / 'a.jsonl']), BYTES, tmp_path / 'out')
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
        corpus.encode_corpus(corpus.Sources([source]), BYTES, folder, progress=interrupt)
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
        corpus.encode_corpus(corpus.Sources([source]), BYTES, tmp_path / 'out')
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
            corpus.encode_corpus(corpus.Sources([tmp_path / 'a.txt']), BYTES, tmp_path / 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path / 'out') == []


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 2**15)
    document = 'The quick brown fox jumps over the lazy dog.\n' * 50

    def peak(n):
        source = write_lines(tmp_path / f'{n}.jsonl', [document] * n)
        return peak_memory(
            lambda: corpus.encode_corpus(corpus.Sources([source]), DEMO, tmp_path / f'out{n}')
        )

    peak(10)  # builds the encoder's fast path
    assert peak(1000) < peak(100) + 2**18 < len(document) * 1000


@pytest.mark.parametrize('n_files', [1, 2])
def test_memory_does_not_grow_with_a_document_that_is_a_file(tmp_path, monkeypatch, n_files):
    monkeypatch.setattr(corpus, 'BATCH_CHARACTERS', 2**15)
    monkeypatch.setattr(corpus, 'CUT_CHARACTERS', 2**10)
    monkeypatch.setattr(documents, 'BLOCK_BYTES', 2**14)
    line = 'The quick brown fox jumps over the lazy dog. 🦊\n'.encode()

    def peak(n_lines):
        sources = [tmp_path / f'{n_lines} {number}.txt' for number in range(n_files)]
        for source in sources:
            source.write_bytes(line * n_lines)
        out = tmp_path / f'out{n_lines}'
        return peak_memory(lambda: corpus.encode_corpus(corpus.Sources(sources), DEMO, out))

    peak(10)  # builds the encoder's fast path
    assert peak(60_000) < peak(10_000) + 2**18 < len(line) * 50_000


def test_a_file_in_pieces_becomes_the_tokens_of_its_whole_text(tmp_path, monkeypatch):
    text = ''.join(f'Line {n}.\n' + ' \n' * (n % 3) + '日本 🤖' * (n % 5) for n in range(500))
    (tmp_path / 'a.txt').write_bytes(text.encode('utf-8'))
    monkeypatch.setattr(documents, 'BLOCK_BYTES', 100)
    corpus.encode_corpus(corpus.Sources([tmp_path / 'a.txt']), DEMO, tmp_path, validation=0.1)
    head, tail = parts(text, 0.1)
    for split, expected in zip(corpus.SPLITS, (head, tail), strict=True):
        tokens = np.load(tmp_path / f'{split}.npy').tolist()
        assert tokens == [*DEMO.encode(expected), DEMO.end_of_text]
