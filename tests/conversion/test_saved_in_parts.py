"""A model converted in place, or a part of it, saved inside another."""

import itertools
import pickle

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from keras_laurel.layers import LaurelPA
from tests.backends import rows
from tests.conversion.models import outputs
from tests.conversion.models import shake

X = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
_register = keras.saving.register_keras_serializable("saved_in_parts")


@_register
class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return x + self.dense(x)


@_register
class Stage(layers.Layer):
    """Its config does not know of its blocks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block() for _ in range(2)]

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@_register
class OwnConfig(keras.Model):
    """A graph whose config does not have its layers."""

    def __init__(self, **kwargs):
        inputs = keras.Input((8,))
        x = inputs
        for _ in range(2):
            x = Stage()(x)
            x = x + layers.Dense(8)(x)
        super().__init__(inputs, x, **kwargs)

    def get_config(self):
        return {"name": self.name}


@_register
class Outer(keras.Model):
    def __init__(self, **kwargs):
        inputs = keras.Input((8,))
        super().__init__(inputs, OwnConfig()(inputs), **kwargs)

    def get_config(self):
        return {"name": self.name}


def functional():
    inputs = keras.Input((8,))
    return keras.Model(inputs, Stage()(Stage()(inputs)))


def blocks_of(model):
    stages = [x for x in model.layers if isinstance(x, Stage)]
    if not stages:
        return [block for x in model.layers[1:] for block in blocks_of(x)]
    return [block for stage in stages for block in stage.blocks]


def in_functional(model):
    inputs = keras.Input((8,))
    return keras.Model(inputs, model(inputs))


def first_stage(model):
    inner = model.layers[1]
    stage = inner if isinstance(inner, Stage) else inner.layers[1]
    return keras.Sequential([keras.Input((8,)), stage])


@_register
class Holder(keras.Model):
    """Its config has the network that it is given, with LAuReL layers."""

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def call(self, x):
        return self.network(x)

    def get_config(self):
        network = keras.saving.serialize_keras_object(self.network)
        return {"name": self.name, "network": network}

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


@_register
class Wrapped(layers.Wrapper):
    def call(self, x):
        return self.layer(x)


def network():
    inputs = keras.Input((8,))
    x = inputs
    for _ in range(2):
        x = x + layers.Dense(8)(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "hold",
    [Holder, lambda x: in_functional(Wrapped(x))],
    ids=["model", "layer"],
)
def test_a_holder_that_saves_its_network(hold, tmp_path):
    model = hold(network())
    model(X)
    model = keras_laurel.laurelize(model, LaurelPA(2), verbose=False)
    shake(model)
    expected = ops.convert_to_numpy(model(X))
    for _ in range(2):
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
        assert len(keras_laurel.laurel_layers(model)) == 2
        np.testing.assert_array_equal(ops.convert_to_numpy(model(X)), expected)
    model = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(ops.convert_to_numpy(model(X)), expected)
    assert (
        len(keras_laurel.residual_sites(keras_laurel.remove_laurel(model))) == 2
    )


PARTS = {
    "itself": lambda model: model,
    "in functional": in_functional,
    "in sequential": lambda m: keras.Sequential([keras.Input((8,)), m]),
    "head": lambda m: keras.Model(m.input, layers.Dense(2)(m.output)),
    "first stage": first_stage,
}


@pytest.mark.parametrize(
    ("make", "around", "part"),
    rows(
        itertools.product(
            (functional, OwnConfig, Outer), ("additions", "blocks"), PARTS
        ),
        few=[
            (functional, "additions", "head"),
            (OwnConfig, "blocks", "in functional"),
            (Outer, "blocks", "first stage"),
            (Outer, "additions", "itself"),
        ],
    ),
)
def test_is_loaded_as_it_was(make, around, part, tmp_path):
    model = make()
    model(X)
    blocks = blocks_of(model) if around == "blocks" else None
    layer = LaurelPA(2)
    model = keras_laurel.laurelize(model, layer, blocks=blocks, verbose=False)
    shake(model)
    saved = PARTS[part](model)
    expected = ops.convert_to_numpy(saved(X))
    saved.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(X)), expected)
    count = len(keras_laurel.laurel_layers(saved))
    assert count == len(keras_laurel.laurel_layers(loaded)) > 0


@_register
class Runner(keras.Model):
    """Runs the blocks of a layer that is not run itself."""

    def __init__(self, stage, **kwargs):
        super().__init__(**kwargs)
        self.stage = stage

    def build(self, input_shape):
        self.stage.build(input_shape)

    def call(self, x):
        for block in self.stage.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize("granularity", ["sublayer", "block"])
def test_who_holds_the_blocks_and_does_not_run_them_saves_them(
    granularity, tmp_path
):
    runner = Runner(Stage())
    expected = outputs(runner, X)
    layer = LaurelPA(num_activations=2)
    keras_laurel.laurelize(runner, layer, inputs=X, granularity=granularity)
    np.testing.assert_array_equal(outputs(runner, X), expected)
    shake(runner)
    stage = keras.Sequential([keras.Input((8,)), runner.stage])
    stage.save(tmp_path / "stage.keras")
    loaded = keras.saving.load_model(tmp_path / "stage.keras")
    assert len(keras_laurel.laurel_layers(loaded)) == 2
    np.testing.assert_array_equal(outputs(loaded, X), outputs(runner, X))


def test_a_clone_that_lacks_the_recipe_says_so(tmp_path):
    model = functional()
    blocks = blocks_of(model)
    keras_laurel.laurelize(model, LaurelPA(2), blocks=blocks, verbose=False)
    clone = keras.models.clone_model(model)
    assert len(keras_laurel.laurel_layers(clone)) == 4
    with pytest.raises(ValueError, match="is a clone of a converted model"):
        clone.save(tmp_path / "model.keras")
