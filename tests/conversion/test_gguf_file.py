import dataclasses
import struct

import numpy as np
import pytest

from conversion import names
from conversion.gguf_file import add_fields, is_gguf, read_gguf, write_gguf
from conversion.model import Tensor, is_matrix, transposed
from conversion.vocabulary import Vocabulary, merges_text
from encoder import bytes_to_unicode

gguf = pytest.importorskip('gguf')


@pytest.fixture(scope='module')
def written(demo, tmp_path_factory):
    path = str(tmp_path_factory.mktemp('gguf') / 'demo.gguf')
    write_gguf(demo, path, name='demo')
    return path


def test_float32_is_read_again_bit_for_bit(demo, written):
    model = read_gguf(written)
    assert (model.hparams, model.vocabulary) == (demo.hparams, demo.vocabulary)
    assert set(model.tensors) == set(demo.tensors)
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor.whole(), demo.tensors[name].whole())
        np.testing.assert_array_equal(tensor.rows(3, 7), demo.tensors[name].rows(3, 7))


def test_the_fields_are_those_that_llama_cpp_wants(written):
    fields = {name: f.contents() for name, f in gguf.GGUFReader(written).fields.items()}
    assert fields['general.architecture'] == 'gpt2'
    assert fields['gpt2.context_length'] == 256
    assert fields['gpt2.feed_forward_length'] == 768
    assert fields['tokenizer.ggml.pre'] == 'gpt-2'
    assert fields['tokenizer.ggml.eos_token_id'] == 4095
    assert fields['tokenizer.ggml.token_type'].count(3) == 1
    assert fields['tokenizer.ggml.token_type'][4095] == 3
    assert fields['tokenizer.ggml.add_bos_token'] is False


@pytest.mark.parametrize(('dtype', 'size', 'error'), [('float16', 2, 5e-4), ('q8_0', 1.1, 8e-3)])
def test_other_types_are_smaller_and_near(demo, tmp_path, dtype, size, error):
    path = tmp_path / 'x.gguf'
    write_gguf(demo, str(path), dtype)
    model = read_gguf(str(path))
    name = 'model/h2/mlp/c_proj/w'
    found, expected = model.tensors[name].whole(), demo.tensors[name].whole()
    assert 0 < np.abs(found - expected).max() <= error * np.abs(expected).max()
    np.testing.assert_array_equal(
        model.tensors['model/wpe'].whole(), demo.tensors['model/wpe'].whole()
    )
    n_parameters = sum(np.prod(tensor.shape) for tensor in demo.tensors.values())
    assert path.stat().st_size < size * n_parameters + 500_000


def test_large_tensors_are_written_in_blocks(demo, written, tmp_path, monkeypatch):
    monkeypatch.setattr('conversion.model.BLOCK', 5000)
    write_gguf(demo, str(tmp_path / 'x.gguf'), name='demo')
    with open(written, 'rb') as whole:
        assert (tmp_path / 'x.gguf').read_bytes() == whole.read()


def test_q8_0_wants_a_width_of_whole_blocks(demo, tmp_path):
    hparams = demo.hparams.__class__(**demo.hparams.values() | {'n_embd': 30, 'n_head': 1})
    with pytest.raises(ValueError, match='blocks of 32 numbers, which do not divide 30'):
        write_gguf(demo.__class__(hparams, {}, demo.vocabulary), str(tmp_path / 'x'), 'q8_0')


def changed(written, tmp_path, old, new):
    with open(written, 'rb') as file:
        data = file.read()
    assert old in data
    path = tmp_path / 'changed.gguf'
    path.write_bytes(data.replace(old, new, 1))
    return str(path)


def test_another_architecture_is_refused(written, tmp_path):
    path = changed(written, tmp_path, b'\x04\0\0\0\0\0\0\0gpt2', b'\x04\0\0\0\0\0\0\0gptj')
    with pytest.raises(ValueError, match="general.architecture is 'gptj', not gpt2"):
        read_gguf(path)


def test_another_tokenizer_is_refused(written, tmp_path):
    name = b'tokenizer.ggml.model' + struct.pack('<IQ', 8, 4)
    path = changed(written, tmp_path, name + b'gpt2', name + b'bert')
    with pytest.raises(ValueError, match="tokenizer.ggml.model is 'bert', not gpt2"):
        read_gguf(path)


def test_a_vocabulary_of_bytes_alone_comes_back(demo, tmp_path):
    tokens = {token: i for i, token in enumerate([*bytes_to_unicode().values(), '<|endoftext|>'])}
    vocabulary = Vocabulary(tokens, merges_text([]))
    hparams = dataclasses.replace(demo.hparams, n_vocab=257)
    tensors = demo.tensors | {'model/wte': demo.tensors['model/wte'].cut(257)}
    write_gguf(demo.__class__(hparams, tensors, vocabulary), str(tmp_path / 'x.gguf'))
    assert read_gguf(str(tmp_path / 'x.gguf')).vocabulary == vocabulary


def test_another_epsilon_is_refused(written, tmp_path):
    path = changed(written, tmp_path, np.float32(1e-5).tobytes(), np.float32(1e-6).tobytes())
    with pytest.raises(ValueError, match='layer_norm_epsilon is 1e-06'):
        read_gguf(path)


