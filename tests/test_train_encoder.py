"""Learned vocabularies against a slow trainer, Hugging Face's encoder and the released format."""

import collections
import itertools
import json
import os
import random
import re
import signal
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import train_encoder
from encoder import SPLIT, Encoder, bytes_to_unicode, get_encoder

ALPHABET = list(bytes_to_unicode().values())
PROSE = """\
It is a truth which nobody has measured, that a tokenizer in possession of a good corpus must be in
want of merges. However little known the counts of such a corpus may be when it's first read, they
are so well fixed by the order of its pairs that they'll come out the same for every reader. "My
dear reader," said the trainer to him one day, "have you heard that the corpus is read at last?"
The reader replied that he hadn't; that 1813 of 2019 words aren't read by anybody. -- "But it is!"
"""


def slow_merges(documents, n_merges, min_frequency=2):
    """Algorithm 1 of Sennrich et al. 2016: count all pairs, merge the most frequent, repeat."""
    words = collections.Counter()
    for document in documents:
        for word in SPLIT.findall(document):
            words[tuple(bytes_to_unicode()[byte] for byte in word.encode('utf-8'))] += 1
    ids = {token: i for i, token in enumerate(ALPHABET)}
    merges = []
    while len(merges) < n_merges:
        counts = collections.Counter()
        for word, count in words.items():
            for left, right in itertools.pairwise(word):
                counts[left, right] += count
        if not counts or max(counts.values()) < min_frequency:
            break
        pair = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]))
        merges.append(pair)
        ids[''.join(pair)] = len(ids)
        joined = collections.Counter()
        for word, count in words.items():
            joined[join(word, pair)] += count
        words = joined
    return merges


def join(word, pair):
    symbols = []
    for symbol in word:
        if symbols and (symbols[-1], symbol) == pair:
            symbols[-1] = ''.join(pair)
        else:
            symbols.append(symbol)
    return tuple(symbols)


def random_words(letters, longest, seed):
    draw = random.Random(seed)
    word_lengths = [draw.randint(1, longest) for _ in range(60)]
    return ' '.join(''.join(draw.choice(letters) for _ in range(n)) for n in word_lengths)


@pytest.fixture
def train(call, no_tensorflow, tmp_path):
    """Learn models/new from files: (*flags, **{name: content}) -> (status, output, errors)."""

    def run(*flags, name='new', **contents):
        paths = []
        for stem, content in (contents or {'text': PROSE}).items():
            ending = '.txt' if isinstance(content, str) else '.jsonl'
            paths.append(tmp_path / (stem + ending))
            if not isinstance(content, str):
                content = ''.join(json.dumps({'text': text}) + '\n' for text in content)
            paths[-1].write_bytes(content.encode('utf-8'))
        common = (name, *paths, '--models_dir', tmp_path / 'models')
        return call(train_encoder.train_encoder, *common, *flags)

    return run


@pytest.fixture
def new(tmp_path):
    return tmp_path / 'models' / 'new'


def load(folder):
    return get_encoder(folder.name, str(folder.parent))


# What is learned


@pytest.mark.parametrize(
    'documents',
    [
        PROSE.splitlines(keepends=True),
        [random_words('ab', 9, seed=1), random_words('abc', 5, seed=2)],
        [random_words('a', 20, seed=3), random_words('a-', 30, seed=4)],
        [random_words('é日🎉ab', 4, seed=5)],
        [' \n\n  a\t\t\n b  \r\n\r\n  ' * 5, ' \n c'] * 3,
    ],
    ids=['prose', 'ties', 'runs', 'unicode', 'whitespace'],
)
@pytest.mark.parametrize('min_frequency', [1, 3])
def test_merges_are_those_of_the_definition(documents, min_frequency):
    expected = slow_merges(documents, 150, min_frequency)
    assert train_encoder.learn_merges(documents, 150, min_frequency) == expected
    assert len(expected) > 10


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aab -'s\n1é")), min_size=1, max_size=8), st.integers(0, 25)
)
def test_merges_of_any_text_are_those_of_the_definition(documents, n_merges):
    merges = train_encoder.learn_merges(documents, n_merges)
    assert merges == slow_merges(documents, n_merges)
    # No token is made twice or cannot be reached: that is what the fast path requires.
    assert Encoder(train_encoder.number_tokens(merges), merges).fast_path is not None


def words_of_trainer(text):
    return [
        text[slice(*place)] for _, place in train_encoder.word_splitter().pre_tokenize_str(text)
    ]


def test_words_are_those_of_the_encoder_at_every_80th_code_point():
    code_points = [*range(0x250), *range(0x250, 0xD800, 80), *range(0xE000, 0x110000, 80)]
    text = ''.join(f'{c}a {c}1{c}.' for c in map(chr, code_points))
    assert words_of_trainer(text) == SPLIT.findall(text)


