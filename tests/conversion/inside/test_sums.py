"""Code in a `call` that adds several branches, or asks what its input is."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.backends import rows
from tests.conversion.inside.running import assert_close
from tests.conversion.inside.running import assert_equal
from tests.conversion.inside.running import perturb
from tests.conversion.inside.running import run

WIDTH = 8


class Parts(layers.Layer):
    """The parts of a block, called by the layers below and by `graph`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.mix = layers.Dense(WIDTH, activation="relu")
        self.mlp = layers.Dense(WIDTH, activation="gelu")

    def build(self, input_shape):
        for layer in (self.norm, self.mix, self.mlp):
            layer.build(input_shape)

    def branches(self, x):
        h = self.norm(x)
        return self.mix(h), self.mlp(h)

    def added(self, x):
        a, b = self.branches(x)
        return x + a + b

    def call(self, x):
        return self.added(x)


class RightToLeft(Parts):
    def added(self, x):
        a, b = self.branches(x)
        return a + x + b


class OneAdd(Parts):
    def added(self, x):
        return layers.Add()([x, *self.branches(x)])


class InALoop(Parts):
    def added(self, x):
        total = x
        for branch in self.branches(x):
            total += branch
        return total


class Normalized(Parts):
    """RepVGG's: the skip is a norm, and no branch has an activation."""

    def branches(self, x):
        return ops.matmul(x, self.mix.kernel), ops.matmul(x, self.mlp.kernel)

    def added(self, x):
        a, b = self.branches(x)
        return self.norm(x) + a + b


SUMS = (Parts, RightToLeft, OneAdd, InALoop, Normalized)


@pytest.mark.parametrize("name", ["rw", "lr", "pa", "rw+lr+pa"])
@pytest.mark.parametrize("kind", rows(SUMS, (Parts,)))
def test_a_sum_of_branches_is_what_it_is_in_a_graph(kind, name):
    layer = keras_laurel.get(name, **({"rank": 2} if "lr" in name else {}))
    x = np.random.default_rng(0).normal(size=(2, 4, WIDTH)).astype("float32")
    blocks, twins = ([kind(name=n) for n in "ab"] for _ in range(2))
    model = keras.Sequential([keras.Input((4, WIDTH)), *blocks])
    before = run(model, x)
    model = keras_laurel.laurelize(model, layer, verbose=False)
    assert_equal(run(model, x), before)
    perturb(model)
    y = inputs = keras.Input((4, WIDTH))
    for block in twins:
        block.build(y.shape)
        y = block.added(y)
    graph = keras.Model(inputs, y)
    graph = keras_laurel.laurelize(graph, layer, verbose=False)
    ours, others = map(keras_laurel.laurel_layers, (model, graph))
    assert len(ours) == len(others) == 2
    for a, b in zip((*ours, *blocks), (*others, *twins)):
        b.set_weights(a.get_weights()[: len(b.weights)])
    assert_close(run(model, x), run(graph, x), 1e-6)


class AsksForAxes(Parts):
    def call(self, x):
        spatial = tuple(range(1, ops.ndim(x) - 1))
        return x + self.mlp(x) * ops.mean(x, axis=spatial, keepdims=True)


class AsksForATensor(Parts):
    def call(self, x):
        return x + self.mlp(x) if ops.is_tensor(x) else x


@pytest.mark.parametrize("kind", [AsksForAxes, AsksForATensor])
def test_code_that_asks_about_its_input_gets_the_answer_for_a_tensor(kind):
    inputs = keras.Input((4, WIDTH))
    model = keras.Model(inputs, kind()(inputs))
    x = np.random.default_rng(0).normal(size=(2, 4, WIDTH)).astype("float32")
    before = run(model, x)
    converted = keras_laurel.laurelize(
        model, keras_laurel.LaurelRW(), verbose=False
    )
    assert len(keras_laurel.laurel_layers(converted)) == 1
    assert_equal(run(converted, x), before)
