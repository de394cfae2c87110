"""The trainer for images: whole, killed, refused, on several devices."""

import json

import keras
import numpy as np
import pytest

from experiments.vision import models
from tests.experiments import programs
from tests.experiments.programs import run
from tests.experiments.tiny import build_tiny
from tests.processes import finish
from tests.processes import job

BACKEND = keras.backend.backend()
# How a run continues is the same on all backends.
SLOW_BUT_ON_JAX = pytest.mark.slow if BACKEND != "jax" else lambda test: test
JAX = pytest.mark.skipif(BACKEND != "jax", reason="is about JAX")
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build_keras_cv", build_tiny)
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("whole")
    options = ("--data-dir", data_dir, "--arms", "rw+lr")
    return folder, run("demo", folder, *options)["rw+lr", 0]


def test_a_run_leaves_numbers_a_table_a_picture_and_a_model(whole_run):
    folder, row = whole_run
    accuracies = [round_["val_accuracy"] for round_ in row["history"]]
    assert len(accuracies) == 3
    assert row["accuracy_last"] == accuracies[-1]
    assert row["accuracy_best"] == max(accuracies)
    assert row["accuracy_reloaded"] == pytest.approx(accuracies[-1])
    assert row["made_with"]["keras"] == keras.__version__
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert "| rw+lr " in (folder / "demo.md").read_text()
    about = json.loads((folder / "demo.json").read_text())["about"]
    assert about["data"]["digits"]["evaluation_images"] == 359
    assert about["baseline_parameters"] < row["parameters"]
    assert not list(folder.glob("*/*/checkpoints"))


def test_held_out_cross_entropy_is_that_of_the_saved_model(whole_run):
    """Of all 359 held-out images, without smoothing, in float64."""
    from experiments.options import Machine
    from experiments.vision.settings import VisionSettings
    from experiments.vision.trainer import find_devices
    from experiments.vision.trainer import open_images

    folder, row = whole_run
    assert row["settings"]["label_smoothing"] > 0
    model = keras.models.load_model(folder / "rw+lr/seed_0/model.keras")
    settings = VisionSettings(dataset="digits", image_size=32, batch_size=64)
    machine = Machine(output=folder, data_dir=None)
    images = open_images(settings, machine, find_devices(machine))
    total = count = 0
    for x, labels, weights in images.evaluation():
        logits = keras.ops.convert_to_numpy(model(x.numpy())).astype("float64")
        chosen = (logits * labels.numpy()).sum(-1)
        losses = np.log(np.exp(logits).sum(-1)) - chosen
        total += (losses * weights.numpy()).sum()
        count += weights.numpy().sum()
    assert count == 359
    assert row["held_out_loss"] == pytest.approx(total / count, rel=1e-4)


@SLOW_BUT_ON_JAX
def test_a_killed_run_ends_with_the_same_numbers(whole_run, data_dir, tmp_path):
    options = ("--data-dir", data_dir, "--arms", "rw+lr")
    checkpoint = tmp_path / "rw+lr" / "seed_0" / "checkpoints" / "0"
    with programs.start("demo", tmp_path, *options) as program:
        program.kill_when(checkpoint)
    assert not (tmp_path / "demo.json").exists()
    row = run("demo", tmp_path, *options)["rw+lr", 0]
    expected = whole_run[1]
    for found, other in zip(row["history"], expected["history"], strict=True):
        for name in ("loss", "val_loss", "val_accuracy"):
            # Of two processes one may round another way.
            assert found[name] == pytest.approx(other[name], rel=1e-5)
    assert [x["begins_sitting"] for x in row["history"]].count(True) == 2
    assert not checkpoint.parent.exists()


def test_other_settings_are_refused(whole_run, data_dir):
    folder, _ = whole_run
    with pytest.raises(ValueError, match="epochs=3 there, 5 here"):
        options = ("--data-dir", data_dir, "--arms", "rw+lr")
        run("demo", folder, *options, "--epochs", "5")


def test_a_split_without_one_batch_is_refused(tmp_path, data_dir):
    options = ("--data-dir", data_dir, "--train-split", "train[:50]")
    with pytest.raises(ValueError, match="at least one batch. Received: 50"):
        run("demo", tmp_path, *options)


def losses(row):
    return [x[name] for x in row["history"] for name in ("loss", "val_loss")]


@pytest.mark.slow
@JAX
@pytest.mark.parametrize(
    "processes, options, shown",
    [
        (1, "", "Mesh: batch=8; 8 devices"),
        (1, "--distribution tensor --mesh 4 2", "(-, model, -)"),
        (1, "--distribution fsdp", "Mesh: batch=8"),
        (2, "", "Mesh: batch=8; 8 devices"),
        (2, "--distribution fsdp", "Mesh: batch=8"),
    ],
)
def test_jax_trains_on_eight_devices(
    processes, options, shown, whole_run, data_dir, tmp_path
):
    options = ("--data-dir", data_dir, "--arms", "rw+lr", *options.split())
    words = programs.command("demo", tmp_path, *options)
    with job(processes, 8, programs.TINY, *words) as jobs:
        output, *_ = finish(jobs)
    assert shown in output
    row = programs.rows_in(tmp_path, "demo")["rw+lr", 0]
    assert row["accuracy_reloaded"] == pytest.approx(row["accuracy_last"])
    if processes == 1:
        assert losses(row) == pytest.approx(losses(whole_run[1]), rel=1e-3)


@pytest.mark.slow
@JAX
def test_a_batch_that_devices_cannot_divide_is_refused(data_dir, tmp_path):
    options = ("--data-dir", data_dir, "--batch-size", "60")
    status, output = programs.in_process("demo", tmp_path, *options, **EIGHT)
    assert status != 0
    assert (
        "a multiple of 8 samples" in output and "Use for example 64" in output
    )


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="is about TensorFlow")
def test_tensorflow_mirrors_on_eight_devices(data_dir, tmp_path):
    options = ("--data-dir", data_dir, "--arms", "rw+lr", "--epochs", "2")
    status, output = programs.in_process(
        "demo", tmp_path, *options, TINY_LOGICAL_CPUS="8"
    )
    assert status == 0, output
    assert "on 8 x CPU" in output
