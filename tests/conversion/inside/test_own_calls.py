"""Functional and sequential models whose class has a `call` of its own.

Such a model does not run the graph that Keras made of its layers.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.backends import once
from tests.backends import rows
from tests.conversion.inside.running import as_array
from tests.conversion.models import shake

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
register = keras.saving.register_keras_serializable(package="own_calls")


def dense():
    return layers.Dense(8, activation="tanh")


@register
class ArgumentsOnly(keras.Model):
    """Its config has no graph, and its graph has an addition."""

    def __init__(self, **kwargs):
        x = keras.Input((6, 8))
        first, second = dense(), dense()
        second.build((None, 6, 8))
        super().__init__(x, x + first(x), **kwargs)
        self.first, self.second = first, second

    def call(self, x, training=None, mask=None):
        x = x + self.first(x)
        return x + self.second(x)

    def get_config(self):
        return {"name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@register
class OverItsGraph(keras.Model):
    """Made of inputs and outputs, as its config."""

    def call(self, x, training=None, mask=None):
        for layer in self.layers:
            x = x + layer(x) if layer.weights else x
        return x


@register
class OverItsLayers(keras.Model):
    """Subclassed; the LAuReL layers are no layers for its loop."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = dense(), dense()

    def build(self, shape):
        for layer in self.layers:
            layer.build(shape)

    def call(self, x):
        for layer in self.layers:
            x = layer(x) + x
        return x


@register
class Flipped(keras.Model):
    """Runs its graph twice, which is no addition of its own."""

    def call(self, x, training=None, mask=None):
        flipped = super().call(ops.flip(x, axis=1), training=training)
        return layers.average([super().call(x), ops.flip(flipped, axis=1)])


@register
class Around(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return x + super().call(x, training=training)


@register
class Stepwise(keras.Sequential):
    def call(self, x, training=None, mask=None):
        for layer in self.layers:
            x = x + layer(x)
        return x


def over_its_graph():
    x = keras.Input((6, 8))
    return OverItsGraph(x, dense()(dense()(x)))


def over_its_layers():
    model = OverItsLayers()
    model.build((None, 6, 8))
    return model


def flipped():
    x = keras.Input((6, 8))
    return Flipped(x, x + dense()(x))


MODELS = {
    "arguments only": (ArgumentsOnly, 2),
    "over its graph": (over_its_graph, 2),
    "over its layers": (over_its_layers, 2),
    "flipped": (flipped, 1),
}


def in_a_graph(model):
    x = keras.Input((6, 8))
    return keras.Model(x, dense()(model(dense()(x))))


@pytest.mark.parametrize("nested", [False, True], ids=["itself", "nested"])
@pytest.mark.parametrize("name", rows(MODELS, ["over its graph"]))
def test_what_runs_is_converted(name, nested, tmp_path):
    make, count = MODELS[name]
    model = in_a_graph(make()) if nested else make()
    before = as_array(model(ops.convert_to_tensor(X)))
    layer = keras_laurel.get("rw+lr+pa", rank=2)
    model = keras_laurel.laurelize(model, layer)
    assert len(keras_laurel.laurel_layers(model)) == count
    x = ops.convert_to_tensor(X)
    np.testing.assert_array_equal(as_array(model(x)), before)
    shake(model)
    moved = as_array(model(x))
    assert np.abs(moved - before).max() > 1e-3

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(keras_laurel.laurel_layers(loaded)) == count
    np.testing.assert_array_equal(as_array(loaded(x)), moved)


class Attending(layers.Layer):
    """PyTorch's first symbolic run of it fails in bfloat16."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scores, self.out = layers.Dense(6), layers.Dense(8)

    def call(self, x):
        return x + self.out(ops.softmax(self.scores(x)) @ x)


@pytest.mark.filterwarnings("ignore:.*looks like it has unbuilt state")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_second_symbolic_run_forgets_the_first(policy):
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((6, 8))
        model = keras.Model(x, Attending()(Attending()(x)))
        model(X)
        assert len(keras_laurel.residual_sites(model)) == 2
    finally:
        keras.config.set_dtype_policy("float32")


class AddingNorm(layers.BatchNormalization):
    def call(self, x, training=None, mask=None):
        return super().call(x, training=training, mask=mask) + x


@once
def test_a_subclass_of_a_layer_of_keras_that_adds():
    x = keras.Input((6, 8))
    sites = keras_laurel.residual_sites(keras.Model(x, AddingNorm()(x)))
    assert len(sites) == 1
    # The moving mean and variance are updated.
    assert {x.reason for x in sites.left_out} == {
        "shape (8,), without an axis of features"
    }


@once
@pytest.mark.parametrize("cls", [Around, Stepwise])
def test_a_sequential_model_that_adds_is_named(cls):
    """It cannot hold a LAuReL layer beside those that it runs in turn."""
    x = keras.Input((6, 8))
    h = x + dense()(x)
    for name in "ab":
        h = cls([dense(), dense()], name=name)(h)
    sites = keras_laurel.residual_sites(keras.Model(x, h))
    assert len(sites) == 1
    for name, left_out in zip("ab", sites.left_out, strict=True):
        assert left_out.where.startswith(f"{name}: {__file__}:")
        assert left_out.where.endswith(f"in {cls.__name__}.call")
        assert "outside of the graph" in left_out.reason
