"""LAuReL weights are made where the weights of the model are."""

import keras
import pytest
from keras import layers

import keras_laurel

TENSORFLOW = keras.config.backend() == "tensorflow"


def net():
    x = keras.Input((6, 8))
    return keras.Model(x, x + layers.Dense(8)(x))


@pytest.mark.skipif(not TENSORFLOW, reason="tf.distribute is TensorFlow's")
def test_in_and_outside_the_scope_of_a_strategy():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = net()
    with pytest.raises(ValueError, match="made in the scope of a Mirrored"):
        keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    with strategy.scope():
        model = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert len(keras_laurel.laurel_layers(model)) == 1


def test_without_any_scope():
    model = keras_laurel.laurelize(net(), keras_laurel.LaurelRW())
    assert len(keras_laurel.laurel_layers(model)) == 1
