import numpy as np

from conversion.model import Tensor, shapes_of, transposed, zeros
from helpers import numpy_gpt2

ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)
TENSOR = Tensor((4, 3), lambda start, stop: ARRAY[start:stop])


def test_shapes_are_those_of_a_checkpoint_of_2019(reference):
    weights = numpy_gpt2.load_weights(reference.folder / 'model.ckpt')
    from hparams import HParams

    shapes = shapes_of(HParams(**reference.sizes))
    assert set(shapes) == set(weights)
    for name, shape in shapes.items():
        assert weights[name].shape == ((1, *shape) if name.endswith('/w') else shape)


def test_a_tensor_is_read_by_rows_and_as_a_whole():
    np.testing.assert_array_equal(TENSOR.whole(), ARRAY)
    np.testing.assert_array_equal(transposed(TENSOR).rows(1, 3), ARRAY.T[1:3])
    assert TENSOR.cut(2).shape == (2, 3)
    assert zeros((5,)).rows(1, 3).tolist() == [0, 0]


def test_blocks_are_bounded_and_hold_a_row_at_least(monkeypatch):
    for most, sizes in ((1, [1] * 4), (3, [1] * 4), (6, [2, 2]), (9, [3, 1])):
        monkeypatch.setattr('conversion.model.BLOCK', most)
        blocks = list(TENSOR.blocks())
        assert [len(block) for block in blocks] == sizes
        np.testing.assert_array_equal(np.concatenate(blocks), ARRAY)
