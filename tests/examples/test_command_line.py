"""The options: their help, the demo's defaults, and what is refused."""

import subprocess
import sys

import pytest

import command_line
from command_line import parse_options


def test_help_is_complete_and_does_not_import_keras():
    program = (
        "import sys, command_line\n"
        "try: command_line.parse_options(['--help'])\n"
        "finally: print('keras' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=command_line.__file__.rpartition("/")[0],
        capture_output=True,
        text=True,
    ).stdout
    assert output.endswith("False\n")
    assert output.count("python examples/resnet50_imagenet.py") == 3
    for option in vars(parse_options([])):
        assert "--" + option.replace("_", "-") in output


def test_demo_changes_defaults_and_explicit_options_win():
    options = parse_options(["--demo", "--epochs", "7"])
    assert options.dataset == "mnist_5k"
    assert options.image_size == 32
    assert options.epochs == 7


def test_defaults_follow_from_other_options():
    assert parse_options(["--batch-size", "512"]).learning_rate == 0.2
    assert parse_options(["--optimizer", "adamw"]).weight_decay == 0.05
    assert parse_options([]).augment == ["crop", "flip"]
    assert parse_options(["--dataset", "digits"]).augment == ["crop"]
    assert parse_options(["--augment"]).augment == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--epochs 0", "`--epochs 0`, expected a number of 1 or more"),
        ("--image-size 28", "expected 32 pixels or more"),
        ("--label-smoothing 1", "expected 0 or more, below 1"),
        ("--variants rw rw", "expected each name once"),
        ("--augment flop", "expected some of crop, flip, rand_augment"),
        ("--epochs 3 --warmup-epochs 3", "Lower `--warmup-epochs`"),
        ("--laurel-rates 0 1", "`--laurel-rates 0.0 1.0`, expected two fac"),
        ("--laurel-rates 1 inf", "Change `--laurel-rates`"),
        ("--laurel-rates nan 1", "Change `--laurel-rates`"),
        ("--backend torch --mesh 2", "expected jax. Pass `--backend jax`"),
        ("--backend jax --distribution tensor", "with the mesh none; expected"),
        ("--backend jax --mesh 4x2", "the mesh 4x2; expected 1 size. Pass"),
    ],
)
def test_values_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse_options(arguments.split())


@pytest.mark.parametrize("text", ["4by2", "0x2", "4x", ""])
def test_what_is_no_mesh_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        parse_options(["--mesh", text])
    assert (
        f"received {text!r}, expected sizes such as" in capsys.readouterr().err
    )


def test_a_mesh_is_read_as_sizes():
    options = "--backend jax --distribution tensor --mesh 4x2".split()
    assert parse_options(options).mesh == (4, 2)
