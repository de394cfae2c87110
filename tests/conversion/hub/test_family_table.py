"""The page about KerasHub's families says what the tests have found."""

from keras_laurel.conversion.hub.families import FAMILIES
from keras_laurel.conversion.hub.families import UNSUPPORTED
from tests.conversion.hub import family_results
from tests.conversion.hub import family_table
from tests.conversion.hub.family_results import PROPERTIES
from tests.conversion.hub.rows import FAMILIES as ROWS

ON_EVERY_BACKEND = ("GPT2", "Llama", "Gemma3", "Mixtral")


def found():
    return family_results.load()[1]


def test_the_page_is_made_of_the_results():
    page = family_table.PATH.read_text(encoding="utf-8")
    assert page == family_table.render(*family_results.load()), (
        "Run `python -m tests.conversion.hub.family_table`."
    )


def test_each_property_of_each_family_was_proved():
    expected = {
        (row.name, name, backend)
        for row in ROWS
        for name in PROPERTIES
        for backend in family_table.BACKENDS
        if row.backbone_class in FAMILIES
        and (backend == "jax" or row.name in ON_EVERY_BACKEND)
    }
    proved = {
        (r.family, r.property, r.backend)
        for r in found()
        if r.outcome != "failed"
    }
    assert expected <= proved
    assert not [r for r in found() if r.outcome == "failed"]


def test_each_family_has_a_row():
    backbones = {r.backbone for r in found()}
    assert set(FAMILIES) <= backbones
    assert backbones <= {*FAMILIES, *UNSUPPORTED}


def test_notes_stand_below_the_table():
    result = family_results.Result(
        "Llama", "LlamaBackbone", "int8", "jax", "upstream", "it does not"
    )
    page = family_table.render({"keras": "3", "keras-hub": "1"}, [result])
    assert "upstream 1 |" in page
    assert "\n1. it does not.\n" in page
