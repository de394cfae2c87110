"""Previous activations are of the same place in the network."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from keras_laurel.conversion.graphs.same_sizes import SameSizes


def block(x, **kwargs):
    h = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    return x + layers.Conv2D(8, 3, padding="same")(h)


class Up(layers.Layer):
    def call(self, x):
        return ops.repeat(ops.repeat(x, 2, 1), 2, 2)


CHANGES = {
    "up-sampling": lambda x: layers.UpSampling2D()(x),
    "pooling": lambda x: layers.AveragePooling2D(2)(x),
    "one step": lambda x: x[:, 1:],
    "transposed": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "own layer": lambda x: Up()(x),
    "convolution": lambda x: layers.Conv2D(8, 3, 2, padding="same")(x),
}


def counts(model):
    laurel = keras_laurel.laurelize(model, keras_laurel.get("rw+pa"))
    x = np.ones((2, 8, 8, 3), "float32")
    model(x)
    laurel(x)
    return sorted(x.num_inputs - 2 for x in keras_laurel.laurel_layers(laurel))


@pytest.mark.parametrize("name", CHANGES)
def test_not_across_a_change_of_size(name):
    x = inputs = keras.Input((None, None, 3))
    x = block(block(layers.Conv2D(8, 3, padding="same")(x)))
    x = block(block(CHANGES[name](x)))
    assert counts(keras.Model(inputs, x)) == [0, 0, 1, 1]


@pytest.mark.parametrize("size", [8, None])
def test_across_what_keeps_the_size(size):
    x = inputs = keras.Input((size, size, 3))
    x = block(layers.Conv2D(8, 3, padding="same")(x))
    x = block(layers.Dropout(0.1)(layers.BatchNormalization()(x)))
    x = block(layers.UpSampling2D()(layers.AveragePooling2D(2)(x)))
    assert counts(keras.Model(inputs, x)) == [0, 1, 2]


def test_two_lengths_are_two():
    a, b = keras.Input((None, 8)), keras.Input((None, 8))
    joined = layers.Concatenate(axis=1)([a, b])
    attended = layers.MultiHeadAttention(2, 4)(a, b)
    sizes = SameSizes(keras.Model([a, b], [joined, attended]))
    assert not sizes.are_equal(a, b)
    assert not sizes.are_equal(a, joined)
    assert sizes.are_equal(a, attended)


def test_inputs_that_belong_together():
    a, b = keras.Input((None, 8)), keras.Input((None, 8))
    total = layers.Dense(8)(ops.add(a, b))
    sizes = SameSizes(keras.Model([a, b], total))
    assert sizes.are_equal(a, total)


def test_a_short_table_of_positions():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(16, 8)(tokens)
    y = Short()(x)
    sizes = SameSizes(keras.Model(tokens, y))
    assert sizes.are_equal(x, y)


class Short(layers.Layer):
    def compute_output_shape(self, shape):
        if shape[1] is not None and shape[1] > 20:
            raise ValueError("too long")
        return shape

    def call(self, x):
        return x


def test_a_broadcast_of_unknown_size_is_refused():
    """If it is a site at all."""
    x = keras.Input((None, None, 8))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    model = keras.Model(x, x + layers.Dense(8)(layers.Dense(4, "relu")(pooled)))
    with pytest.raises(ValueError, match="equal shapes|no residual addition"):
        keras_laurel.laurelize(model, keras_laurel.LaurelRW())
