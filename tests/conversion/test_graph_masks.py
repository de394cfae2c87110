"""A mask goes on exactly where it went on before."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs

ADDITIONS = {
    "Add": lambda x, fx: layers.Add()([x, fx]),
    "+": lambda x, fx: x + fx,
    "+ reversed": lambda x, fx: fx + x,
    "ops.add": lambda x, fx: ops.add(x, fx),
}
AFTER = {
    "pooling": lambda x: layers.GlobalAveragePooling1D()(x),
    "LSTM": lambda x: layers.LSTM(3)(x),
    "attention": lambda x: layers.MultiHeadAttention(2, 4)(x, x),
}
TOKENS = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])


def masked(add, after, mask_zero=True):
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(16, 8, mask_zero=mask_zero)(tokens)
    for _ in range(2):
        x = add(x, layers.Dense(8)(layers.Dense(16, "gelu")(x)))
    return keras.Model(tokens, after(x))


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("add", ADDITIONS)
def test_what_follows_sees_the_same_mask(add, after, tmp_path):
    model = masked(ADDITIONS[add], AFTER[after])
    expected = outputs(model, TOKENS)
    laurel = keras_laurel.laurelize(model, keras_laurel.LaurelPA())
    assert_same_outputs(outputs(laurel, TOKENS), expected)
    laurel.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_outputs(outputs(loaded, TOKENS), expected)


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("add", ADDITIONS)
def test_a_mask_that_comes_from_outside(add):
    """The inner model is built without one."""
    x = keras.Input((6, 8))
    inner = keras.Model(x, ADDITIONS[add](x, layers.Dense(8, "gelu")(x)))
    tokens = keras.Input((6,), dtype="int32")
    x = inner(layers.Embedding(16, 8, mask_zero=True)(tokens))
    model = keras.Model(tokens, layers.GlobalAveragePooling1D()(x))
    expected = outputs(model, TOKENS)
    laurel = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert_same_outputs(outputs(laurel, TOKENS), expected)


def test_the_config_says_so_only_where_it_differs():
    assert set(keras_laurel.LaurelRW().get_config()) == {
        *("name", "trainable", "dtype"),
        *("residual_weights", "per_channel", "scale", "rank", "axis"),
        *("num_activations", "share_low_rank", "normalize", "a_initializer"),
    }
    model = masked(ADDITIONS["+"], AFTER["pooling"])
    laurel = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    for layer in keras_laurel.laurel_layers(laurel):
        assert layer.get_config()["drops_mask"] is True
