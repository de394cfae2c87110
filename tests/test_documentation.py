"""Snippets of the README and docs/models.md and docstring examples run."""

import doctest
import pathlib
import re
import textwrap

import keras
import pytest

import keras_laurel

ROOT = pathlib.Path(__file__).parent.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
NAMES = {"keras": keras, "keras_laurel": keras_laurel}


def examples_of(name):
    docstring = getattr(keras_laurel, name).__doc__
    return doctest.DocTestParser().get_doctest(
        docstring, dict(NAMES), name, None, None
    )


def run_snippets(path):
    """Runs the Python of a page from top to bottom; what it left behind."""
    snippets = re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    assert len(snippets) >= 4
    namespace = {}
    for snippet in map(textwrap.dedent, snippets):
        exec(compile(snippet, str(path), "exec"), namespace)
    return namespace


def test_readme_snippets_run_in_order():
    namespace = run_snippets(README)
    assert len(keras_laurel.laurel_layers(namespace["model"])) == 9


def test_models_snippets_run_in_order(capsys):
    namespace = run_snippets(DOCS / "models.md")
    printed = capsys.readouterr().out
    assert "Converted 10 residual additions to Laurel;" in printed
    assert "blocks_3/residual_2  identity" in printed
    assert len(keras_laurel.laurel_layers(namespace["classifier"])) == 4
    assert len(keras_laurel.laurel_layers(namespace["whisper"])) == 4
    assert len(keras_laurel.laurel_layers(namespace["network"])) == 2
    assert len(keras_laurel.laurel_layers(namespace["loaded"])) == 8


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in keras_laurel.__all__
        if ">>>" in (getattr(keras_laurel, n).__doc__ or "")
    ],
)
def test_docstring_example_runs(name):
    result = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE
    ).run(examples_of(name))
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", keras_laurel.__all__)
def test_public_name_has_a_docstring(name):
    assert len(getattr(keras_laurel, name).__doc__.strip()) > 40
