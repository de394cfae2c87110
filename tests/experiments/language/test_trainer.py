"""The trainer for text: whole, killed, trained further, in processes."""

import re

import keras
import pytest

from experiments.devices import Devices
from experiments.language import datasets
from experiments.language.trainer import check_accumulation
from tests.backends import IS_FASTEST
from tests.backends import once
from tests.experiments import programs
from tests.experiments.programs import run
from tests.experiments.tiny import shortened
from tests.processes import LOST
from tests.processes import finish
from tests.processes import job

BACKEND = keras.backend.backend()
JAX = pytest.mark.skipif(BACKEND != "jax", reason="is about JAX")


def slow_but_once(test):
    """Experiments on text run on PyTorch, the fastest."""
    return test if IS_FASTEST else pytest.mark.slow(test)


OPTIONS = "--accumulate 2 --schedule wsd --laurel-rates 0.5 1".split()
OPTIONS += ["--prompt", ""]
# A process that only waits for a lost one is told by JAX's coordination service
# when heartbeats have stayed away for 100 s.
SECONDS_TO_NOTICE = 150


@pytest.fixture(scope="module", autouse=True)
def short_texts():
    with pytest.MonkeyPatch.context() as patch:
        for builder in datasets.BUILDERS:
            short = shortened(builder.read_documents)
            patch.setattr(builder, "read_documents", short)
        yield


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo_llm"
    return folder, run("demo_llm", folder, *OPTIONS)


