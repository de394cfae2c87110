"""Runs are kept, continue, surface their errors and leave no process behind."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import keras
import pytest

from experiments.experiment import Experiment
from experiments.options import Machine
from experiments.runs import run_all
from tests.backends import once
from tests.experiments.counting_trainer import Settings
from tests.processes import Program

pytestmark = once

WAITING = Path(__file__).with_name("waiting_experiment.py")


def run(folder, seeds, arms=("plain", "double"), workers=1, **settings):
    changes = {
        "plain": {},
        "double": {"factor": 2},
        "failing": {"fails_at": 1},
    }
    experiment = Experiment(
        name="counting",
        title="Counting.",
        settings=dataclasses.replace(Settings(), **settings),
        arms={arm: changes[arm] for arm in arms},
        seeds=seeds,
    )
    return run_all(experiment, Machine(output=folder, workers=workers))


def values(results):
    return [(r["arm"], r["seed"], r["value"]) for r in results]


def calls(folder):
    return {
        path.parent.relative_to(folder).as_posix(): len(path.read_text())
        for path in folder.glob("*/*/calls")
    }


def test_runs_that_are_finished_are_not_trained_again(tmp_path):
    run(tmp_path, 2, ["plain"])
    results = run(tmp_path, 3)
    assert values(results) == [
        (arm, seed, factor * seed)
        for seed in (0, 1, 2)
        for arm, factor in (("plain", 1), ("double", 2))
    ]
    assert set(calls(tmp_path).values()) == {1}
    kept = json.loads((tmp_path / "double/seed_2/result.json").read_text())
    assert kept == results[-1]
    assert kept["settings"]["factor"] == 2
    assert kept["settings"]["backend"] == keras.backend.backend()
    assert "keras" in kept["made_with"] and kept["made_with"]["processor"]


def test_other_settings_are_refused(tmp_path):
    run(tmp_path, 1, ["plain"])
    with pytest.raises(ValueError, match="factor=1 there, 3 here. Give the"):
        run(tmp_path, 2, ["plain"], factor=3)
    assert calls(tmp_path) == {"plain/seed_0": 1}


@pytest.mark.parametrize("changed", ["settings", "backend"])
def test_an_unfinished_run_continues_only_as_it_began(
    changed, tmp_path, monkeypatch
):
    with pytest.raises(RuntimeError, match="no luck") as error:
        run(tmp_path, 2, ["failing"])
    assert "In the run" in error.value.__notes__[0]
    factor = 3 if changed == "settings" else 1
    if changed == "backend":
        monkeypatch.setattr(keras.backend, "backend", lambda: "another")
    with pytest.raises(ValueError, match="choose another `--output`"):
        run(tmp_path, 2, ["failing"], factor=factor)
    assert calls(tmp_path) == {"failing/seed_0": 1, "failing/seed_1": 1}


def test_two_processes_give_the_same_numbers_and_show_errors(tmp_path):
    folder = tmp_path / "two"
    with pytest.raises(RuntimeError, match="no luck"):
        run(folder, 2, ["plain", "double", "failing"], workers=2)
    kept = {path.parent for path in folder.glob("*/*/result.json")}
    started = {path.parent for path in folder.glob("*/*/calls")}
    assert started - kept == {folder / "failing" / "seed_1"}

    two = run(folder, 2)
    assert set(calls(folder).values()) == {1}
    assert values(two) == values(run(tmp_path / "one", 2))


@pytest.mark.parametrize(
    "end",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_no_process_continues_training_alone(end, tmp_path):
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
