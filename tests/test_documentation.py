"""Every snippet of the README and every example in a docstring runs."""

import doctest
import pathlib
import re
import textwrap

import keras
import pytest

import keras_laurel

README = pathlib.Path(__file__).parent.parent / "README.md"
NAMES = {"keras": keras, "keras_laurel": keras_laurel}


def examples_of(name):
    docstring = getattr(keras_laurel, name).__doc__
    return doctest.DocTestParser().get_doctest(
        docstring, dict(NAMES), name, None, None
    )


def test_readme_snippets_run_in_order():
    snippets = [
        textwrap.dedent(snippet)
        for snippet in re.findall(
            r"```python\n(.*?)```", README.read_text(), re.S
        )
    ]
    assert len(snippets) >= 4
    namespace = {}
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), namespace)
    assert len(keras_laurel.laurel_layers(namespace["model"])) == 9


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
