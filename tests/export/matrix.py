"""The results of `make test-export`, and their table in `docs/export.md`.

`python -m tests.export.matrix` writes the table.
"""

import contextlib
import json
import os
import pathlib
from importlib.metadata import version

import pytest

from tests.export.artefacts import FORMATS
from tests.export.models import MODELS
from tests.export.models import VARIANTS
from tests.export.upstream import limit

ROOT = pathlib.Path(__file__).parents[2]
PATH = ROOT / "results" / "export.json"
PAGE = ROOT / "docs" / "export.md"
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
PACKAGES = (
    "keras",
    "keras-hub",
    "jax",
    "tensorflow",
    "torch",
    "tf2onnx",
    "jax2onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "litert-torch",
)
BEGIN = "<!-- The table below is written by `make test-export`. -->"
END = "<!-- End of the table. -->"
PARTLY = "partly: "


@contextlib.contextmanager
def recorded(format_name, model, variant, is_limit=False):
    """Note whether the body passed; without `RECORD_EXPORTS`, nothing.

    With `ONLY_MISSING` in the environment what has passed before is skipped,
    to resume a run that was interrupted.
    """
    import keras

    backend = keras.config.backend()
    key = f"{backend} {format_name} {model} {variant}"
    if "ONLY_MISSING" in os.environ:
        if _load()["results"].get(key) in ("passed", "upstream"):
            pytest.skip("passed before")
    _record(key, "failed")
    try:
        yield
    except pytest.skip.Exception:
        _record(key, "not run")
        raise
    _record(key, "upstream" if is_limit else "passed")


def _record(key, outcome):
    if "RECORD_EXPORTS" not in os.environ:
        return
    found = _load()
    found["versions"] = {name: version(name) for name in PACKAGES}
    found["results"] = dict(sorted({**found["results"], key: outcome}.items()))
    PATH.write_text(json.dumps(found, indent=1) + "\n")


def _load():
    if not PATH.exists():
        return {"versions": {}, "results": {}}
    return json.loads(PATH.read_text())


def _cell(results, backend, format_name, model):
    """`yes`, or a note on what is not so: with `PARTLY`, some of it is."""
    known = limit(backend, format_name, model)
    found = {
        variant: results.get(
            f"{backend} {format_name} {model} {variant}", "not run"
        )
        for variant in ("plain", *([] if known else VARIANTS))
    }
    if known and found["plain"] == "upstream":
        return known.reason
    if set(found.values()) == {"passed"}:
        return "yes"
    kinds = ("passed", "failed", "not run", "upstream")
    some = {k: [v for v in found if found[v] == k] for k in kinds}
    text = "; ".join(f"{k}: {', '.join(v)}" for k, v in some.items() if v)
    return f"{PARTLY}{text}"


def table():
    """Markdown: a row for each backend and model, and the notes."""
    found = _load()
    notes = {}
    lines = [
        "| backend | model | " + " | ".join(FORMATS) + " |",
        "|---" * (len(FORMATS) + 2) + "|",
    ]
    for backend, title in BACKENDS.items():
        for model in MODELS:
            cells = [
                _cell(found["results"], backend, f, model) for f in FORMATS
            ]
            lines.append(f"| {title} | {model} | {_joined(cells, notes)} |")
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    numbered = [f"{n}. {reason}." for reason, n in notes.items()]
    return "\n".join([*lines, "", *numbered, "", f"Versions: {versions}."])


def _joined(cells, notes):
    return " | ".join(
        cell if cell == "yes" else _numbered(cell, notes) for cell in cells
    )


def _numbered(cell, notes):
    word = "partly" if cell.startswith(PARTLY) else "no"
    note = cell.removeprefix(PARTLY)
    return f"{word} ({notes.setdefault(note, len(notes) + 1)})"


def write_page():
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    write_page()
