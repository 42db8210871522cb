import dataclasses
import json

import numpy as np
import pytest
from safetensors import numpy as library

from conversion.cut import hidden_states
from conversion.hugging_face import read_hugging_face, write_hugging_face
from conversion.model import Tensor
from conversion.vocabulary import merges_text
from encoder import bytes_to_unicode
from helpers.paths import ROOT, TESTDATA

DEMO = ROOT / 'models' / 'demo'
PYTORCH_MODEL = TESTDATA / 'pytorch_model'
TOKENS = [256, 72, 101, 108, 108, 111, 0, 255]


def same(model, other):
    assert model.hparams == other.hparams
    assert model.vocabulary == other.vocabulary
    assert set(model.tensors) == set(other.tensors)
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor.whole(), other.tensors[name].whole())


def test_what_is_written_is_read_again_bit_for_bit(demo, exported):
    same(read_hugging_face(str(exported)), demo)


def test_the_vocabulary_is_that_of_the_release(exported):
    assert (exported / 'merges.txt').read_bytes() == (DEMO / 'vocab.bpe').read_bytes()
    assert (exported / 'vocab.json').read_bytes() == (DEMO / 'encoder.json').read_bytes()


def test_config_says_which_token_ends_a_text_and_what_other_readers_want(exported):
    config = json.loads((exported / 'config.json').read_text('utf-8'))
    assert config['eos_token_id'] == config['bos_token_id'] == 4095
    assert config['vocab_size'] == 4096
    assert config['n_ctx'] == config['n_positions'] == 256
    assert config['dtype'] == 'float32'
    assert config['architectures'] == ['GPT2LMHeadModel']
    assert 'resid_pdrop' in config


def test_special_tokens_are_such_in_the_tokenizer_too(demo, tmp_path):
    end = '<|endoftext|>'
    embedding = Tensor((4097, 192), lambda start, stop: np.zeros((stop - start, 192), np.float32))
    model = dataclasses.replace(
        demo,
        hparams=dataclasses.replace(demo.hparams, n_vocab=4097),
        tensors=demo.tensors | {'model/wte': embedding},
        vocabulary=demo.vocabulary._replace(encoder=demo.vocabulary.encoder | {'<|pad|>': 4096}),
    )
    write_hugging_face(model, str(tmp_path))
    config = json.loads((tmp_path / 'tokenizer_config.json').read_text('utf-8'))
    added = config['added_tokens_decoder']
    assert {i: token['content'] for i, token in added.items()} == {'4095': end, '4096': '<|pad|>'}
    assert all(token['special'] for token in added.values())
    assert read_hugging_face(str(tmp_path)).vocabulary == model.vocabulary


@pytest.fixture
def with_tensors(exported, variant):
    """Make a folder whose tensors are changed: (change(tensors) -> files) -> path."""

    def make(change, **fields):
        folder = variant(**fields)
        tensors = library.load_file(exported / 'model.safetensors')
        (exported.__class__(folder) / 'model.safetensors').unlink()
        for name, content in change(tensors).items():
            if name.endswith('.json'):
                with open(f'{folder}/{name}', 'w', encoding='utf-8') as file:
                    json.dump(content, file)
            else:
                library.save_file(content, f'{folder}/{name}')
        return folder

    return make


def one(tensors):
    return {'model.safetensors': tensors}


def test_old_names_masks_and_a_tied_head_are_taken(with_tensors, demo):
    def change(tensors):
        tensors = {name.removeprefix('transformer.'): t for name, t in tensors.items()}
        tensors['h.0.attn.bias'] = np.tril(np.ones((1, 1, 256, 256), np.float32))
        tensors['h.0.attn.masked_bias'] = np.float32([-1e4])
        tensors['lm_head.weight'] = tensors['wte.weight'].copy()
        return one(tensors)

    same(read_hugging_face(with_tensors(change)), demo)


def test_a_head_of_its_own_is_refused(with_tensors):
    def change(tensors):
        head = tensors['transformer.wte.weight'].copy()
        head[-1, -1] += 1
        return one(tensors | {'lm_head.weight': head})

    with pytest.raises(ValueError, match=r'has an lm_head.weight of its own'):
        read_hugging_face(with_tensors(change))


