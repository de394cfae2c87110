"""The programs as a user runs them: whole, killed, fine-tuning, refused."""

import csv
import json
import re
from pathlib import Path

import keras
import pytest

import llm_pretrain
from experiments.devices import Devices
from tests.processes import Program
from tests.processes import run

# A minute on each backend; how a run goes on is the same on all.
SLOW_BUT_ON_JAX = (
    pytest.mark.slow if keras.backend.backend() != "jax" else lambda test: test
)
TINY = Path(__file__).with_name("tiny_llm.py")
OPTIONS = (
    "--rank 4 --steps 12 --evaluate-every 3 "
    "--warmup-steps 3 --batch-size 4 --accumulate 2 --evaluation-batches 2 "
    "--schedule wsd --learning-rate 0.01 --laurel-rates 0.5 1"
).split()
TUNING = (
    "--rank 4 --lora-rank 2 --steps 6 --evaluate-every 3 --warmup-steps 1 "
    "--batch-size 4 --evaluation-batches 2 --dataset python_stdlib "
    "--train-split test --eval-split train --learning-rate 0.01"
).split()

JAX = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
)


def numbers(folder):
    """All of the history that does not depend on the machine's state."""
    names = "seconds tokens_per_second peak_memory_mb begins_sitting".split()
    return [
        {k: v for k, v in row.items() if k not in names}
        for row in history(folder)
    ]


def history(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def sittings(folder):
    return [row["begins_sitting"] for row in history(folder)]


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    """JAX keeps what it has compiled for the next process."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("compiled"))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    variants = ("--variants", "baseline", "rw+lr+pa")
    arguments = (*OPTIONS, *variants, "--output", folder)
    status, output = run(TINY, "llm_pretrain", *arguments)
    assert status == 0, output
    return folder, output


def test_a_run_leaves_numbers_a_picture_samples_and_models(whole_run):
    folder, output = whole_run
    results = json.loads((folder / "results.json").read_text())
    baseline, laurel = results["variants"]
    assert laurel["parameters_added"] > baseline["parameters_added"] == 0
    rows = numbers(folder)
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"] * 2
    assert float(rows[3]["val_loss"]) < float(rows[0]["val_loss"]) < 6
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"rw\+lr\+pa +[\d,]+ +\d+\.\d+", output)
    assert "This is one seed" in output
    samples = (folder / "samples.txt").read_text()
    assert samples.count("def ") >= 2
    for name in ("preset/config.json", "model.keras"):
        assert (folder / "rw+lr+pa" / name).exists()


@SLOW_BUT_ON_JAX
def test_a_killed_run_ends_with_the_same_numbers(whole_run, tmp_path):
    expected = [r for r in numbers(whole_run[0]) if r["variant"] != "baseline"]
    folder = tmp_path / "run"
    arguments = (*OPTIONS, "--variants", "rw+lr+pa", "--output", folder)
    checkpoints = folder / "rw+lr+pa" / "checkpoints"
    with Program(TINY, "llm_pretrain", *arguments) as program:
        program.kill_when(checkpoints / "1")
    assert not (folder / "results.json").exists()

    status, output = run(TINY, "llm_pretrain", *arguments)
    assert status == 0, output
    assert "Epoch 1/4" not in output and "Epoch 4/4" in output
    assert numbers(folder) == expected
    assert sittings(folder)[0] == "True"
    assert sittings(folder).count("True") == 2
    assert not checkpoints.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ("--rank 5", "`rank` is 4 there, 5 here.*Choose another `--output`"),
        ("--configuration big", "`--configuration big`, expected one of tiny"),
        ("--sequence-length 999", "`--sequence-length 128` or less"),
        ("--variants rw pa --num-activations 5", "a model of 4 blocks"),
        ("--variants rw lp", "received `lp`, expected one of baseline"),
        pytest.param(
            "--variants baseline rw+lr+pa --distribution fsdp --mesh 8",
            "`--mesh` 8: .* a mesh of 8 devices; there are 1",
            marks=JAX,
        ),
    ],
)
def test_what_cannot_be_run_is_refused(whole_run, change, message):
    arguments = [*OPTIONS, *change.split(), "--output", str(whole_run[0])]
    with pytest.raises(ValueError, match=message):
        llm_pretrain.prepare(llm_pretrain.parse_options(arguments))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is about TensorFlow"
)
def test_tensorflow_does_not_accumulate_on_several_devices():
    llm_pretrain.check_accumulation(1, Devices("CPU", count=4))
    with pytest.raises(ValueError, match="`--accumulate 2` on 4 x CPU"):
        llm_pretrain.check_accumulation(2, Devices("CPU", count=4))


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is about TensorFlow"
)
def test_tensorflow_mirrors_and_goes_on_where_it_was_killed(tmp_path):
    options = (*OPTIONS, "--variants", "rw+lr+pa", "--accumulate", "1")
    one, folder = tmp_path / "one", tmp_path / "four"
    status, output = run(TINY, "llm_pretrain", *options, "--output", one)
    assert status == 0, output

    arguments = (*options, "--output", folder)
    four = {"TINY_LOGICAL_CPUS": "4"}
    checkpoint = folder / "rw+lr+pa" / "checkpoints" / "1"
    with Program(TINY, "llm_pretrain", *arguments, **four) as program:
        program.kill_when(checkpoint)
    status, output = run(TINY, "llm_pretrain", *arguments, **four)
    assert status == 0, output
    assert "on 4 x CPU" in output and "Epoch 1/4" not in output
    for row, other in zip(numbers(folder), numbers(one), strict=True):
        for name in ("loss", "val_loss"):
            close = pytest.approx(float(other[name]), rel=1e-4)
            assert float(row[name]) == close


def test_laurel_and_lora_are_tuned_saved_and_generate(whole_run, tmp_path):
    preset = whole_run[0] / "baseline" / "preset"
    arguments = (*TUNING, "--model", preset, "--output", tmp_path / "tuned")
    status, output = run(TINY, "finetune", *arguments)
    assert status == 0, output
    result = json.loads((tmp_path / "tuned" / "results.json").read_text())
    assert result["laurel_weights_changed"] == result["laurel_weights"] == 9
    assert result["trainable_parameters"] < result["parameters"] / 4
    assert result["loss_after"] < result["loss_before"]
    assert result["loss_of_the_saved_model"] == pytest.approx(
        result["loss_after"], rel=1e-5
    )
    assert result["sample"].startswith("def ")
    assert "LAuReL weights have changed" in output
