"""Snippets of the README and of pages run, and so do docstring examples."""

import ast
import doctest
import pathlib
import re
import textwrap

import keras
import pytest

import keras_laurel
from tests.backends import once

ROOT = pathlib.Path(__file__).parent.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
NAMES = {"keras": keras, "keras_laurel": keras_laurel}
# By name after `keras_laurel.`.
PUBLIC = {
    **{name: getattr(keras_laurel, name) for name in keras_laurel.__all__},
    "learned.LaurelLogger": keras_laurel.learned.LaurelLogger,
    "learned.laurel_summary": keras_laurel.learned.laurel_summary,
}


def examples_of(name):
    docstring = PUBLIC[name].__doc__
    return doctest.DocTestParser().get_doctest(
        docstring, dict(NAMES), name, None, None
    )


def run_snippets(path):
    """Runs the Python of a page from top to bottom; what it left behind."""
    snippets = re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    assert snippets
    namespace = {}
    for snippet in map(textwrap.dedent, snippets):
        exec(compile(snippet, str(path), "exec"), namespace)
    return namespace


@once
def test_readme_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = run_snippets(README)
    assert len(keras_laurel.laurel_layers(namespace["loaded"])) == 16


@once
def test_models_snippets_run_in_order(capsys):
    namespace = run_snippets(DOCS / "models.md")
    printed = capsys.readouterr().out
    assert "Converted 10 residual additions to Laurel;" in printed
    assert "blocks_3/residual_2  identity" in printed
    assert len(keras_laurel.laurel_layers(namespace["classifier"])) == 4
    assert len(keras_laurel.laurel_layers(namespace["whisper"])) == 4
    assert len(keras_laurel.laurel_layers(namespace["network"])) == 2
    assert len(keras_laurel.laurel_layers(namespace["loaded"])) == 8


def test_start_snippets_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = run_snippets(DOCS / "index.md")
    assert len(keras_laurel.laurel_layers(namespace["loaded"])) == 4


def test_variants_snippets_run_in_order():
    namespace = run_snippets(DOCS / "variants.md")
    assert len(keras_laurel.laurel_layers(namespace["model"])) == 9


def test_costs_snippets_run_in_order(capsys):
    run_snippets(DOCS / "costs.md")
    assert "3 x rw+lr" in capsys.readouterr().out


@once
def test_export_snippets_run_in_order(capsys):
    namespace = run_snippets(DOCS / "export.md")
    assert "left: B A x" in capsys.readouterr().out
    assert not keras_laurel.laurel_layers(namespace["plain_layers"])


@once
def test_tpu_costs_snippet_runs():
    namespace = run_snippets(DOCS / "tpu_costs.md")
    assert len(keras_laurel.laurel_layers(namespace["model"])) == 9


def test_the_reference_has_every_public_name():
    pages = "".join(x.read_text("utf-8") for x in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"keras_laurel\.(\w+)", pages))
    assert documented >= set(keras_laurel.__all__)


@pytest.mark.parametrize(
    "page",
    [*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "examples" / "README.md"],
    ids=lambda page: page.name,
)
def test_links_lead_to_files(page):
    """In the repository; `make docs` checks those of the site, with anchors."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), link


def messages():
    """The texts of keras_laurel/, with … for the values in them."""
    for path in (ROOT / "keras_laurel").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(map(text_of, node.values))
            elif isinstance(node, ast.Constant) and type(node.value) is str:
                yield node.value


def text_of(part):
    return part.value if isinstance(part, ast.Constant) else "…"


def test_the_citation_has_the_version():
    version = f"\nversion: {keras_laurel.__version__}\n"
    assert version in (ROOT / "CITATION.cff").read_text("utf-8")


def test_troubleshooting_quotes_messages_that_there_are():
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    quotes = re.findall(r"```text\n(.*?)\n```", page, re.S)
    assert len(quotes) > 30
    known = list(messages())
    for quote in quotes:
        pattern = ".*".join(map(re.escape, quote.split("…")))
        assert any(re.search(pattern, text, re.S) for text in known), quote


@pytest.mark.parametrize(
    "name", [n for n, x in PUBLIC.items() if ">>>" in (x.__doc__ or "")]
)
def test_docstring_example_runs(name):
    result = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE
    ).run(examples_of(name))
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    assert len(PUBLIC[name].__doc__.strip()) > 40
