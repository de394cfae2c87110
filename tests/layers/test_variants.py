"""`get`: the paper's names."""

import pytest

import keras_laurel
from keras_laurel import layers
from tests.layers.cases import SHAPE
from tests.layers.cases import VARIANTS

PARTS = {"rw": "residual_weights", "lr": "rank", "pa": "num_activations"}


def test_the_tables_name_the_same_variants():
    assert layers.VARIANTS == tuple(VARIANTS)


@pytest.mark.parametrize("name", layers.VARIANTS)
def test_get_learns_what_the_name_says(name):
    layer = keras_laurel.get(name, name="residual")
    learned = [part for part, option in PARTS.items() if getattr(layer, option)]
    assert "+".join(learned) == name
    assert layer.name == "residual"


@pytest.mark.parametrize(
    "name, cls",
    [
        ("rw", keras_laurel.LaurelRW),
        ("lr", keras_laurel.LaurelLR),
        ("pa", keras_laurel.LaurelPA),
        ("rw+lr", keras_laurel.Laurel),
    ],
)
def test_get_gives_the_defaults_of_the_class(name, cls):
    layer = keras_laurel.get(name)
    assert type(layer) is cls
    assert layer.residual_weights == ("softmax" if "rw" in name else None)
    assert layer.rank == (16 if "lr" in name else None)
    assert layer.num_activations == (3 if "pa" in name else 0)


@pytest.mark.parametrize("name", layers.VARIANTS)
def test_weights_have_distinctive_names(name):
    layer = VARIANTS[name].make()
    layer.build([SHAPE] * VARIANTS[name].inputs)
    assert all(w.name.startswith("laurel_") for w in layer.weights)


UNKNOWN = "`name` must be one of .*'rw\\+lr\\+pa'.*For other choices"
MEANT = "Did you mean '{}'\\? For other choices"
LEFT_OUT = "belongs to '{0}'.*Choose a variant with '{0}', or leave"
TAKEN_OUT = "which has '{0}'.*Choose a variant without '{0}'"


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("LR", {}, UNKNOWN),
        ("lr+rw", {}, UNKNOWN),
        ("RW+LR", {}, MEANT.format(r"rw\+lr")),
        ("pa+lr+rw", {}, MEANT.format(r"rw\+lr\+pa")),
        ("ReZero", {}, MEANT.format("rezero")),
        ("skip_init", {}, MEANT.format("skipinit")),
        ("something", {}, r"name='something'\. For other choices"),
        ("", {}, UNKNOWN),
        (None, {}, UNKNOWN),
        (["rw"], {}, UNKNOWN),
        ("rw", {"rank": 4}, LEFT_OUT.format("lr")),
        ("lr", {"residual_weights": "sigmoid"}, LEFT_OUT.format("rw")),
        ("rw+lr", {"num_activations": 2}, LEFT_OUT.format("pa")),
        ("lr", {"rank": None}, TAKEN_OUT.format("lr")),
        ("rw", {"residual_weights": None}, TAKEN_OUT.format("rw")),
        ("lr+pa", {"num_activations": 0}, TAKEN_OUT.format("pa")),
        ("rw", {"residual_weights": "tanh"}, "one of.*'softmax'.*='tanh'"),
    ],
)
def test_get_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        keras_laurel.get(name, **options)