@settings(deadline=None)
@given(st.text(st.sampled_from(" \n\r\t\u3000\x85a1.'s日")))
def test_words_are_those_of_the_encoder_where_whitespace_ends_a_line(text):
    assert words_of_trainer(text) == SPLIT.findall(text)


@pytest.mark.parametrize('size', [1, 7, 60])
def test_cutting_a_document_into_pieces_changes_nothing(monkeypatch, size):
    text = PROSE + ' \n\n  a\t\t\n b  ' * 5
    whole = train_encoder.learn_merges([text], 100)
    monkeypatch.setattr(train_encoder, 'PART_CHARACTERS', size)
    pieces = list(train_encoder.parts([text, 'end'], 'cutting'))
    assert len(pieces) > len(text) / size / 10
    assert ''.join(pieces) == text + 'end'
    assert train_encoder.learn_merges([text], 100) == whole


def test_no_merge_crosses_documents(train, new):
    assert train('--n_vocab', 260, letters=['x', 'y'] * 20)[0] == 0
    assert load(new).bpe_ranks == {}
    assert train('--n_vocab', 258, name='control', letters=['xy'] * 20)[0] == 0
    assert list(load(new.with_name('control')).bpe_ranks) == [('x', 'y')]


def test_a_separator_is_not_learned_from(train, new):
    text = 'one\n<|endoftext|>\ntwo one\n' * 9
    flags = ('--n_vocab', 262, '--separator', '<|endoftext|>')
    status, output, errors = train(*flags, text=text)
    assert (status, errors) == (0, '')
    assert list(load(new).bpe_ranks) == slow_merges(['one\n', 'two one\n'] * 9, 5)
    assert '<' not in ''.join(map(''.join, load(new).bpe_ranks))
    assert train('--separator', '***', name='other', text=text)[0] == 2


