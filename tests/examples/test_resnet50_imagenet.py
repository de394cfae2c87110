"""The program as a user runs it: whole, interrupted, on several devices."""

import csv
import json
import re
from pathlib import Path

import keras
import pytest

from experiments.devices import Devices
from resnet50_imagenet import check_processes
from tests import processes
from tests.processes import Program
from tests.processes import finish
from tests.processes import job

BACKEND = keras.backend.backend()
# A minute on each backend; how a run goes on is the same on all.
SLOW_BUT_ON_JAX = pytest.mark.slow if BACKEND != "jax" else lambda test: test
TINY = Path(__file__).with_name("tiny_resnet50.py")
OPTIONS = (
    "--dataset digits --image-size 32 --variants baseline rw+lr --rank 4 "
    "--trials 1 --epochs 3 --warmup-epochs 1 --batch-size 64 "
    "--learning-rate 0.05"
).split()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def command(output, data_dir, *options):
    folders = ("--output", output, "--data-dir", data_dir)
    return TINY, *OPTIONS, *folders, *options


def run(output, data_dir, *options, **environment):
    return processes.run(*command(output, data_dir, *options), **environment)


def numbers(folder):
    """All of the history that does not depend on the clock."""
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{**row, "seconds": None} for row in rows]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("whole") / "run"
    status, output = run(folder, data_dir)
    assert status == 0, output
    return folder, output


def test_a_run_leaves_table_pictures_and_a_model(whole_run):
    folder, output = whole_run
    results = json.loads((folder / "results.json").read_text())
    names = [row["variant"] for row in results["variants"]]
    assert names == ["baseline", "rw+lr"]
    assert results["variants"][0]["parameters_added_percent"] == 0
    assert results["variants"][1]["parameters_added_percent"] > 0
    best = results["best_model"]
    assert best["accuracy"] == pytest.approx(best["accuracy_reloaded"])
    assert best["accuracy"] == max(
        float(row["val_accuracy"]) for row in numbers(folder)
    )
    for name in ("accuracy.png", "table.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert re.search(r"rw\+lr +\d+\.\d+", output)
    assert "What next" in output


@SLOW_BUT_ON_JAX
def test_an_interrupted_run_ends_with_the_same_numbers(
    whole_run, data_dir, tmp_path
):
    expected, _ = whole_run
    state = tmp_path / "run" / "trials" / "rw+lr_1" / "state"
    with Program(*command(tmp_path / "run", data_dir)) as program:
        program.kill_when(state / "epoch_0002.json")
    assert not (tmp_path / "run" / "results.json").exists()

    status, output = run(tmp_path / "run", data_dir)
    assert status == 0, output
    assert "training baseline" not in output
    assert output.count("Epoch ") == 1 and "Epoch 3/3" in output
    assert numbers(tmp_path / "run") == numbers(expected)
    assert not state.exists()


def test_another_command_does_not_mix_with_a_run(whole_run, data_dir):
    folder, _ = whole_run
    status, output = run(folder, data_dir, "--epochs", "5")
    assert status != 0
    assert "`epochs` is 3 there, 5 here" in output
    assert "Choose another `--output`" in output


# At the rate of the other tests rounding grows to 1e-3 within two epochs, in
# the baseline too.
STEADY = ("--learning-rate", "0.005")


@pytest.fixture(scope="module")
def steady_run(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("steady") / "run"
    status, output = run(folder, data_dir, *STEADY)
    assert status == 0, output
    return folder


def run_on_eight(tmp_path, data_dir, **environment):
    options = ("--variants", "rw+lr", "--epochs", "2")
    return run(tmp_path / "eight", data_dir, *options, **environment)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="is about JAX")
def test_jax_trains_on_all_of_eight_devices(tmp_path, data_dir):
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    status, output = run_on_eight(tmp_path, data_dir, **eight)
    assert status == 0, output
    assert "on 8 x cpu" in output
    assert "Mesh: batch=8; 8 devices" in output

    status, output = run(
        tmp_path / "odd", data_dir, "--batch-size", "60", **eight
    )
    assert status != 0
    assert "`--batch-size 60` on 8 x cpu" in output
    assert "`--batch-size 64`" in output


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="is about JAX")
@pytest.mark.parametrize(
    "options, layout",
    [
        ("--distribution tensor --mesh 4x2", "(-, model, -)"),
        ("--distribution fsdp --mesh 8", "Mesh: batch=8"),
    ],
)
def test_jax_divides_weights(options, layout, steady_run, data_dir, tmp_path):
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    options = (*STEADY, *options.split())
    status, output = run(tmp_path / "run", data_dir, *options, **eight)
    assert status == 0, output
    assert layout in output
    for row, other in zip(
        numbers(tmp_path / "run"), numbers(steady_run), strict=True
    ):
        close = pytest.approx(float(other["loss"]), rel=1e-4)
        assert float(row["loss"]) == close


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="is about JAX")
def test_jax_trains_in_two_processes(data_dir, tmp_path):
    options = ("--variants", "rw+lr", "--epochs", "2")
    with job(2, 4, *command(tmp_path / "run", data_dir, *options)) as programs:
        finish(programs)
    # The first is of both processes, the other of one that reads all images.
    best = json.loads((tmp_path / "run" / "results.json").read_text())[
        "best_model"
    ]
    assert best["accuracy"] == pytest.approx(best["accuracy_reloaded"])


def test_one_of_several_processes_cannot_write_divided_weights():
    devices = Devices("cpu", count=8, process_count=2)
    check_processes("data", devices)
    with pytest.raises(ValueError, match="in 2 processes; expected data"):
        check_processes("fsdp", devices)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="is about TensorFlow")
def test_tensorflow_mirrors_on_all_of_eight_devices(tmp_path, data_dir):
    status, output = run_on_eight(tmp_path, data_dir, TINY_LOGICAL_CPUS="8")
    assert status == 0, output
    assert "on 8 x CPU" in output
