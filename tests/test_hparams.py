import dataclasses
import json

import pytest

from hparams import HParams, default_hparams, read_hparams


def test_the_defaults_are_the_sizes_of_124m():
    assert default_hparams().values() == {
        'n_vocab': 0,
        'n_ctx': 1024,
        'n_embd': 768,
        'n_head': 12,
        'n_layer': 12,
    }


def test_override_from_dict_changes_the_object_itself_and_returns_it():
    hparams = default_hparams()
    assert hparams.override_from_dict({'n_embd': 1600, 'n_head': 25, 'n_layer': 48}) is hparams
    assert (hparams.n_embd, hparams.n_head, hparams.n_layer, hparams.n_ctx) == (1600, 25, 48, 1024)


@pytest.mark.parametrize(
    'values, message',
    [
        ({'n_layers': 2}, 'unknown hyperparameters n_layers; known are n_vocab, n_ctx'),
        ({'n_layer': 2, 'dropout': 0.1, 'beta': 1}, 'unknown hyperparameters beta, dropout'),
        ({'n_layer': 0}, 'n_layer must be a whole number of at least 1, not 0'),
        ({'n_layer': 2.0}, 'n_layer must be a whole number of at least 1, not 2.0'),
        ({'n_layer': True}, 'n_layer must be .* not True'),
        ({'n_ctx': '1024'}, "n_ctx must be .* not '1024'"),
        ({'n_vocab': -1}, 'n_vocab must be a whole number of at least 0, not -1'),
        ({'n_ctx': None}, 'n_ctx must be .* not None'),
        ({'n_embd': 768, 'n_head': 7}, 'n_embd=768 is not divisible by n_head=7'),
        ([('n_layer', 2)], 'must be a dict'),
    ],
)
def test_what_is_no_model_is_refused_and_changes_nothing(values, message):
    hparams = default_hparams()
    with pytest.raises(ValueError, match=message):
        hparams.override_from_dict(values)
    assert hparams == default_hparams()


def test_the_constructor_checks_as_well():
    with pytest.raises(ValueError, match='n_head'):
        HParams(n_embd=64, n_head=5)
    with pytest.raises(TypeError):
        HParams(n_embed=64)


def test_attributes_are_read_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        default_hparams().n_layer = 3


def write(tmp_path, content):
    path = tmp_path / 'hparams.json'
    path.write_text(content, encoding='utf-8')
    return str(path)


def test_a_released_file_is_read(tmp_path):
    sizes = {'n_vocab': 50257, 'n_ctx': 1024, 'n_embd': 1024, 'n_head': 16, 'n_layer': 24}
    assert read_hparams(write(tmp_path, json.dumps(sizes))).values() == sizes


@pytest.mark.parametrize(
    'content, message',
    [
        ('', 'Expecting value'),
        ('<html>404</html>', 'Expecting value'),
        ('[1, 2]', 'must be a dict'),
        ('{"n_vocab": 10, "n_heads": 2}', 'unknown hyperparameters n_heads'),
        ('{"n_vocab": 10, "n_head": 12.0}', 'n_head must be a whole number'),
        ('{"n_ctx": 1024}', 'does not say n_vocab'),
    ],
)
def test_a_file_that_holds_no_model_is_named_in_the_message(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_hparams(path)
    assert path in str(caught.value)


def test_a_file_that_is_not_there_or_not_utf8(tmp_path):
    with pytest.raises(ValueError, match='No such file'):
        read_hparams(str(tmp_path / 'hparams.json'))
    with pytest.raises(ValueError, match='is not a file'):
        read_hparams('/dev/zero')
    (tmp_path / 'hparams.json').write_bytes(b'\xff\xfe{')
    with pytest.raises(ValueError, match='hparams.json'):
        read_hparams(str(tmp_path / 'hparams.json'))
