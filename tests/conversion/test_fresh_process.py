"""A process that only imports keras_laurel loads what was saved here."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_laurel
from tests.backends import IS_FASTEST
from tests.conversion import graphs
from tests.conversion import zoo
from tests.conversion.models import outputs
from tests.conversion.models import random_input
from tests.conversion.models import shake


def narrow_resnet50():
    """`keras.applications.ResNet50` at an eighth of its width."""
    from keras.src.applications import resnet

    def stack(x):
        for i, (filters, blocks) in enumerate(
            [(8, 3), (16, 4), (32, 6), (64, 3)]
        ):
            x = resnet.stack_residual_blocks_v1(
                x, filters, blocks, stride1=1 + bool(i), name=f"conv{i + 2}"
            )
        return x

    return resnet.ResNet(
        stack,
        preact=False,
        use_bias=True,
        weights=None,
        input_shape=(32, 32, 3),
        classes=4,
        weights_name="resnet50",
    )


def hub_classifier():
    return zoo.hub_classifier(blocks=(1, 1, 1, 1))


def cv_retinanet():
    return zoo.cv_retinanet(zoo.cv_resnet((1, 1, 1, 1)))


def hub_retinanet():
    return zoo.hub_retinanet(zoo.hub_resnet((1, 1, 1, 1)))


MODELS = {
    "applications": (narrow_resnet50, 16),
    "shared": (graphs.shared_add, 3),
    "sequential": (graphs.sequential_of_functionals, 2),
    "cv_backbone": (zoo.cv_resnet, 8),
    "cv_retinanet": (cv_retinanet, 4),
    "hub_classifier": (hub_classifier, 4),
    "hub_retinanet": (hub_retinanet, 4),
}
if not IS_FASTEST:
    MODELS = {name: MODELS[name] for name in ("shared", "hub_retinanet")}

LOAD = """
    import pathlib
    import sys

    import keras_laurel
    import keras
    import numpy as np

    folder = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:]:
        model = keras.saving.load_model(folder / f"{name}.keras")
        x = dict(np.load(folder / f"{name}.inputs.npz"))
        x = x.get("only", x)
        y = keras.tree.flatten(model(x, training=False))
        y = [keras.ops.convert_to_numpy(z) for z in y]
        np.savez(folder / f"{name}.loaded.npz", *y)
        print(name, len(keras_laurel.laurel_layers(model)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With all models saved here and the outputs of the fresh process."""
    folder = tmp_path_factory.mktemp("saved")
    for name, (build, _) in MODELS.items():
        keras.backend.clear_session()
        save(build(), folder, name)
    command = [sys.executable, "-c", textwrap.dedent(LOAD), folder, *MODELS]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": keras.config.backend()},
    )
    assert run.returncode == 0, run.stderr
    (folder / "counts.txt").write_text(run.stdout)
    return folder


def save(model, folder, name):
    layer = keras_laurel.get("rw+lr+pa", rank=2)
    converted = keras_laurel.laurelize(model, layer)
    shake(converted)
    x = random_input(converted)
    named = x if isinstance(x, dict) else {"only": x}
    np.savez(folder / f"{name}.inputs.npz", **named)
    np.savez(folder / f"{name}.saved.npz", *outputs(converted, x))
    converted.save(folder / f"{name}.keras")


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_equal(name, folder):
    saved = np.load(folder / f"{name}.saved.npz")
    loaded = np.load(folder / f"{name}.loaded.npz")
    assert saved.files == loaded.files
    for key in saved.files:
        assert np.ptp(saved[key]) > 0
        np.testing.assert_array_equal(loaded[key], saved[key])


@pytest.mark.parametrize("name", MODELS)
def test_laurel_layers_are_found(name, folder):
    counts = (folder / "counts.txt").read_text().splitlines()
    assert f"{name} {MODELS[name][1]}" in counts
