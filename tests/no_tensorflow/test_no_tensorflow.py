"""The package where TensorFlow is not installed.

Run by `make test-no-tensorflow`, in an environment of its own.
"""

import importlib.util
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_laurel

RELOAD = """
import sys

import keras
import numpy as np

import keras_laurel

model_file, inputs_file, outputs_file = sys.argv[1:]
model = keras.models.load_model(model_file)
np.save(outputs_file, model.predict(np.load(inputs_file), verbose=0))
"""


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = keras.layers.Dense(16)(inputs)
    for _ in range(2):
        fx = keras.layers.Dense(16, activation="relu")(x)
        x = keras.layers.Add()([x, fx])
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def test_tensorflow_is_not_importable():
    assert importlib.util.find_spec("tensorflow") is None
    assert keras.backend.backend() == "jax"


def test_convert_fit_save_load(model, tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(32, 8)).astype("float32")
    labels = rng.integers(3, size=32)
    plain_outputs = model.predict(inputs, verbose=0)

    model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=4))
    assert len(keras_laurel.laurel_layers(model)) == 2
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), plain_outputs, rtol=1e-5, atol=1e-6
    )

    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = model.fit(inputs, labels, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]

    outputs = model.predict(inputs, verbose=0)
    assert not np.allclose(outputs, plain_outputs, atol=1e-3)

    files = [tmp_path / name for name in ("m.keras", "in.npy", "out.npy")]
    model.save(files[0])
    np.save(files[1], inputs)
    subprocess.run([sys.executable, "-c", RELOAD, *files], check=True)
    np.testing.assert_array_equal(np.load(files[2]), outputs)
