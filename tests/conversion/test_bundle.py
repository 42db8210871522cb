import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conversion import bundle
from conversion.model import Tensor
from helpers import numpy_gpt2


def tensor_of(array):
    return Tensor(array.shape, lambda start, stop: array[start:stop])


def write(path, arrays):
    bundle.write_bundle(str(path), {name: (a.shape, tensor_of(a)) for name, a in arrays.items()})


def saved(path, arrays):
    """What TensorFlow itself writes."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, initializer=array) for name, array in arrays.items()]
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(
            session, str(path), write_meta_graph=False, write_state=False
        )


def random(shape):
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


def files(path):
    return [
        path.with_name(f'{path.name}.{ending}').read_bytes()
        for ending in ('index', 'data-00000-of-00001')
    ]


@pytest.mark.parametrize('n', [1, 15, 16, 17, 33, 150])
def test_the_files_are_those_of_tensorflow_byte_for_byte(tmp_path, n):
    arrays = {f'model/h{i}/attn/w': random((1, 2 + i, 3)) for i in range(n)}
    write(tmp_path / 'ours', arrays)
    saved(tmp_path / 'theirs', arrays)
    assert files(tmp_path / 'ours') == files(tmp_path / 'theirs')


def test_large_tensors_are_written_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr('conversion.model.BLOCK', 7)
    arrays = {'a': random((100, 3)), 'b': random((5,))}
    write(tmp_path / 'ours', arrays)
    reader = tf.train.load_checkpoint(str(tmp_path / 'ours'))
    for name, array in arrays.items():
        np.testing.assert_array_equal(reader.get_tensor(name), array)


def test_damage_is_found_by_tensorflow(tmp_path):
    write(tmp_path / 'ours', {'a': random((9,))})
    data = tmp_path / 'ours.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1] + b'\x55')
    with pytest.raises(tf.errors.OpError, match='Checksum does not match'):
        tf.train.load_checkpoint(str(tmp_path / 'ours')).get_tensor('a')


def test_a_checkpoint_of_2019_is_written_again_as_it_is(tmp_path, reference):
    checkpoint = str(reference.folder / 'model.ckpt')
    write(tmp_path / 'ours', numpy_gpt2.load_weights(checkpoint))
    assert files(tmp_path / 'ours') == files(reference.folder / 'model.ckpt')


@pytest.mark.parametrize('n', [1, 16, 17, 150])
def test_what_tensorflow_writes_is_read(tmp_path, n):
    arrays = {f'model/h{i}/attn/w': random((1, 2 + i, 3)) for i in range(n)}
    saved(tmp_path / 'theirs', arrays | {'step': np.int64(3), 'scalar': np.float32(2)})
    found = bundle.read_bundle(str(tmp_path / 'theirs'))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name].rows(0, 1), array)


def test_weights_in_several_files_are_read(tmp_path):
    arrays = {'a': random((3,)), 'b': random((2, 2))}
    with tf.Graph().as_default(), tf.Session() as session:
        parts = [str(tmp_path / 'part-a'), str(tmp_path / 'part-b')]
        for part, (name, array) in zip(parts, arrays.items(), strict=True):
            session.run(tf.raw_ops.SaveV2(
                prefix=part, tensor_names=[name], shape_and_slices=[''], tensors=[array]
            ))  # fmt: skip
        session.run(tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=parts, destination_prefix=str(tmp_path / 'whole')
        ))  # fmt: skip
    assert (tmp_path / 'whole.data-00001-of-00002').exists()
    found = bundle.read_bundle(str(tmp_path / 'whole'))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].whole(), array)


@pytest.mark.parametrize('place', range(0, 300, 7))
def test_a_byte_of_the_index_that_is_wrong_is_found(tmp_path, place):
    write(tmp_path / 'x', {f'h{i}': random((2,)) for i in range(8)})
    index = bytearray((tmp_path / 'x.index').read_bytes())
    place %= len(index)
    index[place] ^= 0x41
    (tmp_path / 'x.index').write_bytes(index)
    try:
        found = bundle.read_bundle(str(tmp_path / 'x'))
    except ValueError as error:
        assert 'x.index is damaged or not the index of a checkpoint' in str(error)
    else:  # the padding of the footer says nothing
        assert len(found) == 8
        assert place > len(index) - bundle.FOOTER


@pytest.mark.parametrize('ending', ['index', 'data-00000-of-00001'])
def test_a_file_that_is_cut_off_is_refused(tmp_path, ending):
    write(tmp_path / 'x', {'a': random((9,))})
    path = tmp_path / f'x.{ending}'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='x.index is damaged|is truncated'):
        bundle.read_bundle(str(tmp_path / 'x'))


def test_a_wrong_number_is_found(tmp_path):
    write(tmp_path / 'x', {'a': random((9,)), 'b': random((9,))})
    data = tmp_path / 'x.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1] + b'\x55')
    with pytest.raises(ValueError, match='x is damaged: the checksum of b does not match'):
        bundle.read_bundle(str(tmp_path / 'x'))
