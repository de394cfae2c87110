"""`python -m keras_laurel.costs`: what it counts, and what it refuses."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_laurel
from keras_laurel.costs.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]


def test_a_saved_model_is_counted(tmp_path, capsys):
    x = keras.Input((4,))
    plain = keras.Model(x, keras.layers.Add()([x, keras.layers.Dense(4)(x)]))
    model = keras_laurel.laurelize(plain, keras_laurel.LaurelRW())
    for name, each in (("plain", plain), ("laurel", model)):
        each.save(tmp_path / f"{name}.keras")
    files = [str(tmp_path / f"{name}.keras") for name in ("laurel", "plain")]
    output = tmp_path / "cost.json"
    main([files[0], "--baseline", files[1], "--output", str(output)])
    assert json.loads(output.read_text())["added_parameters"] == 2
    assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/cost.json", "--output missing/cost.json, and there is no"),
        (".", "--output='.', which is a folder"),
        ("", "`--output` must be a path"),
    ],
)
def test_the_output_is_checked_before_the_work(output, message):
    with pytest.raises(SystemExit, match=message):
        main(["missing.keras", "--output", output])


def test_a_class_of_ones_own_is_imported(tmp_path):
    """In fresh processes: here the class is known."""
    (tmp_path / "tiny_models.py").write_text(OWN_MODELS)
    command = [sys.executable, "-m", "keras_laurel.costs", "own.keras"]
    run(tmp_path, sys.executable, "-c", "import tiny_models as t; t.save()")
    refused = run(tmp_path, *command, fails=True).stderr
    assert "Argument `model` must be a file" in refused
    assert "own.keras, which has the class `TinyGPT`" in refused
    assert "Pass `--import MODULE`" in refused
    assert "could not be deserialized" not in refused
    command += ["--batch-size", "2"]
    printed = run(tmp_path, *command, "--import", "tiny_models").stdout
    assert "1 x rw" in printed
    refused = run(tmp_path, *command, "--import", "models", fails=True).stderr
    assert "Received: --import models: No module named 'models'" in refused


def run(folder, *command, fails=False):
    path = os.pathsep.join([str(folder), str(ROOT)])
    finished = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert bool(finished.returncode) == fails, finished.stderr
    return finished


OWN_MODELS = """
import keras
import numpy as np

import keras_laurel

register = keras.saving.register_keras_serializable("tiny")


@register
class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return x + self.dense(x)


@register
class TinyGPT(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = Block()

    def call(self, x):
        return self.block(x)


def save():
    model = TinyGPT()
    model(np.ones((2, 4), "float32"))
    keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    model.save("own.keras")
"""


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(SystemExit, match="File not found"):
        main([str(tmp_path / "nothing.keras")])
