import collections

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel.conversion.residual_sites import search
from tests.backends import once
from tests.conversion import graphs

pytestmark = once


@pytest.mark.parametrize("name", graphs.FOUND)
def test_residual_additions_are_found(name):
    row = graphs.FOUND[name]
    found, rejected = search(row.build())
    kinds = collections.Counter(site.kind for site in found)
    assert kinds == row.kinds
    assert len(rejected) == row.rejected


@pytest.mark.parametrize("name", graphs.LEFT_ALONE)
def test_other_additions_are_left_alone(name):
    row = graphs.LEFT_ALONE[name]
    found, rejected = search(row.build())
    assert found == []
    assert len(rejected) == row.rejected


def test_reasons():
    reasons = {
        name: search(graphs.LEFT_ALONE[name].build())[1][0][1]
        for name in graphs.LEFT_ALONE
    }
    assert reasons["position embedding"] == (
        "the branch learns nothing from the values of the skip"
    )
    assert reasons["u-net"] == (
        "the branch changes the resolution and comes back"
    )
    assert reasons["constant"] == "one operand is a constant"
    assert reasons["doubled"] == "a tensor added to itself"
    assert reasons["integers"] == "dtypes ['int32']"
    assert reasons["broadcast"].startswith("shapes ")


def test_what_a_site_tells():
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Add(name="first")(
        [graphs.conv(x, activation=None), graphs.conv(graphs.conv(x))]
    )
    x = keras.layers.Add()([graphs.conv(x), x])
    model = keras.Model(inputs, x, name="net")
    first, second = keras_laurel.residual_sites(model)
    assert repr(first) == (
        "<ResidualSite net/first: projection, "
        "(None, 8, 8, 3) -> (None, 8, 8, 8), skip is operand 0>"
    )
    assert repr(second) == (
        "<ResidualSite net/residual_2: identity, "
        "(None, 8, 8, 8) -> (None, 8, 8, 8), skip is operand 1>"
    )
    assert (second.name, second.kind, second.skip) == (
        "residual_2",
        "identity",
        1,
    )
    assert first.input_shape == (None, 8, 8, 3)
    assert first.output_shape == (None, 8, 8, 8)
    assert second.model == "net"


def test_sites_compare_and_hash_by_their_place():
    model = graphs.dense_blocks()
    once, again = [keras_laurel.residual_sites(model) for _ in range(2)]
    assert once == again
    assert len({*once, *again}) == 3
    assert once != keras_laurel.residual_sites(graphs.dense_blocks())


@pytest.mark.parametrize(
    "build", [graphs.dense_blocks, graphs.operators, graphs.shared_add]
)
def test_names_are_the_same_in_every_build(build):
    names = [
        [site.name for site in keras_laurel.residual_sites(build())]
        for _ in range(2)
    ]
    assert names[0] == names[1]
    assert names[0][:3] == ["residual_1", "residual_2", "residual_3"]


def test_chosen_names_are_kept_and_models_tell_equal_ones_apart():
    model = keras.Sequential(
        [
            keras.Input((4, graphs.D)),
            graphs.block_model("a"),
            graphs.block_model("b"),
        ]
    )
    names = [site.name for site in keras_laurel.residual_sites(model)]
    assert names == ["a_residual_1", "b_residual_1"]
    (site,) = keras_laurel.residual_sites(graphs.dense_blocks(1, name="mine"))
    assert site.name == "mine"


def test_sites_come_in_the_order_they_run():
    names = ["c", "a", "b"]
    x = inputs = keras.Input((4, graphs.D))
    for name in names:
        x = keras.layers.Add(name=name)([x, graphs.f(x)])
    sites = keras_laurel.residual_sites(keras.Model(inputs, x))
    assert [site.name for site in sites] == names


def test_sites_of_nested_models_come_where_they_run():
    x = keras.Input((4, graphs.D))
    inner = keras.Model(x, keras.layers.Add(name="inner")([x, graphs.f(x)]))
    y = keras.Input((4, graphs.D))
    z = keras.layers.Add(name="first")([y, graphs.f(y)])
    z = keras.layers.Add(name="last")([z, inner(z)])
    sites = keras_laurel.residual_sites(keras.Model(y, z))
    assert [site.name for site in sites] == ["first", "inner", "last"]


def test_sites_survive_saving(tmp_path):
    model = graphs.nested()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [repr(site) for site in keras_laurel.residual_sites(loaded)] == [
        repr(site) for site in keras_laurel.residual_sites(model)
    ]


def test_looking_changes_nothing():
    """Not even the state of a layer that is fed NaN."""
    model = graphs.recurrent()
    variables = [*model.variables, *model.get_layer("lstm").states]
    before = [ops.convert_to_numpy(v) for v in variables]
    nodes = [len(o._inbound_nodes) for o in model.operations]
    keras_laurel.residual_sites(model)
    for variable, value in zip(variables, before):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    assert nodes == [len(o._inbound_nodes) for o in model.operations]


def test_a_sequential_model_without_sites():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert keras_laurel.residual_sites(model) == []


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_a_subclassed_model_that_is_not_built():
    message = "(?s)of class Subclassed, which has no graph.*Pass an example"
    with pytest.raises(ValueError, match=message):
        keras_laurel.residual_sites(Subclassed())


@pytest.mark.parametrize("model", [None, "model", keras.layers.Dense(3)])
def test_not_a_model(model):
    message = f"Received: .* of type {type(model).__name__}"
    with pytest.raises(ValueError, match=message):
        keras_laurel.residual_sites(model)


def test_a_path_is_not_a_model():
    with pytest.raises(ValueError, match=r"load_model\('model.keras'\)"):
        keras_laurel.residual_sites("model.keras")


class OfModels(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = graphs.nested()
        self.head = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])


def test_parts_that_can_be_converted_are_named():
    message = "(?s)one by one.*`encoder`(?!.*`head`)"
    with pytest.raises(ValueError, match=message):
        keras_laurel.residual_sites(OfModels())
