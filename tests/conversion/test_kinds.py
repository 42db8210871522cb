import pytest

from conversion.kinds import DTYPES, KINDS, kind_to_write, read_model, write_model
from helpers.paths import ROOT, TESTDATA


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_that_is_written_is_recognised(demo, tmp_path, kind):
    path = str(tmp_path / 'model')
    write_model(demo, kind, path)
    assert read_model(path)[0] == kind


@pytest.mark.parametrize(
    ('path', 'source', 'kind'),
    [
        ('x', 'released', 'hugging_face'),
        ('x', 'hugging_face', 'released'),
        ('x', 'nanogpt', 'released'),
        ('x', 'gguf', 'released'),
        ('x.gguf', 'released', 'gguf'),
    ],
)
def test_what_is_written_where_nobody_says(path, source, kind):
    assert kind_to_write(path, source) == kind


def test_a_dtype_that_a_kind_has_not_is_refused_and_nothing_is_written(demo, tmp_path):
    with pytest.raises(ValueError, match='released has float32, not q8_0'):
        write_model(demo, 'released', str(tmp_path / 'x'), 'q8_0')
    assert list(tmp_path.iterdir()) == []
    assert set(DTYPES) == set(KINDS)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match='there is no .*nothing'):
        read_model(str(tmp_path / 'nothing'))
    for path in (tmp_path, tmp_path / 'x'):
        (tmp_path / 'x').write_bytes(b'anything')
        with pytest.raises(ValueError, match='is no model: neither a folder with hparams.json'):
            read_model(str(path))


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin', 'model.ckpt.index'])
def test_a_part_of_a_model_says_to_give_its_folder(tmp_path, name):
    (tmp_path / name).write_bytes(b'anything')
    with pytest.raises(ValueError, match='is a part of a model: give the folder that it is in'):
        read_model(str(tmp_path / name))


def test_a_file_of_an_old_pytorch_and_one_that_is_cut_off_say_what_they_are(tmp_path):
    folder = str(ROOT / 'models' / 'demo')
    with pytest.raises(ValueError, match='old.pt is not a file of PyTorch 1.6 or later'):
        read_model(str(TESTDATA / 'nanogpt' / 'old.pt'), folder)
    path = tmp_path / 'cut.pt'
    path.write_bytes((TESTDATA / 'nanogpt' / 'ckpt.pt').read_bytes()[:-100])
    with pytest.raises(ValueError, match='cut.pt is truncated'):
        read_model(str(path), folder)


def test_a_run_of_training_in_2019_says_what_to_copy(tmp_path):
    (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "model-500"\n')
    with pytest.raises(ValueError, match='no hparams.json: copy hparams.json, encoder.json and'):
        read_model(str(tmp_path))
