"""Train and save a model; when told to, load those of the other backends.

A part of `test_saving.py`, run once for each backend at the same time.
"""

import pathlib
import sys

import keras
import numpy as np

from tests.layers.cases import SHAPE
from tests.layers.cases import model_of_variants
from tests.layers.cases import to_numpy


def data():
    return np.random.default_rng(0).normal(size=SHAPE)


def train_and_save(folder):
    model = model_of_variants()
    name = keras.config.backend()
    model.compile("sgd", "mse", jit_compile=name == "jax")
    for _ in range(3):
        model.train_on_batch(data(), data() ** 2)
    np.save(folder / f"{name}.npy", to_numpy(model(data())))
    model.save(folder / f"{name}.keras")


def load_all(folder):
    for path in folder.glob("*.keras"):
        out = to_numpy(keras.saving.load_model(path)(data()))
        expected = np.load(path.with_suffix(".npy"))
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    train_and_save(folder)
    print("saved", flush=True)
    sys.stdin.readline()
    load_all(folder)
