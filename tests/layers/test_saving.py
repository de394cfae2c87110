"""Configurations, files, fresh processes, and the other backends."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_laurel
from tests.layers.cases import CASES
from tests.layers.cases import SHAPE
from tests.layers.cases import D
from tests.layers.cases import model_of_all_cases
from tests.layers.cases import model_of_variants
from tests.layers.cases import set_random_weights
from tests.layers.cases import to_numpy
from tests.layers.train_and_load import load_all
from tests.layers.train_and_load import train_and_save

BACKENDS = ("jax", "tensorflow", "torch")


@pytest.mark.parametrize("name", ["Laurel", "LaurelRW", "LaurelLR", "LaurelPA"])
def test_registered_names_do_not_change(name):
    cls = getattr(keras_laurel, name)
    registered = keras.saving.get_registered_name(cls)
    assert registered == f"keras_laurel>{name}"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_config_makes_the_same_layer(case):
    layer = case.make(name="residual", dtype="mixed_bfloat16", trainable=False)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    for option, value in case.options.items():
        if option != "a_initializer":
            assert getattr(again, option) == value


def test_numbers_of_numpy_are_taken_and_saved_as_pythons():
    options = {"rank": 2, "num_activations": 3, "axis": 1, "scale": 0.5}
    arrays = {k: np.array(v)[()] for k, v in options.items()}
    layer = keras_laurel.Laurel(**arrays, name="residual")
    config = keras_laurel.Laurel(**options, name="residual").get_config()
    assert json.dumps(layer.get_config()) == json.dumps(config)


@keras.saving.register_keras_serializable("tests")
class Block(keras.Model):
    """A subclassed model with a layer of each case."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(D, activation="tanh")
        self.residuals = [case.make() for case in CASES.values()]

    def call(self, x):
        fx = self.dense(x)
        for case, layer in zip(CASES.values(), self.residuals):
            x = layer([x, fx, *[fx] * (case.inputs - 2)])
        return x


def functional():
    return model_of_all_cases()


def nested():
    x = keras.Input(SHAPE[1:])
    return keras.Model(x, keras.layers.Dense(2)(model_of_all_cases()(x)))


def subclassed():
    model = Block()
    model(np.zeros(SHAPE))
    return model


every_kind = pytest.mark.parametrize("make", [functional, nested, subclassed])


def x():
    return np.random.default_rng(1).normal(size=SHAPE).astype("float32")


def with_random_weights(model):
    set_random_weights(model)
    return model, to_numpy(model(x()))


@every_kind
def test_a_saved_model_is_the_same_model(make, tmp_path):
    model, expected = with_random_weights(make())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(again(x())), expected)


@every_kind
def test_saved_weights_are_the_same_weights(make, tmp_path):
    model, expected = with_random_weights(make())
    model.save_weights(tmp_path / "model.weights.h5")
    again = make()
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(to_numpy(again(x())), expected)


LOAD = """
import keras_laurel
import keras
import numpy as np
model = keras.saving.load_model("model.keras")
out = keras.ops.convert_to_numpy(model(np.load("x.npy")))
np.testing.assert_array_equal(out, np.load("expected.npy"))
"""


def test_a_fresh_process_needs_only_the_import(tmp_path):
    model, expected = with_random_weights(model_of_variants())
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x())
    np.save(tmp_path / "expected.npy", expected)
    subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        env=environment(),
        check=True,
    )


def environment(**variables):
    root = os.path.dirname(os.path.dirname(keras_laurel.__file__))
    return {**os.environ, "PYTHONPATH": root, **variables}


@pytest.mark.skipif(
    keras.config.backend() != "jax"
    or not all(importlib.util.find_spec(b) for b in BACKENDS),
    reason="runs once, from JAX, and needs all backends",
)
def test_trained_under_one_backend_and_loaded_under_the_others(tmp_path):
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.layers.train_and_load", tmp_path],
            env=environment(KERAS_BACKEND=backend),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for backend in BACKENDS
        if backend != "jax"
    ]
    train_and_save(tmp_path)
    for other in others:
        assert other.stdout.readline() == "saved\n"
    load_all(tmp_path)
    for other in others:
        other.communicate("load\n")
        assert other.returncode == 0
