import filecmp
import json

import numpy as np
import pytest

from conversion.hugging_face import read_hugging_face
from conversion.released import read_released, write_released
from helpers.paths import ROOT
from loading.model_files import fingerprint

DEMO = ROOT / 'models' / 'demo'


def test_by_way_of_hugging_face_the_same_files_come_back_byte_for_byte(exported, tmp_path):
    write_released(read_hugging_face(str(exported)), str(tmp_path))
    names = [path.name for path in DEMO.iterdir() if path.name != 'hparams.json']
    assert len(names) == 5
    for name in names:
        assert filecmp.cmp(DEMO / name, tmp_path / name, shallow=False), name
    assert json.loads((tmp_path / 'hparams.json').read_text()) == json.loads(
        (DEMO / 'hparams.json').read_text()
    )
    assert fingerprint(str(tmp_path)) == fingerprint(str(DEMO))


def test_a_model_that_was_trained_with_the_exact_gelu_goes_back_with_it(demo, tmp_path):
    demo = demo.__class__(demo.hparams, demo.tensors, demo.vocabulary, 'gelu')
    write_released(demo, str(tmp_path))
    assert read_released(str(tmp_path)).activation == 'gelu'


def test_variables_of_an_optimizer_of_2019_are_passed_over(demo, tmp_path):
    import tensorflow.compat.v1 as tf

    write_released(demo, str(tmp_path))
    reader = tf.train.load_checkpoint(str(DEMO / 'model.ckpt'))
    with tf.Graph().as_default(), tf.Session() as session:
        for name in reader.get_variable_to_shape_map():
            tf.get_variable(name, initializer=reader.get_tensor(name))
        tf.get_variable('global_step', initializer=7)
        tf.get_variable('model/wte/Adam', initializer=np.ones(3, np.float32))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / 'model.ckpt'), write_meta_graph=False)
    assert set(read_released(str(tmp_path)).tensors) == set(demo.tensors)


def test_a_checkpoint_that_is_cut_off_says_so(demo, tmp_path):
    write_released(demo, str(tmp_path))
    data = tmp_path / 'model.ckpt.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ValueError, match='is truncated'):
        read_released(str(tmp_path)).tensors['model/wte'].whole()
