"""Each sitting adds runs to a file; none is lost, repeated or cut short."""

import shutil

import keras
import pytest

from experiments import runs as runs_module
from experiments.files import read_json
from experiments.files import write_json
from experiments.growing_results import check_same_data
from experiments.growing_results import joined
from experiments.growing_results import take_over
from experiments.options import Machine
from tests.backends import once
from tests.experiments import programs
from tests.experiments.test_runs import calls
from tests.experiments.test_runs import run
from tests.experiments.tiny import shrink

ABOUT = {"data": {"text": {"training_tokens": 9}}, "device": "a GPU"}


@once
def test_runs_in_a_file_count_as_finished_in_another_folder(tmp_path):
    path, other = tmp_path / "results.json", tmp_path / "other"
    assert take_over(path, other)["rows"] == []
    before = run(tmp_path / "one", 2)
    write_json(path, joined(take_over(path, other), ABOUT, before))
    file = take_over(path, other)
    assert file["rows"] == before
    # One arm only, and a seed more.
    more = run(other, 3, ["plain"])
    assert calls(other) == {"plain/seed_2": 1}
    rows = joined(file, ABOUT, more)["rows"]
    assert rows == [*before, more[-1]]
    with pytest.raises(ValueError, match="factor=1 there, 3 here"):
        run(other, 2, ["plain"], factor=3)


@once
def test_all_devices_and_data_are_named():
    file = {
        "about": {"data": {"old": {"training_tokens": 5}}},
        "rows": [{"arm": "a", "seed": 0, "device": "an older GPU"}],
    }
    about = joined(file, ABOUT, [{"arm": "a", "seed": 1, "device": "a GPU"}])
    about = about["about"]
    assert about["device"] == "an older GPU, a GPU"
    assert set(about["data"]) == {"old", "text"}


@once
def test_other_data_of_the_same_name_is_refused():
    check_same_data({"about": {}, "rows": []}, ABOUT)
    check_same_data({"about": ABOUT, "rows": []}, ABOUT)
    other = {"data": {"text": {"training_tokens": 8}}}
    with pytest.raises(ValueError, match="8} there, {'training_tokens': 9}"):
        check_same_data({"about": other, "rows": []}, ABOUT)


@once
def test_no_run_begins_that_would_end_too_late(monkeypatch):
    # Three seconds, eight, and three.
    clock = iter([0, 3, 3, 11, 11, 14, 14])
    monkeypatch.setattr(runs_module.time, "monotonic", lambda: next(clock))
    assert [*runs_module.in_time("abcde", 20)] == ["a", "b", "c"]


@once
def test_minutes_are_for_one_run_at_a_time():
    with pytest.raises(ValueError, match="minutes=3, workers=2"):
        Machine(minutes=3, workers=2)


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="is the same elsewhere"
)
def test_a_program_that_is_cut_loses_no_run(tmp_path, monkeypatch):
    """The next one has its file of results, and none of its folders."""
    options = ("--add", "--depth", "1", "--rounds", "1", "--seeds", "2")
    arm = ("--arms", "baseline")
    one, other = tmp_path / "one", tmp_path / "other"
    with programs.start("gpu_text", one, *options, *arm) as program:
        program.kill_when(one / "baseline" / "seed_1" / "settings.json")
    file = one / "gpu_text.json"
    (before,) = read_json(file)["rows"]
    assert before["seed"] == 0

    other.mkdir()
    shutil.copy(file, other)
    shrink(monkeypatch.setattr)
    rows = programs.run("gpu_text", other, *options, *arm)
    assert list(rows) == [("baseline", 0), ("baseline", 1)]
    first, second = rows.values()
    assert first == before
    assert first["device"] == second["device"] == "cpu"
    assert first["held_out_loss"] != second["held_out_loss"]

    with pytest.raises(ValueError, match="`accelerator` must be left out"):
        programs.run("gpu_text", other, *options, "--accelerator")
    another = ("--arms", "rw", "--minutes", "0")
    assert programs.run("gpu_text", other, *options, *another) == rows
