"""The page about KerasHub's families says what the tests have found."""

import dataclasses

import pytest

from keras_laurel.conversion.hub.families import FAMILIES
from keras_laurel.conversion.hub.families import UNSUPPORTED
from tests.backends import FASTEST
from tests.conversion.hub import family_results
from tests.conversion.hub import family_table
from tests.conversion.hub.family_results import PROPERTIES
from tests.conversion.hub.other_classes import OTHERS
from tests.conversion.hub.rows import FAMILIES as ROWS

ON_EVERY_BACKEND = ("GPT2", "Llama", "Gemma3", "Mixtral")


def found():
    return family_results.load()[1]


def test_the_page_is_made_of_the_results():
    page = family_table.PATH.read_text(encoding="utf-8")
    assert page == family_table.render(*family_results.load()), (
        "Run `python -m tests.conversion.hub.family_table`."
    )


def test_nothing_failed():
    assert not [r for r in found() if r.outcome == "failed"]


def test_each_property_of_each_family_was_proved():
    expected = {
        (row.name, name, backend)
        for row in ROWS
        for name in PROPERTIES
        for backend in family_table.BACKENDS
        if row.backbone_class in FAMILIES
        and (backend == FASTEST or row.name in ON_EVERY_BACKEND)
    }
    proved = {(r.family, r.property, r.backend) for r in found()}
    missing = sorted({family for family, _, _ in expected - proved})
    if missing:
        pytest.skip(f"`make test-families` has not shown all of {missing}")


def test_proofs_are_of_these_sources():
    """A proof cannot outlive what it was given for; nor can it be renewed
    with each edit."""
    stale = family_table.stale(found())
    if stale:
        pytest.skip(f"the sources have changed since the proofs of {stale}")


def test_every_class_is_on_the_page():
    page = family_table.PATH.read_text(encoding="utf-8")
    for name in [*FAMILIES, *UNSUPPORTED, *OTHERS]:
        assert name.removesuffix("Backbone") in page, name


def test_a_proof_has_the_sources_it_was_given_for(tmp_path, monkeypatch):
    result = family_results.Result(
        "Llama", "LlamaBackbone", "int8", "jax", "passed", "", "0123abcd"
    )
    path = tmp_path / "families.json"
    family_results.record(result, path)
    assert family_results.load(path)[1] == [result]
    assert family_results.is_stale(result)
    assert not family_results.is_proved(result, path)
    newer = dataclasses.replace(result, backend="torch", sources="4567cdef")
    family_results.record(newer, path)
    assert family_results.load(path)[1] == [newer]
    monkeypatch.delenv("RECORD_FAMILIES", raising=False)
    before = family_results.PATH.read_bytes()
    family_results.record(result)
    assert family_results.PATH.read_bytes() == before


def test_notes_stand_below_the_table():
    result = family_results.Result(
        "Llama", "LlamaBackbone", "int8", "jax", "upstream", "it does not"
    )
    page = family_table.render({"keras": "3", "keras-hub": "1"}, [result])
    assert "upstream 1 |" in page
    assert "\n1. it does not.\n" in page
