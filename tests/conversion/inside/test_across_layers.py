"""Layers that are given x and f(x) and add them, or hand both on."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.conversion.inside import own_models
from tests.conversion.inside.running import assert_equal
from tests.conversion.inside.running import run


class MyAdd(layers.Add):
    pass


def merged(join):
    inputs = x = keras.Input((8, 4, 4))
    for _ in range(2):
        h = layers.BatchNormalization(axis=1)(x)
        x = join([x, layers.Activation("tanh")(h)])
    return keras.Model(inputs, x)


def test_a_subclass_of_add_and_a_lambda_are_merges(tmp_path):
    """In what they are, and on which axis; and they are saved."""
    scaled = layers.Lambda(lambda x: x[0] + 0.1 * x[1])
    x = np.random.default_rng(0).normal(size=(2, 8, 4, 4))
    for join, custom in ((MyAdd(), {"MyAdd": MyAdd}), (scaled, {})):
        model = merged(join)
        before = run(model, x)
        layer = keras_laurel.LaurelLR(2)
        model = keras_laurel.laurelize(model, layer, verbose=False)
        assert_equal(run(model, x), before)
        (laurel,) = keras_laurel.laurel_layers(model)
        assert laurel.axis == 1
        laurel.laurel_b.assign(np.ones(laurel.laurel_b.shape))
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(
            tmp_path / "model.keras", custom_objects=custom, safe_mode=False
        )
        assert_equal(run(loaded, x), run(model, x))


class EitherWay(layers.Layer):
    def call(self, a, b):
        return a + b


def test_a_merge_that_adds_now_this_way_and_now_that_is_left_out():
    join, dense = EitherWay(), layers.Dense(4, activation="relu")
    x = inputs = keras.Input((4,))
    x = join(x, dense(x))
    x = join(dense(x), x)
    sites = keras_laurel.residual_sites(keras.Model(inputs, x))
    assert sites == []
    (left_out,) = sites.left_out
    assert "not always around a branch" in left_out.reason


class DropPathAdd(layers.Layer):
    """It draws in training only, where it adds in another line."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(5)

    def call(self, x, fx, training=None):
        if not training:
            return x + 0.5 * fx
        kept = keras.random.uniform((x.shape[-1],), seed=self.seed) < 0.5
        return x + ops.cast(kept, x.dtype) * fx


def test_one_merge_for_all_blocks_is_converted_in_training_too():
    x = inputs = keras.Input((4,))
    join = DropPathAdd()
    for _ in range(3):
        x = join(x, layers.Dense(4, activation="relu")(x))
    model = keras.Model(inputs, x)
    assert not keras_laurel.residual_sites(model).left_out
    layer = keras_laurel.LaurelRW()
    model = keras_laurel.laurelize(model, layer, verbose=False)
    (laurel,) = keras_laurel.laurel_layers(model)
    (weight,) = laurel.trainable_weights
    x = np.random.default_rng(0).normal(size=(2, 4))
    model.compile("sgd", "mse")
    model.fit(x, x + 1, verbose=0)
    assert np.any(ops.convert_to_numpy(weight) != 0)


class Named(layers.Layer):
    """Returns a dict whose keys are not in the order of the alphabet."""

    def __init__(self, outputs):
        super().__init__()
        self.dense, self.outputs_of = layers.Dense(4, "tanh"), outputs

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.outputs_of(x, self.dense(x))


def pair(x, fx):
    return {"skip": x, "branch": fx}


def total(x, fx):
    return {"z": x + fx, "a": fx}


# What a layer returns, what is used of it, and the skips that are found.
NAMED = {
    "handed on": (pair, lambda y: y["skip"] + y["branch"], [0]),
    "handed on, skip last": (pair, lambda y: y["branch"] + y["skip"], [1]),
    "sum used": (total, lambda y: y["z"], [0]),
    "sum not used": (total, lambda y: y["a"], []),
}


class Using(layers.Layer):
    def __init__(self, layer, use):
        super().__init__()
        self.layer, self.use = layer, use

    def call(self, x):
        return self.use(self.layer(x))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_outputs_are_found_by_their_names(name, inside):
    outputs, use, skips = NAMED[name]
    layer, x = Named(outputs), keras.Input((4,))
    y = Using(layer, use)(x) if inside else use(layer(x))
    sites = keras_laurel.residual_sites(keras.Model(x, y))
    assert [site.skip for site in sites] == skips


class OfTheBranch(layers.Layer):
    """Returns no sum with its input, though a layer in it does."""

    def __init__(self):
        super().__init__()
        self.inner, self.dense = Named(total), layers.Dense(4, "tanh")

    def call(self, x):
        y = self.inner(x)
        self.add_loss(ops.mean(y["z"]))
        return y["a"] + self.dense(y["a"])


def test_a_block_returns_the_sum_itself():
    layer, x = OfTheBranch(), keras.Input((4,))
    sites = keras_laurel.residual_sites(
        keras.Model(x, layer(x)), granularity="block"
    )
    assert [site.node for site in sites] == [layer.inner]


def test_a_layer_that_adds_by_another_is_a_block():
    model = own_models.TABLE["drop paths"].build()
    model(np.ones((2, 3, 8)))
    sites = keras_laurel.residual_sites(model, granularity="block")
    assert [site.node for site in sites] == model.blocks
