import numpy as np
import pytest

from conversion.config import read_config
from conversion.hugging_face import read_hugging_face

REFUSED = [
    ({'model_type': 'gpt_neo'}, "model_type is 'gpt_neo', not gpt2"),
    ({'activation_function': 'relu'}, "activation_function is 'relu', but"),
    ({'activation_function': 'quick_gelu'}, "activation_function is 'quick_gelu', but"),
    ({'layer_norm_epsilon': 1e-6}, 'layer_norm_epsilon is 1e-06, but the model normalises'),
    ({'scale_attn_weights': False}, 'scale_attn_weights is False, but the model divides'),
    ({'add_cross_attention': True}, 'add_cross_attention is True, but'),
    ({'is_encoder_decoder': True}, 'is_encoder_decoder is True, but'),
    ({'quantization_config': {'bits': 4}}, "quantization_config is {'bits': 4}, but"),
    ({'n_inner': 100}, 'n_inner is 100, not 4 x 192'),
    ({'n_layer': 'missing'}, "does not say 'n_layer'"),
    ({'n_positions': 'missing', 'n_ctx': 'missing'}, "does not say 'n_ctx'"),
    ({'n_head': 5}, 'n_embd=192 is not divisible by n_head=5'),
    ({'n_layer': 10**12}, 'n_layer is 1000000000000: no GPT-2 has more'),
    ({'n_head': 'six'}, 'n_head must be a whole number'),
]


@pytest.mark.parametrize(('fields', 'message'), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_another_function_is_refused_with_field_value_and_reason(variant, fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_hugging_face(variant(**fields))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'fields',
    [
        {'activation_function': 'gelu_pytorch_tanh'},
        {'activation_function': 'gelu_fast'},
        {'activation_function': 'missing', 'model_type': 'missing'},
        {'reorder_and_upcast_attn': True},
        {'resid_pdrop': 0.5, 'use_cache': False, 'initializer_range': 1},
        {'n_inner': 768, 'n_ctx': 'missing'},
        {'n_positions': 'missing'},
    ],
    ids=str,
)
def test_what_is_the_same_function_is_taken_without_a_word(variant, fields):
    model = read_hugging_face(variant(**fields))
    assert (model.activation, model.remarks) == ('gelu_new', [])
    assert model.hparams.n_ctx == 256


def test_the_exact_gelu_is_taken_with_a_remark(variant):
    model = read_hugging_face(variant(activation_function='gelu'))
    assert model.activation == 'gelu'
    assert model.remarks == [model.remarks[0]]
    assert 'differ by less than 0.01' in model.remarks[0]


def test_attention_scaled_by_layer_moves_into_the_queries(variant, demo):
    model = read_hugging_face(variant(scale_attn_by_inverse_layer_idx=True))
    assert 'divided by i + 1' in model.remarks[0]
    for layer in (0, 3):
        for kind in 'wb':
            name = f'model/h{layer}/attn/c_attn/{kind}'
            new, old = model.tensors[name].whole(), demo.tensors[name].whole()
            np.testing.assert_array_equal(new[..., :192] * (layer + 1), old[..., :192])
            np.testing.assert_array_equal(new[..., 192:], old[..., 192:])
    bias = model.tensors['model/h1/attn/c_attn/b']
    np.testing.assert_array_equal(bias.rows(190, 200), bias.whole()[190:200])


@pytest.mark.parametrize('text', ['', '[]', '{"model_type": 3}', '[' * 10_000, '\ufeff{}'])
def test_what_is_no_config_is_refused(tmp_path, text):
    path = tmp_path / 'config.json'
    path.write_text(text, 'utf-8')
    with pytest.raises(ValueError, match=r'config.json(:| is not JSON)'):
        read_config(str(path))
