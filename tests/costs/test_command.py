"""`python -m keras_laurel.costs`: what it counts, and what it refuses."""

import json

import keras
import pytest

import keras_laurel
from keras_laurel.costs.__main__ import main


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


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(SystemExit, match="File not found"):
        main([str(tmp_path / "nothing.keras")])
