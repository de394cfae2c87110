"""`python -m keras_laurel.costs`: what it counts, and what it refuses."""

import json

import keras
import pytest

from experiments.costs.__main__ import main


@pytest.fixture
def dtype_policy():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--sequence-length 129", "at most 128 for the model 'tiny'. Rec"),
        ("--model resnet50 --sequence-length 5", "no sequences.*length=5. L"),
        ("--model resnet50 --blocks 5", "fixed number of blocks.*blocks=5"),
    ],
)
def test_sizes_that_a_model_does_not_have(arguments, message, dtype_policy):
    with pytest.raises(SystemExit, match=message):
        main(["--model", "tiny", *arguments.split()])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--rank 8 --variant rw+pa", "--rank is about variants with 'lr', and"),
        ("--num-activations 2", "'pa', and --variant got rw+lr; leave"),
        ("--remat", "--remat is about a slice of TPUs; pass --topology too"),
        ("--mesh 2x2", "--mesh is about a slice of TPUs; pass --topology too"),
        ("--topology v5e", "v5e"),
        ("--output nowhere/cost.json", "whose folder does not exist"),
        ("--batch-size 0", "received '0', expected a whole number of 1 or"),
    ],
)
def test_options_that_would_do_nothing(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["--model", "tiny", *arguments.split()])
    assert message in capsys.readouterr().err


def test_the_longest_sequences_are_counted(tmp_path, capsys, dtype_policy):
    output = tmp_path / "cost.json"
    command = f"--model tiny --variant lr --rank 4 --output {output}"
    main([*command.split(), "--sequence-length", "128"])
    found = json.loads(output.read_text())["footprint"]
    assert found["sequence_length"] == 128
    assert found["added_parameters"] == 4 * 2 * 4 * 128
    assert "sequence length 128" in capsys.readouterr().out