def test_an_untied_model_without_its_head_is_refused(variant):
    with pytest.raises(ValueError, match='tie_word_embeddings false, but no lm_head.weight'):
        read_hugging_face(variant(tie_word_embeddings=False))


def test_weights_in_several_files_are_read(with_tensors, demo):
    def change(tensors):
        names = sorted(tensors)
        parts = {'a.safetensors': names[::2], 'b.safetensors': names[1::2]}
        index = {name: file for file, some in parts.items() for name in some}
        files = {file: {name: tensors[name] for name in some} for file, some in parts.items()}
        return files | {'model.safetensors.index.json': {'weight_map': index}}

    same(read_hugging_face(with_tensors(change)), demo)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda t: t.pop('transformer.h.2.ln_1.bias'), 'lacks 1 of 76 tensors: model/h2/ln_1/b'),
        (lambda t: t.update(score=np.zeros((2, 2))), 'holds score, which no GPT-2 has'),
        (
            lambda t: t.update({'transformer.wpe.weight': np.zeros((9, 192), np.float32)}),
            r'holds model/wpe with shape \[9, 192\] where its sizes ask for \[256, 192\]',
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(with_tensors, change, message):
    def changed(tensors):
        change(tensors)
        return one(tensors)

    with pytest.raises(ValueError, match=message):
        read_hugging_face(with_tensors(changed))


def test_a_folder_without_weights_says_what_it_lacks(with_tensors):
    with pytest.raises(ValueError, match='no weights: model.safetensors or pytorch_model.bin'):
        read_hugging_face(with_tensors(lambda tensors: {}))


def test_an_index_without_files_is_refused(with_tensors):
    index = {'model.safetensors.index.json': {'weight_map': [1]}}
    with pytest.raises(ValueError, match='index.json names no files'):
        read_hugging_face(with_tensors(lambda tensors: index))


@pytest.fixture
def old_model(tmp_path):
    """A folder as older versions of transformers have it: () -> path; files: those of weights."""

    def make(*files):
        tokens = [*bytes_to_unicode().values(), *(f'<{n}>' for n in range(32))]
        config = {
            'vocab_size': 288, 'n_positions': 16, 'n_embd': 8, 'n_head': 2, 'n_layer': 2,
            'activation_function': 'gelu',
        }  # fmt: skip
        (tmp_path / 'config.json').write_text(json.dumps(config), 'utf-8')
        vocabulary = {token: i for i, token in enumerate(tokens)}
        (tmp_path / 'vocab.json').write_text(json.dumps(vocabulary), 'utf-8')
        (tmp_path / 'merges.txt').write_text(merges_text([]), 'utf-8')
        for file in files:
            (tmp_path / file).symlink_to(PYTORCH_MODEL / file)
        return str(tmp_path)

    return make


def check_logits(model):
    """Raise AssertionError unless a model computes what PyTorch computed with its weights."""
    logits = hidden_states(model, TOKENS) @ model.tensors['model/wte'].whole().T
    expected = np.load(TESTDATA / 'nanogpt' / 'logits.npy')
    np.testing.assert_allclose(logits, expected, atol=2e-3)  # with the exact GELU


def test_a_file_of_pytorch_is_read(old_model):
    check_logits(read_hugging_face(old_model('pytorch_model.bin')))


def test_several_files_of_pytorch_are_read(old_model):
    parts = [f'pytorch_model-0000{number}-of-00002.bin' for number in (1, 2)]
    folder = old_model(*parts)
    index = {'weight_map': {'wte.weight': parts[0], 'ln_f.bias': parts[1]}}
    with open(f'{folder}/pytorch_model.bin.index.json', 'w', encoding='utf-8') as file:
        json.dump(index, file)
    check_logits(read_hugging_face(folder))


def test_a_file_of_pytorch_without_tensors_by_name_is_refused(old_model, tmp_path):
    folder = old_model()
    (tmp_path / 'pytorch_model.bin').symlink_to(TESTDATA / 'nanogpt' / 'ckpt.pt')
    with pytest.raises(ValueError, match='pytorch_model.bin does not hold tensors by name'):
        read_hugging_face(folder)
