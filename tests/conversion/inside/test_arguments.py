"""Layers that add what they are given: only their caller knows the skip."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.conversion.inside.running import perturb

package = keras.saving.register_keras_serializable(package="test_arguments")
X = np.random.default_rng(0).normal(size=(3, 6, 8)).astype("float32")


@package
class Sum(layers.Layer):
    def call(self, branch, skip):
        return branch + skip


@package
class Scaled(layers.Layer):
    """As in Inception-ResNet."""

    def call(self, tensors):
        return tensors[0] + 0.2 * tensors[1]


@package
class Merge(layers.Add):
    pass


@package
class Output(layers.Layer):
    """As in BERT: it projects, adds and normalises."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8)
        self.norm = layers.LayerNormalization()

    def build(self, shapes):
        self.dense.build(shapes)
        self.norm.build(shapes)

    def call(self, hidden, tensors=None, gate=None):
        hidden = self.norm(self.dense(hidden) + tensors["skip"])
        return hidden if gate is None else hidden * gate


# How a layer adds, and how the same reads with a connection there.
WAYS = {
    "sum": (Sum, lambda add, f, x: add(f, x), lambda c, add, f, x: c([x, f])),
    "keyword": (
        Sum,
        lambda add, f, x: add(skip=x, branch=f),
        lambda c, add, f, x: c([x, f]),
    ),
    "scaled": (
        Scaled,
        lambda add, f, x: add([x, f]),
        lambda c, add, f, x: c([x, 0.2 * f]),
    ),
    "subclass": (
        Merge,
        lambda add, f, x: add([f, x]),
        lambda c, add, f, x: c([x, f]),
    ),
    "output": (
        Output,
        lambda add, f, x: add(f, {"skip": x}),
        lambda c, add, f, x: add.norm(c([x, add.dense(f)])),
    ),
    "gated": (
        Output,
        lambda add, f, x: add(f, {"skip": x}, gate=ops.sigmoid(x)),
        lambda c, add, f, x: add.norm(c([x, add.dense(f)])) * ops.sigmoid(x),
    ),
}


@package
class Block(layers.Layer):
    def __init__(self, way, **kwargs):
        super().__init__(**kwargs)
        self.way = way
        kind, self.run, self.by_hand = WAYS[way]
        self.mix = layers.Dense(8, activation="gelu")
        self.add = kind()

    def build(self, shape):
        self.mix.build(shape)
        if self.way == "output":
            self.add.build(shape)

    def call(self, x):
        return self.run(self.add, self.mix(x), x)

    def get_config(self):
        return {**super().get_config(), "way": self.way}


def in_layers(way):
    inputs = keras.Input((6, 8))
    blocks = [Block(way) for _ in range(2)]
    x = inputs
    for block in blocks:
        x = block(x)
    return keras.Model(inputs, x), blocks


def in_a_graph(way):
    """The layer that adds is a call of the model's own graph."""
    x = inputs = keras.Input((6, 8))
    blocks = [Block(way) for _ in range(2)]
    for block in blocks:
        block.mix.build((None, 6, 8))
        x = block.run(block.add, block.mix(x), x)
    return keras.Model(inputs, x), blocks


@pytest.mark.parametrize("build", [in_layers, in_a_graph])
@pytest.mark.parametrize("way", WAYS)
def test_equals_connections_by_hand(way, build, tmp_path):
    model, blocks = build(way)
    perturb(model)
    expected = ops.convert_to_numpy(model(X))
    sites = keras_laurel.residual_sites(model)
    assert len(sites) == 2 and not sites.left_out
    assert {site.kind for site in sites} == {"identity"}
    model = keras_laurel.laurelize(
        model, keras_laurel.get("rw+lr+pa", rank=2), verbose=False
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(model(X)), expected)
    perturb(model)
    actual = ops.convert_to_numpy(model(X))
    connections = keras_laurel.laurel_layers(model)
    x, earlier = ops.convert_to_tensor(X), []
    for block, connection in zip(blocks, connections, strict=True):

        def connect(pair, connection=connection, earlier=tuple(earlier)):
            return connection([*pair, *earlier])

        earlier.insert(0, x)
        x = block.by_hand(connect, block.add, block.mix(x), x)
    np.testing.assert_allclose(actual, ops.convert_to_numpy(x), atol=2e-6)
    assert not np.allclose(actual, expected, atol=1e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(X)), actual)


def test_no_argument_leads_to_the_other():
    inputs = keras.Input((6, 8)), keras.Input((6, 8))
    model = keras.Model(inputs, Sum()(*inputs))
    sites = keras_laurel.residual_sites(model)
    assert not sites and "no operand leads" in sites.left_out[0].reason


def test_a_layer_that_is_shared_is_judged_at_its_first_call():
    x = inputs = keras.Input((6, 8))
    add = Sum()
    for _ in range(2):
        x = add(layers.Dense(8)(x), x)
    model = keras.Model(inputs, x)
    expected = ops.convert_to_numpy(model(X))
    model = keras_laurel.laurelize(
        model, keras_laurel.LaurelLR(2), verbose=False
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(model(X)), expected)
    assert len(keras_laurel.laurel_layers(model)) == 1
