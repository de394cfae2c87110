"""Converted models compile to one graph in PyTorch (not KerasHub's)."""

import keras
import numpy as np
import pytest

import keras_laurel

if keras.backend.backend() != "torch":
    pytest.skip("is about torch.compile", allow_module_level=True)

WIDTH = 8
VARIANTS = {
    "per_channel": dict(residual_weights="softmax", per_channel=True),
    "rw+lr+pa": dict(residual_weights="softmax", rank=2, num_activations=2),
    "shared, rms": dict(
        rank=2, num_activations=2, share_low_rank=True, normalize="rms"
    ),
}


class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(WIDTH)

    def call(self, x):
        return x + self.dense(x)


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(), Block()]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def in_graph(layer, x):
    y = inputs = keras.Input((WIDTH,))
    for _ in range(2):
        y = keras.layers.Add()([y, keras.layers.Dense(WIDTH)(y)])
    return keras_laurel.laurelize(keras.Model(inputs, y), layer)


def around_blocks(layer, x):
    model = Model()
    model(x)
    return keras_laurel.laurelize(model, layer, blocks=list(model.blocks))


def inside_layers(layer, x):
    model = Model()
    model(x)
    model = keras_laurel.laurelize(model, layer)
    # The first call makes the graph of these shapes, outside of PyTorch's.
    model(x)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("place", [in_graph, around_blocks, inside_layers])
def test_compiles_to_one_graph(place, variant):
    import torch

    x = torch.from_numpy(np.ones((2, WIDTH), "float32"))
    model = place(keras_laurel.Laurel(**VARIANTS[variant]), x)
    expected = model(x)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), expected)