def test_the_name_of_the_end_token_is_ordinary_text(train, new):
    text = 'one<|endoftext|>two <|endoftext|> ' * 9
    status, _, errors = train('--n_vocab', 280, text=text)
    assert status == 0 and errors.startswith('note: <|endoftext|> is in the text 18 times')
    enc = load(new)
    assert list(enc.bpe_ranks) == slow_merges([text], 23)
    assert enc.special == {'<|endoftext|>'}
    tokens = enc.encode('<|endoftext|>')
    assert enc.decode(tokens) == '<|endoftext|>' and enc.end_of_text not in tokens
    assert {'<|', 'endoftext', '|>'} <= set(enc.encoder)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a vocabulary learned from PROSE and some words of random letters."""
    folder = tmp_path_factory.mktemp('models')
    merges = train_encoder.learn_merges([PROSE, random_words('é日🎉', 4, seed=6)], 200, 1)
    train_encoder.write_vocabulary(
        str(folder / 'trained'), train_encoder.number_tokens(merges), merges
    )
    return folder / 'trained'


def test_ids_equal_hugging_face_tokenizers(trained):
    import tokenizers

    model = tokenizers.models.BPE.from_file(
        str(trained / 'encoder.json'), str(trained / 'vocab.bpe')
    )
    peer = tokenizers.Tokenizer(model)
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    enc = load(trained)
    assert len(enc.bpe_ranks) == 200
    draw = random.Random(7)
    parts = [*PROSE.split(), *" \n\t'’٣ª²é日🎉\u3000\x85\u200b\0-", '<|endoftext|>', '  ', "'ll"]
    for _ in range(300):
        text = ''.join(draw.choice(parts) for _ in range(draw.randint(1, 40)))
        assert enc.encode(text) == peer.encode(text).ids


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back(trained, text):
    enc = load(trained)
    assert enc.decode(enc.encode(text)) == text


def test_text_that_was_not_learned_takes_fewer_tokens_than_bytes(trained):
    text = 'The reader, said one of the trainers, has at last heard of it; they have not.'
    assert len(load(trained).encode(text)) < 0.6 * len(text)


# What is written


def test_the_files_have_the_released_format(train, new):
    text = 'ab ab ab éé\n'
    assert train('--n_vocab', 260, text=text) == (
        0,
        f'wrote {new}: 3 merges, 2.000 bytes per token\n',
        '',
    )
    merges = b'a b\n\xc3\x83 \xc2\xa9\n\xc4\xa0 ab\n'
    assert (new / 'vocab.bpe').read_bytes() == b'#version: 0.2\n' + merges
    assert sorted(os.listdir(new)) == ['encoder.json', 'vocab.bpe']


def test_ids_count_bytes_then_merges_then_the_end_token(train, new, gpt2_vocabulary):
    assert train('--n_vocab', 300)[0] == 0
    ids = json.loads((new / 'encoder.json').read_bytes())
    released = json.loads((gpt2_vocabulary / 'encoder.json').read_bytes())
    assert list(ids.values()) == list(range(300))
    assert list(ids)[:256] == sorted(released, key=released.get)[:256]
    version, *lines = (new / 'vocab.bpe').read_text(encoding='utf-8').splitlines()
    assert list(ids)[256:] == [*(line.replace(' ', '') for line in lines), '<|endoftext|>']
    assert load(new).n_vocab == 300


def test_a_vocabulary_of_bytes_alone(train, new):
    status, output, errors = train('--n_vocab', 257)
    assert (status, errors) == (0, '')
    assert output == f'wrote {new}: 0 merges, 1.000 bytes per token\n'
    assert (new / 'vocab.bpe').read_bytes() == b'#version: 0.2\n'
    assert load(new).encode('ab') == [64, 65]


def test_a_text_with_fewer_merges_says_so(train, new):
    status, output, errors = train('--min_frequency', 3, text='abc abc abc xy xy')
    assert status == 0 and output.startswith(f'wrote {new}: 2 merges, ')
    assert errors == (
        'note: 259 tokens, not 4096:'
        ' the text has only 2 pairs to merge that occur 3 times or more\n'
    )
    assert load(new).n_vocab == 259


def test_bytes_per_token_are_those_of_all_documents(train, new):
    documents = ['naïve ' * 30, PROSE, 'z']
    _, output, _ = train('--n_vocab', 320, some=documents[:2], more=documents[2:])
    enc = load(new)
    n_bytes = sum(len(text.encode('utf-8')) for text in documents)
    n_tokens = sum(len(enc.encode(text)) for text in documents)
    assert output == f'wrote {new}: 63 merges, {n_bytes / n_tokens:.3f} bytes per token\n'
    assert n_bytes / n_tokens > 1.5


@pytest.mark.parametrize('n_threads', ['1', '3'])
def test_files_do_not_depend_on_run_or_threads(run_script, train, new, tmp_path, n_threads):
    text = [random_words('abcd', 6, seed) for seed in range(200)]  # full of ties
    train('--n_vocab', 600, text=text)
    result = run_script(
        'src/train_encoder.py',
        *('again', tmp_path / 'text.jsonl', '--n_vocab', 600, '--models_dir', new.parent),
        env={'RAYON_NUM_THREADS': n_threads, 'TOKENIZERS_PARALLELISM': 'true'},
    )
    assert (result.returncode, result.stderr) == (0, '')
    assert re.fullmatch(r'wrote .*again: 343 merges, \d\.\d{3} bytes per token\n', result.stdout)
    for name in ('encoder.json', 'vocab.bpe'):
        assert (new / name).read_bytes() == (new.parent / 'again' / name).read_bytes()


# What is left alone, and left behind


@pytest.mark.parametrize('name', ['encoder.json', 'vocab.bpe'])
def test_a_vocabulary_that_is_there_is_refused_before_the_work(train, new, monkeypatch, name):
    monkeypatch.setattr(train_encoder, 'learn_merges', None)
    new.mkdir(parents=True)
    (new / name).write_text('mine', encoding='utf-8')
    assert train() == (2, '', f'error: {new / name} is there already\n')
    assert os.listdir(new) == [name]
    assert (new / name).read_text(encoding='utf-8') == 'mine'


def test_a_vocabulary_that_appears_meanwhile_is_not_replaced(train, new, monkeypatch):
    def slow(*_):
        new.mkdir(parents=True, exist_ok=True)
        (new / 'vocab.bpe').write_text('mine', encoding='utf-8')
        return 1, 0

    monkeypatch.setattr(train_encoder, 'measure', slow)
    assert train() == (2, '', f'error: {new / "vocab.bpe"} is there already\n')
    assert (new / 'vocab.bpe').read_text(encoding='utf-8') == 'mine'
    assert os.listdir(new) == ['vocab.bpe'] and os.listdir(new.parent) == ['new']


def test_a_folder_without_a_vocabulary_gets_one(train, new):
    new.mkdir(parents=True)
    (new / 'hparams.json').write_text('{}', encoding='utf-8')
    assert train('--n_vocab', 260)[0] == 0
    assert sorted(os.listdir(new)) == ['encoder.json', 'hparams.json', 'vocab.bpe']
    assert os.listdir(new.parent) == ['new']
    assert load(new).n_vocab == 260


@pytest.mark.parametrize('folder_is_there', [False, True])
def test_a_full_disk_leaves_nothing_behind(train, new, monkeypatch, folder_is_there):
    if folder_is_there:
        new.mkdir(parents=True)
    written = []

    def dump(ids, file):
        written.append(file.write('{'))
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(train_encoder.json, 'dump', dump)
    status, output, errors = train()
    assert (status, output) == (2, '') and 'No space left' in errors
    assert written and list(new.parent.rglob('*')) == [new] * folder_is_there


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems have no such file names')
def test_a_name_that_is_not_utf8_is_shown_escaped(train, new):
    name = os.fsdecode(b'n\xff')
    status, output, _ = train('--n_vocab', 260, name=name)
    assert (status, sorted(os.listdir(new.with_name(name)))) == (0, ['encoder.json', 'vocab.bpe'])
    assert output.startswith(f'wrote {new.parent}/n\\udcff: 3 merges')


def test_the_folder_can_be_read_by_others(train, new):
    assert train('--n_vocab', 260)[0] == 0
    if os.name != 'nt':
        assert new.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--n_vocab', 256], 'n_vocab must be a whole number of at least 257 .*, not 256'),
        (['--n_vocab', 'all'], "n_vocab must be .* not 'all'"),
        (['--n_vocab', 2**31], 'n_vocab must be .* below 16777216, not 2147483648'),
        (['--min_frequency', 0], 'min_frequency must be a whole number of at least 1 .*, not 0'),
        (['--min_frequency', 1.5], 'min_frequency must be .*, not 1.5'),
        (['--vocab', 300], 'unknown flag --vocab; did you mean --n_vocab?'),
        (['nowhere.txt'], 'there is no file or folder nowhere.txt'),
    ],
)
def test_wrong_values_are_one_line(train, new, flags, message):
    status, output, errors = train(*flags)
    assert (status, output, errors.count('\n')) == (2, '', 1)
    assert re.search(message, errors)
    assert not new.parent.exists()


@pytest.mark.parametrize('name', ['../outside', '.', ''])
def test_a_name_cannot_lead_out_of_the_models_folder(train, tmp_path, name):
    status, _, errors = train(name=name)
    assert (status, errors.count('\n')) == (2, 1)
    assert re.search('model name .* does not name a folder inside', errors)
    assert not list(tmp_path.rglob('*.json'))


@pytest.mark.parametrize(
    'content, message',
    [
        ('', 'there is no text in'),
        (['', ''], 'there is no text in'),
        (['fine', '\ud800'], 'line 2: character 0 of the text is the lone surrogate'),
    ],
)
def test_text_that_cannot_be_used_leaves_nothing_behind(train, new, content, message):
    status, output, errors = train(text=content)
    assert (status, output, errors.count('\n')) == (2, '', 1)
    assert message in errors
    assert os.listdir(new.parent) == []


def test_no_source_at_all(call, tmp_path):
    status, _, errors = call(train_encoder.train_encoder, 'new', '--models_dir', tmp_path)
    assert (status, errors) == (
        2,
        'error: name at least one file or folder of text to learn from\n',
    )


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs named pipes')
def test_a_pipe_is_refused_before_it_is_read(call, tmp_path, monkeypatch):
    monkeypatch.setattr(train_encoder, 'learn_merges', None)
    os.mkfifo(tmp_path / 'pipe')
    status, _, errors = call(
        train_encoder.train_encoder, 'new', tmp_path / 'pipe', '--models_dir', tmp_path
    )
    assert status == 2 and 'the text has to be read twice' in errors


def test_a_file_in_the_way_is_named(train, new):
    new.parent.mkdir()
    new.write_text('mine', encoding='utf-8')
    assert train() == (2, '', f'error: {new} is not a folder\n')


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(train, tmp_path, monkeypatch):
    monkeypatch.setattr(train_encoder, 'learn_merges', None)
    status, output, errors = train('--models_dir', tmp_path / 'text.txt')
    assert (status, output, errors.count('\n')) == (2, '', 1)
    assert str(tmp_path / 'text.txt') in errors


def test_without_tokenizers_a_line_says_what_to_install(train, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    assert train() == (
        2,
        '',
        "error: learning a vocabulary needs Hugging Face's tokenizers: pip install tokenizers\n",
    )


def test_ctrl_c_ends_the_process_only_while_it_learns(train, monkeypatch):
    seen = []
    learn = train_encoder.learn_merges

    def watched(*arguments):
        seen.append(signal.getsignal(signal.SIGINT))
        return learn(*arguments)

    monkeypatch.setattr(train_encoder, 'learn_merges', watched)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        train('--n_vocab', 260)
        assert seen == [signal.SIG_DFL]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