@pytest.mark.parametrize('n', [4, 100, 50_000])
def test_a_file_that_is_cut_off_is_refused_in_one_line(written, tmp_path, n):
    with open(written, 'rb') as file:
        (tmp_path / 'x.gguf').write_bytes(file.read()[:n])
    assert is_gguf(str(tmp_path / 'x.gguf'))
    with pytest.raises(ValueError, match='x.gguf is damaged') as caught:
        read_gguf(str(tmp_path / 'x.gguf'))
    assert '\n' not in str(caught.value)


def test_without_the_package_the_message_says_what_to_install(written, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'gguf', None)
    with pytest.raises(ValueError, match='pip install gguf'):
        read_gguf(written)


def test_numbers_that_are_none_are_refused(demo, tmp_path):
    shape = demo.tensors['model/wpe'].shape
    bad = Tensor(shape, lambda start, stop: np.full((stop - start, shape[1]), np.nan, np.float32))
    model = demo.__class__(demo.hparams, demo.tensors | {'model/wpe': bad}, demo.vocabulary)
    with pytest.raises(ValueError, match='position_embd.weight holds NaN or infinity'):
        write_gguf(model, str(tmp_path / 'x.gguf'))
    assert list(tmp_path.iterdir()) == []


def rewritten(demo, path, types):
    """Write the demo model with other types: {name in the file: type}.

    Types may be of output.weight, which then holds the embedding, or the embedding plus one.
    """
    writer = gguf.GGUFWriter(path, 'gpt2')
    add_fields(writer, demo, 'float32', '')
    tensors = {
        names.gguf(name): transposed(tensor) if is_matrix(name) else tensor
        for name, tensor in demo.tensors.items()
    }
    tensors['output.weight'] = tensors['token_embd.weight']
    if 'output.weight' not in types:
        del tensors['output.weight']
    for name, tensor in tensors.items():
        kind = gguf.GGMLQuantizationType[types.get(name, 'F32')]
        data = gguf.quants.quantize(tensor.whole(), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ('kind', 'error'),
    [('BF16', 0.002), ('Q5_0', 0.06), ('Q5_1', 0.05), ('Q4_0', 0.12), ('Q4_1', 0.1)],
)
def test_quantized_types_are_read(demo, tmp_path, kind, error):
    name = 'model/h2/mlp/c_proj/w'
    path = rewritten(
        demo, str(tmp_path / 'x.gguf'), {names.gguf(name): kind, 'blk.0.ffn_up.bias': 'F16'}
    )
    model = read_gguf(path)
    expected = demo.tensors[name].whole()
    found = model.tensors[name].whole()
    assert 0 < np.abs(found - expected).mean() < error * np.abs(expected).mean()
    np.testing.assert_array_equal(model.tensors[name].rows(3, 7), found[3:7])
    bias = 'model/h0/mlp/c_fc/b'
    np.testing.assert_allclose(
        model.tensors[bias].rows(5, 9), demo.tensors[bias].rows(5, 9), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize(
    ('embedding', 'head'),
    [('F32', 'F32'), ('F16', 'F32'), ('Q4_0', 'Q4_0'), ('Q4_0', 'F32'), ('Q4_0', 'Q4_1')],
)
def test_an_output_layer_that_is_the_embedding_may_be_of_another_type(
    demo, tmp_path, embedding, head
):
    types = {'token_embd.weight': embedding, 'output.weight': head}
    assert read_gguf(rewritten(demo, str(tmp_path / 'x.gguf'), types)).hparams == demo.hparams


@pytest.mark.parametrize('kind', ['F32', 'F16'])
def test_an_output_layer_of_its_own_is_refused(demo, tmp_path, kind):
    """One that differs by a hundredth: what a few steps of training would do."""
    embedding = demo.tensors['model/wte']
    other = Tensor(embedding.shape, lambda start, stop: 1.01 * embedding.rows(start, stop))
    path = rewritten(demo, str(tmp_path / 'x.gguf'), {'output.weight': kind})
    changed = demo.__class__(demo.hparams, demo.tensors | {'model/wte': other}, demo.vocabulary)
    two = rewritten(changed, str(tmp_path / 'y.gguf'), {'output.weight': kind})
    for place, data in places_of(path, two, 'output.weight'):
        with open(path, 'r+b') as file:
            file.seek(place)
            file.write(data)
    with pytest.raises(ValueError, match='x.gguf has an output layer of its own'):
        read_gguf(path)


def places_of(path, other, name):
    """Where a tensor is in a file, and its bytes in another one."""
    (place,) = [int(t.data_offset) for t in gguf.GGUFReader(path).tensors if t.name == name]
    (data,) = [t.data.tobytes() for t in gguf.GGUFReader(other).tensors if t.name == name]
    return [(place, data)]


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('block_count', 2**32 - 1, 'n_layer is 4294967295: no GPT-2 has more'),
        ('context_length', 2**32 - 1, r'shape \[256, 192\] where its sizes ask for \[4294967295'),
        ('attention.head_count', 0, 'x.gguf: n_head must be a whole number of at least 1, not 0'),
        ('attention.head_count', 7, 'x.gguf: n_embd=192 is not divisible by n_head=7'),
    ],
)
def test_sizes_that_no_model_has_are_refused_at_once(written, tmp_path, key, value, message):
    with open(written, 'rb') as file:
        data = file.read()
    place = data.index(f'gpt2.{key}'.encode()) + len(f'gpt2.{key}') + 4
    (tmp_path / 'x.gguf').write_bytes(data[:place] + struct.pack('<I', value) + data[place + 4 :])
    with pytest.raises(ValueError, match=message):
        read_gguf(str(tmp_path / 'x.gguf'))
