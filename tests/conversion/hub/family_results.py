"""The results of `make test-families`, written while it runs.

`results/families.json` has a line for each family, property and backend. A
property that a test has begun with and not proved is "failed" there. Each has
the fingerprint of the sources that it was found with, since it cannot outlive
them. Nothing is written without `RECORD_FAMILIES` in the environment.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
from dataclasses import asdict
from dataclasses import dataclass
from importlib.metadata import version

import pytest

ROOT = pathlib.Path(__file__).parents[3]
PATH = ROOT / "results" / "families.json"
VERSIONS = ("keras", "keras-hub", "jax", "tensorflow", "torch")

PROPERTIES = {
    "start": "the same output",
    "compiled": "compiled",
    "equation": "the equation",
    "trains": "trains",
    "dropout": "dropout",
    "generates": "generates",
    "samplers": "samplers",
    "score": "`score()`",
    "saves": "saves",
    "plain_preset": "plain preset",
    "lora": "LoRA",
    "int8": "int8",
    "layout_map": "layout map",
    "remat": "remat",
    "sublayer": "sublayer",
}


@dataclass(frozen=True)
class Result:
    """The result for one property.

    Attributes:
        outcome: "passed"; "refused" by a clear error; "upstream" where the
            plain model does not do it either; "absent" where KerasHub has
            nothing of the kind for the family; "failed".
        note: Why, where it is not "passed".
        sources: The `fingerprint` of the library then; empty where it was
            found before that was written down.
    """

    family: str
    backbone: str
    property: str
    backend: str
    outcome: str
    note: str = ""
    sources: str = ""


@functools.cache
def fingerprint():
    """Short name of the state of all code that computes in a conversion."""
    package = ROOT / "keras_laurel"
    files = [
        package / "equation.py",
        package / "initializers.py",
        *package.glob("layers/*.py"),
        *package.glob("conversion/**/*.py"),
    ]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(str(file.relative_to(package)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def is_stale(result):
    """Return whether the code has changed since the result."""
    return result.sources != fingerprint()


def load(path=PATH):
    """The versions it ran with and the list of results."""
    if not path.exists():
        return {}, []
    data = json.loads(path.read_text())
    return data["versions"], [Result(**line) for line in data["results"]]


def record(result, path=PATH):
    """Put `result` in the place of earlier ones of the same property.

    Those of other sources go on each backend.
    """
    if path == PATH and "RECORD_FAMILIES" not in os.environ:
        return
    with _locked(path):
        _, results = load(path)
        kept = [r for r in results if not _outdates(result, r)]
        known = {_key(r): r for r in [*kept, result]}
        lines = [json.dumps(asdict(known[key])) for key in sorted(known)]
        versions = json.dumps({name: version(name) for name in VERSIONS})
        rows = ",\n".join(lines)
        written = path.with_suffix(".new")
        written.write_text(
            f'{{"versions": {versions},\n"results": [\n{rows}\n]}}\n'
        )
        os.replace(written, path)


def is_proved(result, path=PATH):
    """Return whether a current result replaces this one and is not "failed"."""
    return any(
        _key(r) == _key(result) and r.outcome != "failed" and not is_stale(r)
        for r in load(path)[1]
    )


def _outdates(now, before):
    same = (now.family, now.property) == (before.family, before.property)
    return same and now.sources != before.sources


def _key(result):
    return result.family, result.property, result.backend


@contextlib.contextmanager
def _locked(path):
    """One process at a time: pytest may run several."""
    path.parent.mkdir(exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@dataclass(frozen=True)
class Finding:
    """The return value of a test whose property does not simply hold."""

    outcome: str
    note: str


refused = functools.partial(Finding, "refused")
upstream = functools.partial(Finding, "upstream")
absent = functools.partial(Finding, "absent")


def proves(name):
    """Decorate a test of a fixture `family` as the proof of a property.

    With `ONLY_MISSING` in the environment what was proved before is skipped,
    to go on with a run that was interrupted.
    """
    assert name in PROPERTIES

    def decorate(test):
        @functools.wraps(test)
        def run(*args, **kwargs):
            import keras

            result = functools.partial(
                Result,
                kwargs["family"].name,
                kwargs["family"].backbone_class,
                name,
                keras.config.backend(),
            )
            if "ONLY_MISSING" in os.environ and is_proved(result("")):
                pytest.skip("proved before")
            record(result("failed", sources=fingerprint()))
            found = test(*args, **kwargs) or Finding("passed", "")
            record(result(found.outcome, found.note, fingerprint()))

        return run

    return decorate