def test_a_run_leaves_numbers_a_picture_a_sample_and_models(whole_run):
    folder, rows = whole_run
    baseline, laurel = rows["baseline", 0], rows["rw+lr", 0]
    assert laurel["parameters"] == baseline["parameters"] + 3 * (2 * 4 * 32 + 2)
    for row in (baseline, laurel):
        losses = [round_["val_loss"] for round_ in row["history"]]
        assert len(losses) == 4 and losses[-1] < losses[0] < 6
        assert row["held_out_loss"] == losses[-1]
        assert row["tokens"] == row["history"][-1]["tokens"] == 1536
    assert len(laurel["alpha"]) == 2 and "alpha" not in baseline
    for name in ("preset/config.json", "model.keras"):
        assert (folder / "rw+lr" / "seed_0" / name).exists()
    assert (folder / "demo_llm.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob("*/*/checkpoints"))
    if BACKEND == "jax":
        # Three numbers of each weight trained, and the logits.
        least = 4 * (3 * laurel["parameters"] + 2 * 32 * 300)
        assert least < 1e6 * laurel["step_memory_mb"] < 100 * least


@slow_but_once
def test_a_killed_run_ends_with_the_same_numbers(whole_run, tmp_path):
    options = (*OPTIONS, "--arms", "rw+lr")
    folder = tmp_path / "rw+lr" / "seed_0"
    with programs.start("demo_llm", tmp_path, *options) as program:
        program.kill_when(folder / "checkpoints" / "1")
    assert not (folder / "result.json").exists()
    row = run("demo_llm", tmp_path, *options)["rw+lr", 0]
    expected = whole_run[1]["rw+lr", 0]
    # Of two processes one may round another way.
    assert losses(row) == pytest.approx(losses(expected), rel=1e-6)
    assert [x["begins_sitting"] for x in row["history"]].count(True) == 2


def losses(row):
    return [x[name] for x in row["history"] for name in ("loss", "val_loss")]


def test_other_settings_are_refused(whole_run):
    message = "rank=4 there, 5 here.*choose another `--output`"
    with pytest.raises(ValueError, match=message):
        run("demo_llm", whole_run[0], *OPTIONS, "--rank", "5")


@pytest.mark.parametrize(
    "change, message",
    [
        ("--model big", "must be one of tiny"),
        ("--sequence-length 999", "at most 128 for model='tiny'"),
        ("--tokens 1000", "`tokens` must be a multiple of 128"),
        ("--rounds 5", "`tokens` must be a multiple of 640"),
        pytest.param(
            "--distribution fsdp --mesh 8",
            "the 1 devices. Received: .* a mesh of 8",
            marks=JAX,
        ),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run("demo_llm", tmp_path, *change.split())
    assert not list(tmp_path.glob("*/*/settings.json"))


def test_tensorflow_does_not_accumulate_on_several_devices():
    check_accumulation(1, Devices("CPU", count=4))
    if BACKEND == "tensorflow":
        with pytest.raises(ValueError, match="accumulate=2 on 4 x CPU"):
            check_accumulation(2, Devices("CPU", count=4))


FINETUNE = "--arms rw+lr+lora --dataset python_stdlib --lora-rank 2 "
FINETUNE += "--tokens 3840 --rounds 1"


def test_laurel_and_lora_are_tuned_from_a_preset(whole_run):
    """The saved weights include LoRA's products."""
    folder = whole_run[0].parent / "finetune"
    row = run("finetune", folder, *FINETUNE.split())["rw+lr+lora", 0]
    baseline = whole_run[1]["baseline", 0]
    assert row["trainable_parameters"] < row["parameters"] / 4
    assert row["held_out_loss"] < row["held_out_loss_before"]
    assert row["parameters"] > baseline["parameters"]
    assert row["alpha"] != [1.0, 1.0]
    assert row["sample"].startswith("**KING**")
    assert (folder / "rw+lr+lora/seed_0/preset/config.json").exists()


def test_a_model_that_is_not_there_is_asked_for(tmp_path):
    message = "python -m experiments demo_llm --arms baseline --seeds 1"
    with pytest.raises(ValueError, match=message):
        run("finetune", tmp_path / "finetune", *FINETUNE.split())


@once
def test_null_arms_start_alike_and_averages_are_evaluated(tmp_path):
    """So slow an average stays at the first weights while training goes on."""
    options = "--averaging 0.999999 --seeds 1 --rounds 2 --tokens 1024"
    arms = ("--arms", "base", "base-moved", "base-frozen")
    rows = run("language_pilot", tmp_path, *options.split(), *arms)
    rows = {arm: row for (arm, _), row in rows.items()}
    base, moved, frozen = rows.values()
    for row in rows.values():
        first, last = row["history"]
        assert last["val_loss"] == pytest.approx(first["val_loss"], abs=1e-3)
        assert last["loss"] < first["loss"] - 0.1
        close = pytest.approx(base["held_out_loss"], abs=1e-3)
        assert row["held_out_loss"] == close
    assert moved["held_out_loss"] != base["held_out_loss"]
    assert frozen["alpha"] == frozen["beta"] == [1.0, 1.0]
    plain = base["trainable_parameters"]
    assert frozen["trainable_parameters"] == plain < frozen["parameters"]
    table = (tmp_path / "language_pilot.md").read_text()
    assert re.search(r"base-moved +\| 1 +\| base ", table)


@once
def test_bfloat16_models_are_also_evaluated_with_cast_weights(tmp_path):
    rows = run("bfloat16", tmp_path, "--arms", "rw", "--seeds", "1")
    row = rows["rw", 0]
    assert row["alpha"][1] != 1
    # After so short a training it may be the very same.
    cast = row["held_out_loss_after_casting"]
    assert cast == pytest.approx(row["held_out_loss"], rel=0.01)


MESH = ("--distribution", "tensor", "--mesh", "4", "2")
FSDP = ("--distribution", "fsdp")
JOB = "--arms rw+lr --tokens-per-step 256 --tokens 6144 --rounds 3".split()
# Two heads, which the mesh divides.
JOB += ["--width", "64", "--prompt", ""]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return losses(run("demo_llm", folder, *JOB)["rw+lr", 0])


def start_job(folder, processes, *options):
    words = programs.command("demo_llm", folder, *JOB, *options)
    return job(processes, 8, programs.TINY, *words)


def losses_in(folder):
    return losses(programs.rows_in(folder, "demo_llm")["rw+lr", 0])


@pytest.mark.slow
@JAX
@pytest.mark.parametrize(
    "processes, options", [(2, MESH), (4, MESH), (2, FSDP), (2, ())]
)
def test_losses_of_a_job_are_those_of_one_device(
    processes, options, one_device, tmp_path
):
    with start_job(tmp_path, processes, *options) as jobs:
        output, *_ = finish(jobs)
    assert "8 devices" in output
    assert losses_in(tmp_path) == pytest.approx(one_device, rel=1e-4)


@pytest.mark.slow
@JAX
@pytest.mark.parametrize(
    "killed, processes, options", [(0, 2, MESH), (1, 4, FSDP)]
)
def test_a_job_that_loses_a_process_ends_and_continues(
    killed, processes, options, one_device, tmp_path
):
    """With as many processes and the same mesh, or with others."""
    with start_job(tmp_path, 2, *MESH) as jobs:
        # Two of three rounds are left.
        jobs[killed].kill_when(tmp_path / "rw+lr/seed_0/checkpoints/0")
        left = jobs[1 - killed]
        assert left.wait(SECONDS_TO_NOTICE) != 0
        assert re.search(LOST, left.output), left.output

    with start_job(tmp_path, processes, *options) as jobs:
        again, *_ = finish(jobs)
    assert "Epoch 1/3" not in again and "Epoch 3/3" in again
    assert losses_in(tmp_path) == pytest.approx(one_device, rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="is about TensorFlow")
def test_tensorflow_mirrors_and_continues_where_it_was_killed(tmp_path):
    one, four = tmp_path / "one", tmp_path / "four"
    expected = losses(run("demo_llm", one, *JOB)["rw+lr", 0])
    cpus = {"TINY_LOGICAL_CPUS": "4"}
    with programs.start("demo_llm", four, *JOB, **cpus) as program:
        program.kill_when(four / "rw+lr" / "seed_0" / "checkpoints" / "1")
    status, output = programs.in_process("demo_llm", four, *JOB, **cpus)
    assert status == 0, output
    assert "on 4 x CPU" in output and "Epoch 1/3" not in output
    assert losses_in(four) == pytest.approx(expected, rel=1e-4)
