"""Names of slices, and what is said where there is no compiler."""

import sys

import keras
import pytest

from keras_laurel.costs.tpu import CHIPS
from keras_laurel.costs.tpu import compile_program
from keras_laurel.costs.tpu.chips import find_chip
from keras_laurel.costs.tpu.chips import find_devices
from keras_laurel.costs.tpu.chips import num_chips


def test_chips_of_a_slice():
    assert num_chips("v5e:4x4") == 16
    assert num_chips("v4:8x8x16") == 1024
    assert find_chip("v5e:4x4") is CHIPS["v5e"]


@pytest.mark.parametrize("name", ["v5e", "v5e:3x3", "v4:2x2", "tpu:2x2", None])
def test_an_unknown_topology_is_answered_with_the_list(name):
    with pytest.raises(ValueError, match="`topology` must be a chip") as error:
        find_chip(name)
    assert repr(name) in str(error.value)
    for kind, chip in CHIPS.items():
        assert f"{kind}: {', '.join(chip.slices)}" in str(error.value)


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    # What `import` finds where a package is not installed.
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(ValueError, match=r"keras-laurel\[tpu\]"):
        find_devices("v5e:2x2")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can")
def test_another_backend_is_refused_before_a_model_is_built():
    def build():
        pytest.fail("the model was built")

    message = f"Received: the backend '{keras.backend.backend()}'"
    with pytest.raises(ValueError, match=f"{message}.*KERAS_BACKEND=jax"):
        compile_program(build, keras.KerasTensor((2, 8)))
