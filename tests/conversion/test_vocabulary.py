import json

import pytest

from conversion.vocabulary import Vocabulary, fitted, read_vocabulary


def write(folder, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace('_json', '.json').replace('_txt', '.txt')).write_text(text, 'utf-8')
    return str(folder)


def tokenizer(vocabulary, merges, added=()):
    return {
        'model': {'type': 'BPE', 'vocab': vocabulary.encoder, 'merges': merges},
        'added_tokens': [{'content': token, 'id': i} for token, i in added],
    }


def merges_of(vocabulary):
    return vocabulary.merges.split('\n')[1:-1]


@pytest.mark.parametrize('split', [str.split, str], ids=['pairs', 'texts'])
def test_a_tokenizer_json_alone_is_enough(tmp_path, demo, split):
    merges = [split(merge) for merge in merges_of(demo.vocabulary)]
    folder = write(tmp_path, tokenizer_json=tokenizer(demo.vocabulary, merges))
    assert read_vocabulary(folder) == demo.vocabulary


def test_added_tokens_are_tokens(tmp_path, demo):
    added = [('<|pad|>', 4096)]
    folder = write(
        tmp_path, tokenizer_json=tokenizer(demo.vocabulary, merges_of(demo.vocabulary), added)
    )
    assert read_vocabulary(folder).encoder['<|pad|>'] == 4096


def test_added_tokens_in_a_file_of_their_own_are_tokens(tmp_path, demo):
    folder = write(
        tmp_path,
        vocab_json=demo.vocabulary.encoder,
        merges_txt=demo.vocabulary.merges,
        added_tokens_json={'[PAD]': 4096},
    )
    assert read_vocabulary(folder).encoder['[PAD]'] == 4096


def test_a_folder_without_a_vocabulary_has_none(tmp_path):
    assert read_vocabulary(str(tmp_path)) is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'model': {'type': 'WordPiece'}}, "is of type 'WordPiece', not BPE"),
        ({}, 'is no tokenizer of Hugging Face'),
        ([], 'is no tokenizer of Hugging Face'),
        ({'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': []}}, 'lacks 255 of 256 byte'),
        ('{', 'is not JSON'),
    ],
)
def test_what_is_no_byte_level_bpe_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_vocabulary(write(tmp_path, tokenizer_json=content))


def test_added_tokens_without_a_row_are_left_out(demo):
    more = demo.vocabulary._replace(encoder=demo.vocabulary.encoder | {'<|pad|>': 4096})
    kept, remarks = fitted(more, 4096)
    assert kept == demo.vocabulary
    assert remarks == [
        'left out 1 added tokens that the embedding has no row for, or '
        'whose ids leave a gap: <|pad|>'
    ]
    assert fitted(more, 4097) == (more, [])


def test_other_tokens_without_a_row_are_an_error(demo):
    with pytest.raises(ValueError, match='has 3,000 rows for 4,096 tokens'):
        fitted(Vocabulary(*demo.vocabulary), 3000)


def test_added_tokens_of_transformers_5_beside_older_files_are_tokens(tmp_path, demo):
    folder = write(
        tmp_path,
        vocab_json=demo.vocabulary.encoder,
        merges_txt=demo.vocabulary.merges,
        tokenizer_json=tokenizer(demo.vocabulary, [], [('<|pad|>', 4096)]),
    )
    assert read_vocabulary(folder).encoder['<|pad|>'] == 4096


def test_added_tokens_after_a_gap_are_left_out(demo):
    more = {'<a>': 4096, '<b>': 4098, '<c>': 4099}
    kept, remarks = fitted(demo.vocabulary._replace(encoder=demo.vocabulary.encoder | more), 5000)
    assert len(kept.encoder) == 4097
    assert kept.encoder['<a>'] == 4096
    assert remarks[0].endswith('leave a gap: <b>, <c>')


@pytest.mark.parametrize(('name', 'content'), [('vocab_json', []), ('added_tokens_json', 3)])
def test_vocabularies_of_other_kinds_are_refused(tmp_path, demo, name, content):
    files = {'vocab_json': demo.vocabulary.encoder, 'merges_txt': demo.vocabulary.merges}
    with pytest.raises(ValueError, match='has no dict of tokens'):
        read_vocabulary(write(tmp_path, **files | {name: content}))
