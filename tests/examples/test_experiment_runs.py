"""Runs are kept, go on, surface their errors and leave no process behind."""

import json
import os
import signal
import time
from pathlib import Path

import keras
import pytest

from experiment_runs import Arm
from experiment_runs import Experiment
from experiment_runs import run_all
from tests.processes import Program

if keras.backend.backend() != "jax":
    pytest.skip("is the same on each backend", allow_module_level=True)

WAITING = Path(__file__).with_name("waiting_experiment.py")
ARMS = [Arm("plain"), Arm("double", {"factor": 2})]


def train(settings, seed, folder):
    """Counts how often it was called, fails if it is told to."""
    with (folder / "calls").open("a") as calls:
        calls.write("x")
    if seed == settings.get("fails_at"):
        raise RuntimeError("no luck")
    return {"value": settings["factor"] * seed}


def experiment(folder):
    return Experiment(folder, {"factor": 1}, train)


def values(results):
    return [(r["arm"], r["seed"], r["value"]) for r in results]


def calls(folder):
    return {
        path.parent.relative_to(folder).as_posix(): len(path.read_text())
        for path in folder.glob("*/*/calls")
    }


def test_runs_that_are_finished_are_not_trained_again(tmp_path):
    run_all(experiment(tmp_path), ARMS[:1], [0, 1])
    results = run_all(experiment(tmp_path), ARMS, [0, 1, 2])
    assert values(results) == [
        (arm, seed, factor * seed)
        for seed in (0, 1, 2)
        for arm, factor in (("plain", 1), ("double", 2))
    ]
    assert set(calls(tmp_path).values()) == {1}
    kept = json.loads((tmp_path / "double/seed_2/result.json").read_text())
    assert kept == results[-1]
    assert kept["settings"] == {"factor": 2, "backend": "jax"}
    assert "keras" in kept["made_with"]
    assert kept["made_with"]["processor"]


def test_other_settings_are_refused(tmp_path):
    run_all(experiment(tmp_path), ARMS[:1], [0])
    other = Experiment(tmp_path, {"factor": 3}, train)
    with pytest.raises(ValueError, match="`factor` is 1 there, 3 here. Exp"):
        run_all(other, ARMS[:1], [0, 1])
    assert calls(tmp_path) == {"plain/seed_0": 1}


@pytest.mark.parametrize("changed", ["settings", "backend"])
def test_an_unfinished_run_goes_on_only_as_it_began(
    changed, tmp_path, monkeypatch
):
    arms = [Arm("failing", {"fails_at": 0})]
    with pytest.raises(RuntimeError, match="no luck"):
        run_all(experiment(tmp_path), arms, [0])
    other = experiment(tmp_path)
    if changed == "backend":
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    else:
        other = Experiment(tmp_path, {"factor": 3}, train)
    with pytest.raises(ValueError, match="Choose another `--output`"):
        run_all(other, arms, [0])
    assert calls(tmp_path) == {"failing/seed_0": 1}


def test_arms_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="each name once"):
        run_all(experiment(tmp_path), [ARMS[0], ARMS[0]], [0])


def test_two_processes_give_the_same_numbers_and_show_errors(tmp_path):
    folder, failing = tmp_path / "two", Arm("failing", {"fails_at": 1})
    with pytest.raises(RuntimeError, match="no luck") as error:
        run_all(experiment(folder), [*ARMS, failing], [0, 1], workers=2)
    assert "In the run of failing, seed 1" in error.value.__notes__[0]
    kept = {path.parent for path in folder.glob("*/*/result.json")}
    started = {path.parent for path in folder.glob("*/*/calls")}
    assert started - kept == {folder / "failing" / "seed_1"}

    two = run_all(experiment(folder), ARMS, [0, 1])
    assert set(calls(folder).values()) == {1}
    one = run_all(experiment(tmp_path / "one"), ARMS, [0, 1])
    assert values(two) == values(one)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_goes_on_training_alone(end, tmp_path):
    files = [tmp_path / arm / "seed_1" / "process" for arm in "ab"]
    with Program(WAITING, tmp_path) as program:
        for file in files:
            program.wait_for(file)
        workers = {int(file.read_text()) for file in files}
        assert len(workers) == 2 and all(map(is_alive, workers))
        program.send(end)
        program.wait(60)
    wait_until(lambda: not any(map(is_alive, workers)))
    assert (tmp_path / "b" / "seed_0" / "result.json").exists()


def wait_until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("It did not happen within two minutes.")


def is_alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
