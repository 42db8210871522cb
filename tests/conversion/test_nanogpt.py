import json

import numpy as np
import pytest

from conversion.cut import PROBE, cut_to_vocabulary, hidden_states, probability_of_rest
from conversion.kinds import read_model
from conversion.model import Tensor
from conversion.torch_file import read_torch
from conversion.vocabulary import merges_text
from encoder import Encoder, bytes_to_unicode
from helpers.paths import TESTDATA

FILES = TESTDATA / 'nanogpt'
TOKENS = [256, 72, 101, 108, 108, 111, 0, 255]


@pytest.fixture
def vocabulary(tmp_path):
    """A folder with a vocabulary of 257 tokens: the bytes, and <|endoftext|>."""
    folder = tmp_path / 'vocabulary'
    folder.mkdir()
    tokens = {token: i for i, token in enumerate([*bytes_to_unicode().values(), '<|endoftext|>'])}
    (folder / 'encoder.json').write_text(json.dumps(tokens), 'utf-8')
    (folder / 'vocab.bpe').write_text(merges_text([]), 'utf-8')
    return str(folder)


@pytest.mark.parametrize('bias', ['', '_without_bias'])
def test_the_function_is_that_of_nanogpt(vocabulary, bias):
    kind, model = read_model(str(FILES / f'ckpt{bias}.pt'), vocabulary)
    assert kind == 'nanogpt'
    assert model.hparams.values() == {
        'n_vocab': 288, 'n_ctx': 16, 'n_embd': 8, 'n_head': 2, 'n_layer': 2
    }  # fmt: skip
    logits = hidden_states(model, TOKENS) @ model.tensors['model/wte'].whole().T
    # The exact GELU is computed there, its tanh approximation here.
    np.testing.assert_allclose(logits, np.load(FILES / f'logits{bias}.npy'), atol=2e-3)
    assert model.activation == 'gelu'
    assert 'exact GELU' in model.remarks[0]


def test_matrices_are_transposed_and_missing_biases_are_zeros(vocabulary):
    model = read_model(str(FILES / 'ckpt_without_bias.pt'), vocabulary)[1]
    there = read_torch(FILES / 'ckpt_without_bias.pt')['model']
    matrix = there['_orig_mod.transformer.h.1.mlp.c_fc.weight'].whole()
    assert matrix.shape == (32, 8)
    np.testing.assert_array_equal(model.tensors['model/h1/mlp/c_fc/w'].whole(), matrix.T)
    np.testing.assert_array_equal(model.tensors['model/h1/mlp/c_fc/b'].whole(), np.zeros(32))


def test_rows_without_a_token_are_cut_and_their_probability_is_told(vocabulary):
    model = read_model(str(FILES / 'ckpt.pt'), vocabulary)[1]
    cut = cut_to_vocabulary(model)
    assert cut.hparams.n_vocab == 257
    whole = model.tensors['model/wte'].whole()
    np.testing.assert_array_equal(cut.tensors['model/wte'].whole(), whole[:257])
    # A random model gives 31 of 288 rows about their share.
    *_, remark = cut.remarks
    before, probability = remark.rsplit(' was ', 1)
    assert before == (
        'cut off 31 rows of the embedding that have no token: their probability on a sentence of '
        'English'
    )
    assert 31 / 288 / 2 < float(probability) < 2 * 31 / 288
    tokens = Encoder(model.vocabulary.encoder, []).encode(PROBE)[:16]
    logits = hidden_states(model, tokens).astype(np.float64) @ whole.T
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = p[:, 257:].sum(axis=-1).mean()
    np.testing.assert_allclose(probability_of_rest(model, 257), expected, rtol=1e-4)


def test_a_model_that_has_a_row_for_each_token_is_not_touched(demo):
    assert cut_to_vocabulary(demo) is demo


def test_without_a_vocabulary_the_message_says_how_to_give_one():
    with pytest.raises(ValueError, match='ckpt.pt has no vocabulary: give --vocabulary FOLDER'):
        read_model(str(FILES / 'ckpt.pt'))


def test_a_model_of_characters_is_refused(gpt2_vocabulary):
    with pytest.raises(ValueError, match='has 288 tokens and the vocabulary 50,257'):
        read_model(str(FILES / 'ckpt.pt'), str(gpt2_vocabulary))


def test_another_file_of_pytorch_is_refused(vocabulary):
    with pytest.raises(ValueError, match='dtypes.pt is no checkpoint of nanoGPT'):
        read_model(str(FILES / 'dtypes.pt'), vocabulary)


@pytest.fixture
def with_content(monkeypatch):
    """Read ckpt.pt as if it held something else: (change(content) -> None)."""

    def use(change):
        content = read_torch(FILES / 'ckpt.pt')
        change(content)
        monkeypatch.setattr('conversion.nanogpt.read_torch', lambda path: content)

    return use


def test_an_output_layer_of_its_own_is_refused(vocabulary, with_content):
    def change(content):
        model = content['model']
        head = model['_orig_mod.lm_head.weight'].whole() + 1
        model['_orig_mod.lm_head.weight'] = Tensor(head.shape, lambda a, b: head[a:b])

    with_content(change)
    with pytest.raises(ValueError, match='ckpt.pt has an lm_head.weight of its own'):
        read_model(str(FILES / 'ckpt.pt'), vocabulary)


@pytest.mark.parametrize(
    ('part', 'value', 'message'),
    [
        ('model', {'transformer.wte.weight': 3}, 'its model does not hold tensors by name'),
        ('model', {3: None}, 'its model does not hold tensors by name'),
        ('model', None, 'its model does not hold tensors by name'),
        ('model_args', None, 'TypeError'),
        ('model_args', {'n_layer': 10**9}, "KeyError.'n_head'"),
    ],
)
def test_content_of_other_kinds_is_refused(vocabulary, with_content, part, value, message):
    with_content(lambda content: content.update({part: value}))
    with pytest.raises(ValueError, match=f'ckpt.pt is no checkpoint of nanoGPT.*{message}'):
        read_model(str(FILES / 'ckpt.pt'), vocabulary)


def test_sizes_that_no_model_has_are_refused_at_once(vocabulary, with_content):
    with_content(lambda content: content['model_args'].update(n_layer=10**9))
    with pytest.raises(ValueError, match='n_layer is 1000000000: no GPT-2 has more than 10,000'):
        read_model(str(FILES / 'ckpt.pt'), vocabulary)
    with_content(lambda content: content['model_args'].update(n_layer=0))
    with pytest.raises(ValueError, match='no checkpoint of nanoGPT: n_layer must be'):
        read_model(str(FILES / 'ckpt.pt'), vocabulary)


def test_masks_are_passed_over(vocabulary, with_content):
    """Models that were made where attention was not PyTorch's own hold them."""

    def change(content):
        name = '_orig_mod.transformer.h.0.attn.bias'
        content['model'][name] = Tensor((1, 1, 16, 16), lambda a, b: np.ones((1, 1, 16, 16)))

    before = read_model(str(FILES / 'ckpt.pt'), vocabulary)[1]
    with_content(change)
    assert set(read_model(str(FILES / 'ckpt.pt'), vocabulary)[1].tensors) == set(before.tensors)
