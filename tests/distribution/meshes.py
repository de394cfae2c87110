"""Meshes of devices that need not exist, and models that fit on them."""

import keras
import numpy as np

import keras_laurel


def mesh(*shape, axes=("batch", "model")):
    names = np.array([f"cpu:{i}" for i in range(np.prod(shape))])
    return keras.distribution.DeviceMesh(shape, axes[: len(shape)], names)


def tiny_llama(backbone_class="Llama3Backbone"):
    import keras_hub

    return getattr(keras_hub.models, backbone_class)(
        vocabulary_size=64,
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        tie_word_embeddings=False,
    )


def dense_model():
    """Three residual additions of 8 features."""
    x = inputs = keras.Input((8,))
    for block in range(3):
        fx = keras.layers.Dense(8, name=f"dense_{block}")(x)
        x = keras.layers.Add(name=f"sum_{block}")([x, fx])
    return keras.Model(inputs, x, name="residual_mlp")


def without_values(build):
    """A model whose variables have shapes and no values."""
    with keras.StatelessScope(initialize_variables=False):
        model = build()
    # Or the next scope that ends would give them their values after all.
    keras.utils.clear_session()
    return model


def convert(model, name="rw+lr", rank=4):
    return keras_laurel.laurelize(model, keras_laurel.get(name, rank=rank))
