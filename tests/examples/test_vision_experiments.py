"""The arms, their settings, and the program whole and interrupted."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import vision_trials
from experiment_runs import Experiment
from keras_laurel import laurel_layers
from keras_laurel import residual_sites
from resnet50_models import build_classifier
from resnet50_models import trainable_parameters
from tests.processes import Program
from tests.processes import run
from trial_training import EpochState
from vision_command_line import TABLES as TABLE_NAMES
from vision_command_line import parse_options
from vision_experiments import ARMS
from vision_experiments import SCALES
from vision_experiments import TABLES
from vision_experiments import arms_of
from vision_experiments import choose_settings
from vision_experiments import main
from vision_experiments import tuning_arms
from vision_report import describe_table
from vision_trials import architecture_of
from vision_trials import find_fashion_images

# How a run goes on is the same on all backends.
ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "vision_experiments.py"
TINY = (
    "--dataset digits --width 12 --epochs 2 --batch-size 256 --seeds 1 "
    "--tables per_channel"
)


def architecture(arm, scale="reduced"):
    experiment = Experiment(Path("none"), SCALES[scale], None)
    (found,) = [a for a in arms_of(TABLES) if a.name == arm]
    return architecture_of(experiment.settings_of(found), 10)


def build(arm, seed=0):
    variant = ARMS[arm].get("variant", "baseline")
    return build_classifier(variant, architecture(arm), seed)


@pytest.fixture(scope="module")
def baseline():
    return build("baseline")


def test_the_narrow_network_has_the_connections_of_resnet50(baseline):
    kinds = [site.kind for site in residual_sites(baseline)]
    assert len(kinds) == 16
    assert kinds.count("identity") == 12
    widths = {layer.output.shape[-1] for layer in adds(baseline)}
    assert widths == {64, 128}
    deeper = build("extra-layer")
    assert len(residual_sites(deeper)) == 17


def adds(model):
    return [x for x in model.layers if isinstance(x, keras.layers.Add)]


@pytest.mark.parametrize(
    "arm, connections, added",
    [
        ("rw", 16, 16 * 2),
        ("pa", 16, None),
        ("rw+lr", 16, 16 * 2 + 2 * 16 * (7 * 64 + 9 * 128)),
        ("rw+lr-rank-1", 16, 16 * 2 + 2 * (7 * 64 + 9 * 128)),
        ("rank-64", 16, 16 * 2 + 2 * 64 * (7 * 64 + 9 * 128)),
        ("complement", 16, 16 + 2 * 16 * (7 * 64 + 9 * 128)),
        ("per-channel", 16, (2 + 2 * 16) * (7 * 64 + 9 * 128)),
        ("identity-sites", 12, 12 * 2 + 2 * 16 * (5 * 64 + 7 * 128)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*rank:UserWarning")
def test_what_an_arm_adds(baseline, arm, connections, added):
    model = build(arm)
    assert len(laurel_layers(model)) == connections
    if added is not None:
        parameters = trainable_parameters(baseline)
        assert trainable_parameters(model) - parameters == added


@pytest.mark.parametrize(
    "arm, name, value",
    [
        ("sigmoid", "residual_weights", "sigmoid"),
        ("scale-0.5", "scale", 0.5),
        ("lr", "residual_weights", None),
    ],
)
def test_options_reach_the_layers(arm, name, value):
    assert getattr(laurel_layers(build(arm))[0], name) == value


def test_arms_of_one_seed_share_their_start(baseline):
    shared = {weight.path: weight for weight in baseline.weights}
    for arm in ("rw+lr", "extra-layer"):
        same = [w for w in build(arm).weights if w.path in shared]
        assert len(same) == len(shared)
        for weight in same:
            np.testing.assert_array_equal(weight, shared[weight.path])


def test_initializers_of_a():
    columns = laurel_layers(build("column-orthogonal"))[0]
    a = keras.ops.convert_to_numpy(columns.laurel_a)[0]
    np.testing.assert_allclose(a.T @ a, np.eye(16) / 16**2, atol=1e-7)
    orthogonal = laurel_layers(build("orthogonal"))[0]
    a = keras.ops.convert_to_numpy(orthogonal.laurel_a)[0]
    np.testing.assert_allclose(a.T @ a, np.eye(16), atol=1e-5)


def test_every_table_of_the_command_line_is_there():
    assert tuple(TABLES) == TABLE_NAMES
    assert {arm.name for arm in arms_of(TABLES)} == set(ARMS)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--seeds 0", "`--seeds 0`, expected a number of 1 or more"),
        ("--learning-rate 0", "expected a number above 0"),
        ("--tables table_2", "expected some of table_1"),
    ],
)
def test_options_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse_options(arguments.split())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--scale full --width 8", "expected it with the reduced scale"),
        ("--dataset digits --epochs 0", "expected"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_settings(parse_options(arguments.split()))


def test_a_rate_is_found_and_passed_on():
    for scale, settings in SCALES.items():
        rates = [arm.options["learning_rate"] for arm in tuning_arms(scale)]
        assert min(rates) < settings["learning_rate"] < max(rates)
        assert settings["learning_rate"] in rates
    options = parse_options("--scale full --learning-rate 3.2".split())
    assert choose_settings(options)["learning_rate"] == 3.2


def test_without_fashion_mnist_there_is_less_mnist(monkeypatch, capsys):
    def missing():
        raise ValueError("not installed")

    monkeypatch.setattr(vision_trials, "find_fashion_mnist", missing)
    assert find_fashion_images("/nowhere") == "mnist_5k"
    assert "results say LITTLE" in capsys.readouterr().out


def test_a_table_compares_with_its_first_arm():
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "accuracy_last": accuracy / 100,
            "accuracy_best": 0.9,
            "loss": 0.25,
            "parameters_added_percent": added,
        }
        for arm, added, accuracies in (
            ("baseline", 0, (80, 84)),
            ("rw", 0.014, (81, 87)),
        )
        for seed, accuracy in enumerate(accuracies)
    ]
    lines = describe_table(rows, ["baseline", "rw"]).splitlines()
    assert re.search(r"82.00 ± 2.83 +90.00 ± 0.00 +0.2500", lines[2])
    assert re.search(r"84.00 ± 4.24 +\+2.00 \[\+1.00, \+3.00\] ", lines[3])


def options(output):
    return parse_options([*TINY.split(), "--output", str(output)])


def results(output):
    """All numbers that do not depend on the clock."""
    found = json.loads((output / "vision.json").read_text())
    for row in found["rows"]:
        del row["seconds"]
        for epoch in row["history"]:
            del epoch["seconds"]
    return found["rows"]


@pytest.mark.slow
def test_an_interrupted_experiment_ends_with_the_same_numbers(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(TABLES, "per_channel", ["per-channel"])
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    main(options(whole))
    assert re.search(r"per-channel +\d+\.\d\d +\d", capsys.readouterr().out)
    (row,) = results(whole)
    assert row["accuracy_last"] == row["history"][-1]["val_accuracy"]
    assert row["parameters_added_percent"] > 0

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpochState, "on_epoch_end", end_after_an_epoch)
        main(options(interrupted))
    assert list(interrupted.glob("runs/*/*/state/epoch_0001.json"))
    main(options(interrupted))
    assert results(interrupted) == [row]
    assert not list(interrupted.glob("runs/*/*/state"))


ON_EPOCH_END = EpochState.on_epoch_end


def end_after_an_epoch(self, epoch, logs=None):
    ON_EPOCH_END(self, epoch, logs)
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_killed_program_with_two_workers_goes_on(tmp_path):
    command = [PROGRAM, *TINY.split(), "--workers", "2", "--output", tmp_path]
    first = tmp_path / "runs" / "rw+lr" / "seed_0"
    with Program(*command) as program:
        program.kill_when(first / "state" / "epoch_0001.json")
    assert not (tmp_path / "vision.json").exists()
    status, output = run(*command)
    assert status == 0 and re.search(r"per-channel +\d", output), output
    epochs = [
        log.read_text().count("Epoch 1/2")
        for log in tmp_path.glob("runs/*/*/log.txt")
    ]
    assert 1 in epochs
