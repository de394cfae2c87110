"""Operations that run functions, such as `ops.cond` and `ops.scan`."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.backends import once
from tests.conversion.inside.running import as_array

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")


class Gated(layers.Layer):
    """Two residual additions; the functions between them hold tensors."""

    def __init__(self, between):
        super().__init__()
        self.first = layers.Dense(8, activation="tanh")
        self.second = layers.Dense(8, activation="tanh")
        self.between = between

    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x):
        y = x + self.first(x)
        gate = ops.sigmoid(y)
        y = self.between(self, y, gate)
        return y + self.second(y)


def cond(layer, y, gate):
    return ops.cond(ops.mean(y) > -9, lambda: y * gate, lambda: y)


def assigned_later(layer, y, gate):
    """The functions run when `y` is another tensor already."""
    y = ops.cond(ops.mean(y) > -9, lambda: y * gate, lambda: y)
    y = ops.cond(ops.mean(y) > -9, lambda: y + 1, lambda: y)
    return y


def held_by_a_function(layer, y, gate):
    def inner():
        return y * gate

    return ops.cond(ops.mean(y) > -9, lambda: inner(), lambda: y)


def in_a_list_or_a_default(layer, y, gate):
    gates = {"gates": [gate]}
    return ops.map(lambda row, g=gate: row * g[0] * gates["gates"][0][0], y)


BETWEEN = {
    "cond": cond,
    "assigned later": assigned_later,
    "held by a function": held_by_a_function,
    "in a list or a default": in_a_list_or_a_default,
    "fori_loop": lambda layer, y, gate: ops.fori_loop(
        0, 2, lambda i, h: h * gate, y
    ),
    "scan": lambda layer, y, gate: ops.scan(
        lambda h, _: (h * gate, h), y, length=2
    )[0],
    "switch": lambda layer, y, gate: ops.switch(
        ops.convert_to_tensor(1), [lambda h: h, lambda h: h * gate], y
    ),
    "vectorized_map": lambda layer, y, gate: ops.vectorized_map(
        lambda row: row * gate[0], y
    ),
    "while_loop": lambda layer, y, gate: ops.while_loop(
        lambda i, h: i < 2, lambda i, h: (i + 1, h * gate), (0, y)
    )[1],
    "a layer": lambda layer, y, gate: ops.cond(
        ops.mean(y) > -9, lambda: gate * layer.second(y), lambda: y
    ),
}


def model_of(layer):
    x = keras.Input((6, 8))
    return keras.Model(x, layer(x))


@pytest.mark.parametrize("name", BETWEEN)
def test_functions_that_hold_tensors(name):
    model = model_of(Gated(BETWEEN[name]))
    sites = keras_laurel.residual_sites(model)
    assert len(sites) == 2 and not sites.left_out
    expected = [as_array(model(x)) for x in (X, X[:1])]
    model = keras_laurel.laurelize(
        model, keras_laurel.LaurelRW(), verbose=False
    )
    for x, y in zip((X, X[:1]), expected):
        np.testing.assert_array_equal(as_array(model(x)), y)
    if name == "while_loop" and keras.config.backend() == "jax":
        return  # JAX has no gradient of such a loop.
    model.compile("sgd", "mse")
    model.fit(X, X, verbose=0)
    for layer in keras_laurel.laurel_layers(model):
        (weight,) = layer.trainable_weights
        assert np.all(as_array(weight) != 0)


class Around(Gated):
    """A skip around an operation that runs functions."""

    def call(self, x):
        return x + self.between(self, x)

    def step(self, h, _):
        return self.first(h), h


# Of each, whether its functions learn.
AROUND = {
    "cond": (
        lambda layer, x: ops.cond(
            ops.mean(x) > -9, lambda: layer.first(x), lambda: ops.zeros_like(x)
        ),
        True,
    ),
    "of a number": (
        lambda layer, x: ops.cond(ops.mean(x) > -9, lambda: 2 * x, lambda: x),
        False,
    ),
    "a layer": (lambda layer, x: ops.vectorized_map(layer.first, x), True),
    "a method": (lambda layer, x: ops.scan(layer.step, x, length=2)[0], True),
}


@once
@pytest.mark.parametrize("name", AROUND)
def test_branches_that_run_functions(name):
    branch, learns = AROUND[name]
    sites = keras_laurel.residual_sites(model_of(Around(branch)))
    assert len(sites) == learns
    if not learns:
        (left_out,) = sites.left_out
        assert "the branch learns nothing" in left_out.reason


@once
def test_an_addition_in_a_function_is_named():
    def between(layer, y, gate):
        return ops.cond(ops.mean(y) > 0, lambda: y + layer.second(y), lambda: y)

    sites = keras_laurel.residual_sites(model_of(Gated(between)))
    (left_out,) = sites.left_out
    assert len(sites) == 2
    assert "a function that `Cond` runs" in left_out.reason
