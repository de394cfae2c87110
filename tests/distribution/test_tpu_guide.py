"""The snippets and commands of docs/tpu.md."""

import re
import shlex
from pathlib import Path

import keras
import pytest

from experiments.configs import find_experiment
from experiments.options import parse

GUIDE = (Path(__file__).parents[2] / "docs" / "tpu.md").read_text()
# A command goes on behind a backslash at the end of its line.
COMMANDS = re.findall(
    r"python3? -m experiments (\w+) ((?:\\\n|[^\\\n\"&])*)", GUIDE
)


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
)
def test_the_snippet_runs(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    exec(compile(snippet, "tpu.md", "exec"), {})
    assert "laurel_residual/laurel_a" in capsys.readouterr().out


def test_all_commands_are_found():
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("name, arguments", COMMANDS)
def test_a_command_has_options_that_there_are(name, arguments):
    words = shlex.split(arguments.replace("\\\n", " "))
    _, machine = parse(find_experiment(name), words)
    assert str(machine.output) in words
