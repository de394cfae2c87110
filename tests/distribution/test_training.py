"""Losses on eight virtual devices are those of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("train_on_mesh.py")
# In float32, where sums over devices are rounded in another order.
TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
)


def run(*arguments):
    finished = subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "model, model_axis",
    [
        ("llama", "batch"),
        ("resnet", "model"),
        pytest.param("resnet50", "model", marks=pytest.mark.slow),
    ],
)
def test_losses_and_layouts_on_eight_devices(model, model_axis, tmp_path):
    seen = run(model, tmp_path / "checkpoints")
    expected = seen.pop("one device")
    assert expected["b"] > 0
    assert set(seen) == {"data", "tensor", "fsdp", "restored"}
    for kind, found in seen.items():
        for name in ("losses", "b"):
            close = pytest.approx(expected[name], rel=TOLERANCE)
            assert found[name] == close, (kind, name)
    if model == "llama":
        for error in expected["refused"]:
            assert "on 8 devices, while no distribution" in error
        assert expected["large"] == [True, [[1, 2**14, 64]]]
    check_layouts(seen["data"]["specs"], None)
    check_layouts(seen["tensor"]["specs"], model_axis)
    check_layouts(seen["fsdp"]["specs"], "batch")


def check_layouts(specs, axis):
    """Of every LAuReL weight, and of slots of the optimizer."""
    expected = {
        "laurel_a": [None, axis, None],
        "laurel_b": [None, axis],
        "laurel_gamma": [None],
        "laurel_residual_weights": [None],
        "laurel_a_momentum": [None, axis, None],
        "laurel_a_velocity": [None, axis, None],
    }
    names = {path: "laurel_" + path.rpartition("laurel_")[2] for path in specs}
    # SGD has no velocity.
    assert set(expected) - set(names.values()) <= {"laurel_a_velocity"}
    for path, spec in specs.items():
        assert spec == expected[names[path]], path
