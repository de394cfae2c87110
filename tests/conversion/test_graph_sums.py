"""A connection around several branches: x + a(x) + b(x)."""

import types

import keras
import numpy as np
import pytest
from keras import layers

import keras_laurel
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.plan import plan_replacements
from keras_laurel.conversion.graphs.rebuild import rebuild
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs
from tests.conversion.models import random_input
from tests.conversion.models import shake

SPELLINGS = {
    "+": lambda x, a, b: x + a + b,
    "branches first": lambda x, a, b: (a + b) + x,
    "Add": lambda x, a, b: layers.Add()([x, a, b]),
}


def branches(x):
    return [layers.Dense(8)(layers.Dense(9, "relu")(x)) for _ in range(2)]


def sums(add):
    """Two of them, and the site of each as the search describes it."""
    x = inputs = keras.Input((6, 8))
    sites = []
    for i in range(2):
        start = x = layers.LayerNormalization()(x)
        x = SPELLINGS[add](x, *branches(x))
        sites.append((f"sum_{i}", start, x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    return model, [
        types.SimpleNamespace(
            name=name,
            node=keras_internals.producer(y),
            skip_tensor=start,
            is_sum=True,
            branch_nodes=(),
        )
        for name, start, y in sites
    ]


def converted(add, layer):
    model, sites = sums(add)
    return model, rebuild(model, plan_replacements(model, sites, layer))


@pytest.mark.parametrize("add", SPELLINGS)
@pytest.mark.parametrize("variant", ["rw", "pa", "rw+lr+pa"])
def test_conversion_changes_no_bit(add, variant, tmp_path):
    options = {"rank": 2} if "lr" in variant else {}
    layer = keras_laurel.get(variant, **options)
    model, laurel = converted(add, layer)
    x = random_input(model)
    expected = outputs(model, x)
    assert_same_outputs(outputs(laurel, x), expected)
    assert len(keras_laurel.laurel_layers(laurel)) == 2
    shake(laurel)
    laurel.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_outputs(outputs(loaded, x), outputs(laurel, x))
    plain = keras_laurel.remove_laurel(laurel)
    assert_same_outputs(outputs(plain, x), expected)


def test_it_equals_the_equation():
    """alpha * (a + b) + beta * x, by a model with Add in between."""
    x = keras.Input((6, 8))
    a, b = branches(x)
    y = x + a + b
    model = keras.Model(x, y)
    site = types.SimpleNamespace(
        name="sum",
        node=keras_internals.producer(y),
        skip_tensor=x,
        is_sum=True,
        branch_nodes=(),
    )
    laurel = rebuild(
        model, plan_replacements(model, [site], keras_laurel.LaurelLR(rank=2))
    )
    shake(laurel)
    (layer,) = keras_laurel.laurel_layers(laurel)
    config = layer.get_config()
    del config["of_sum"]
    plain = type(layer).from_config({**config, "name": "plain"})
    twin = keras.Model(x, plain([x, layers.Add()([a, b])]))
    plain.set_weights(layer.get_weights())
    data = random_input(model)
    np.testing.assert_allclose(
        *(keras.ops.convert_to_numpy(m(data)) for m in (laurel, twin)),
        atol=1e-6,
    )


def test_a_layer_with_a_call_of_its_own_is_refused():
    class Own(keras_laurel.LaurelRW):
        def call(self, inputs):
            return super().call(inputs)

    with pytest.raises(ValueError, match="with its own `call`"):
        converted("+", Own())


def test_a_plan_of_a_sum_is_saved():
    from keras_laurel.conversion.graphs import saved_plan

    model, sites = sums("+")
    plan = plan_replacements(model, sites, keras_laurel.LaurelPA())
    configs = saved_plan.serialize(plan, model)
    again = saved_plan.deserialize(configs, model)
    for a, b in zip(plan, again, strict=True):
        assert a.node is b.node and a.skip is b.skip
        assert [id(t) for t in a.previous] == [id(t) for t in b.previous]
