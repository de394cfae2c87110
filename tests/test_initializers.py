"""`ColumnOrthogonal` against its definition."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel.initializers import ColumnOrthogonal


@pytest.mark.parametrize("width, rank", [(12, 3), (13, 4), (5, 5), (7, 1)])
def test_equals_the_definition(width, rank):
    expected = np.zeros((width, rank))
    for i in range(width):
        expected[i, i % rank] = 1 / np.sqrt(rank * width)
    a = ops.convert_to_numpy(ColumnOrthogonal()((width, rank)))
    np.testing.assert_allclose(a, expected, rtol=1e-6)
    gram = a.T @ a
    np.testing.assert_array_equal(gram, np.diag(np.diag(gram)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", None])
def test_dtype(dtype):
    a = ColumnOrthogonal()((8, 2), dtype=dtype)
    assert keras.backend.standardize_dtype(a.dtype) == (dtype or "float32")


@pytest.mark.parametrize("shape", [(8,), (2, 8, 2), (2, 3)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match="must be `.D, r.` with .*Use another"):
        ColumnOrthogonal()(shape)


def test_serialises_by_its_registered_name():
    config = keras.initializers.serialize(ColumnOrthogonal())
    assert config["registered_name"] == "keras_laurel>ColumnOrthogonal"
    again = keras.initializers.deserialize(config)
    assert isinstance(again, ColumnOrthogonal)


def test_starts_every_pair_of_a_layer():
    layer = keras_laurel.LaurelPA(rank=3, a_initializer=ColumnOrthogonal())
    layer.build([(None, 16)] * 4)
    expected = ops.convert_to_numpy(ColumnOrthogonal()((16, 3)))
    for a in ops.convert_to_numpy(layer.laurel_a):
        np.testing.assert_array_equal(a, expected)
