"""`python -m keras_laurel.costs`: what it counts, and what it refuses."""

import json
import re

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
        ("--sequence-length 129", "at most 128 for model='tiny'. Received"),
        ("--variant rv", "joined by \\+. Received: variant='rv'"),
        ("--batch-size 0", "must be a number of 1 or more. Received"),
        ("--topology v5e", "v5e"),
    ],
)
def test_what_cannot_be_counted(arguments, message, dtype_policy):
    with pytest.raises(SystemExit, match=message):
        main(["--model", "tiny", *arguments.split()])


def test_parameters_of_the_papers_model(capsys, dtype_policy):
    main(["--model", "ablation-157m", "--variant", "lr"])
    (line,) = re.findall("^parameters.*", capsys.readouterr().out, re.M)
    expected = ["158,400,144", "1,204,224", "1,204,224", "+0.766", "%"]
    assert line.split()[1:] == expected


def test_the_longest_sequences_are_counted(tmp_path, capsys, dtype_policy):
    output = tmp_path / "cost.json"
    command = f"--model tiny --variant lr --rank 4 --output {output}"
    main([*command.split(), "--sequence-length", "128"])
    found = json.loads(output.read_text())["footprint"]
    assert found["sequence_length"] == 128
    assert found["added_parameters"] == 4 * 2 * 4 * 128
    assert "sequence length 128" in capsys.readouterr().out
