from conversion import names
from conversion.model import shapes_of
from helpers import hf_gpt2
from hparams import HParams

NAMES = list(shapes_of(HParams(n_vocab=3, n_layer=12)))


def test_names_of_hugging_face_are_those_that_its_model_loads():
    for name in NAMES:
        assert names.hugging_face(name) == hf_gpt2.name_of(name)


def test_names_of_gguf():
    assert names.gguf('model/wte') == 'token_embd.weight'
    assert names.gguf('model/h11/mlp/c_proj/b') == 'blk.11.ffn_down.bias'
    assert [names.gguf(name) for name in NAMES[2:14]] == [
        f'blk.0.{part}.{kind}'
        for part in ('attn_norm', 'ffn_norm', 'attn_qkv', 'attn_output', 'ffn_up', 'ffn_down')
        for kind in ('weight', 'bias')
    ]
    assert len({names.gguf(name) for name in NAMES}) == len(NAMES) == 148
