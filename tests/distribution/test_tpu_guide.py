"""The snippets and commands of docs/tpu.md."""

import re
import shlex
from pathlib import Path

import keras
import pytest

import command_line
import llm_command_line

GUIDE = (Path(__file__).parents[2] / "docs" / "tpu.md").read_text()
PARSERS = {
    "llm_pretrain": llm_command_line.parse_options,
    "resnet50_imagenet": command_line.parse_options,
}
# A command goes on behind a backslash at the end of its line.
COMMANDS = re.findall(
    r"python3? examples/(\w+)\.py ((?:\\\n|[^\\\n\"&])*)", GUIDE
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


@pytest.mark.parametrize("program, arguments", COMMANDS)
def test_a_command_has_options_that_there_are(program, arguments, monkeypatch):
    words = shlex.split(arguments.replace("\\\n", " "))
    options = PARSERS[program]([*words, "--backend", "jax"])
    assert str(options.output) in words
