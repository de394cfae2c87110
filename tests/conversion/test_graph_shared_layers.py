"""Models made of the tensors of layers that two graphs share."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import keras_laurel
from keras_laurel.conversion import keras_internals
from tests.conversion import graphs
from tests.conversion.models import assert_moved
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs
from tests.conversion.models import random_input
from tests.conversion.models import shake


def net():
    x = inputs = keras.Input((6, 8), name="features")
    x = layers.Dense(8, name="first")(x)
    for i in range(2):
        fx = layers.Dense(8)(layers.Dense(16, "relu")(x))
        x = layers.Add(name=f"sum_{i}")([fx, x])
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(2, name="last")(x))


def converted(model):
    model = keras_laurel.laurelize(model, keras_laurel.get("rw+lr+pa", rank=2))
    shake(model)
    return model


def test_see_the_converted_network():
    plain = net()
    x = random_input(plain)
    before = outputs(plain, x)
    model = converted(plain)
    expected = outputs(model, x)
    assert_moved(expected, before)
    pool, last = model.get_layer("pool"), model.get_layer("last")
    for part in (
        keras.Model(model.input, last.output),
        keras.Model(model.get_layer("first").input, last.output),
        keras.Model(model.input, last(model.layers[-2].output)),
        keras.Model(model.input, last(pool.output)),
        keras.Model(model.input, [last.output, pool.output]),
    ):
        assert len(keras_laurel.laurel_layers(part)) == 2
        assert_same_outputs(outputs(part, x)[:1], expected)


def test_the_plain_models_run_and_are_saved_as_before(tmp_path):
    """Those that share the layers, and know nothing of one another."""
    plain = net()
    features = keras.Model(plain.input, plain.get_layer("pool").output)
    outer = keras.Model(plain.input, layers.Dense(1)(plain.output))
    models = [plain, features, outer]
    x = random_input(plain)
    expected = [(m.get_config(), outputs(m, x)) for m in models]
    first = converted(plain)
    second = converted(plain)
    for model, (config, y) in zip(models, expected):
        assert model.get_config() == config
        assert_same_outputs(outputs(model, x), y)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same_outputs(outputs(loaded, x), y)
    for model in (first, second):
        y = outputs(model, x)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same_outputs(outputs(loaded, x), y)
    features = keras.Model(second.input, second.get_layer("pool").output)
    assert len(keras_laurel.laurel_layers(features)) == 2


def test_a_layer_called_twice_keeps_the_order_of_its_calls():
    shared = layers.Dense(8, name="shared")
    left, right = keras.Input((4, 8), name="l"), keras.Input((4, 8), name="r")
    first, second = shared(left), shared(right)
    y = layers.Add()([first, layers.Dense(8)(first)])
    model = keras.Model([left, right], [y, second])
    result = converted(model)
    assert shared.output is not first
    assert shared.input._keras_history.operation.name == "l"
    assert shared.input in result.inputs


@pytest.mark.parametrize(
    "build", [graphs.nested, graphs.siamese, graphs.sequential_of_functionals]
)
def test_nested_models(build):
    plain = build()
    x = random_input(plain)
    config, before = plain.get_config(), outputs(plain, x)
    model = converted(plain)
    assert plain.get_config() == config
    assert_same_outputs(outputs(plain, x), before)
    several = len(model.inputs) > 1
    inputs = model.inputs if several else model.inputs[0]
    part = keras.Model(inputs, model.layers[-1].output)
    assert_same_outputs(outputs(part, x), outputs(model, x))


def test_distillation_of_features():
    distillation = keras.distillation
    loss = distillation.FeatureDistillation("mse", "pool", "pool")
    distiller = distillation.Distiller(
        teacher=net(), student=converted(net()), distillation_losses=loss
    )
    distiller.compile("sgd", "mse")
    distiller.fit(np.ones((4, 6, 8)), np.ones((4, 2)), verbose=0)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_has_changed_where_a_call_raises(error, monkeypatch):
    model = net()
    calls = [
        (list(o._inbound_nodes), list(o._outbound_nodes))
        for o in model.operations
    ]
    config, count = model.get_config(), []
    call = keras_internals.call_again

    def interrupted(*args):
        count.append(1)
        if len(count) == 4:
            raise error
        return call(*args)

    monkeypatch.setattr(keras_internals, "call_again", interrupted)
    with pytest.raises(error):
        converted(model)
    assert model.get_config() == config
    assert calls == [
        (list(o._inbound_nodes), list(o._outbound_nodes))
        for o in model.operations
    ]


@pytest.mark.parametrize("build", [net, *graphs.OWN])
def test_copies(build):
    model = converted(build())
    x = random_input(model)
    expected = outputs(model, x)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert isinstance(other, type(model))
        assert_same_outputs(outputs(other, x), expected)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_same_outputs(outputs(clone, x), expected)


class TestPlans:
    """A saved plan is checked against what the class builds now."""

    def config(self):
        return converted(graphs.own_constructor()).get_config()

    def load(self, **changes):
        config = self.config()
        site = {**config["sites"][0], **changes}
        config = {**config, "sites": [site]}
        cls = keras.saving.get_registered_object(
            "keras_laurel>LaurelFunctional"
        )
        return cls.from_config(config)

    def test_is_read(self):
        assert len(keras_laurel.laurel_layers(self.load())) == 1

    def test_of_an_earlier_version(self):
        config = self.config()
        for key in ("shape", "nodes"):
            del config["sites"][0][key]
        loaded = keras.saving.get_registered_object(
            "keras_laurel>LaurelFunctional"
        ).from_config(config)
        assert len(keras_laurel.laurel_layers(loaded)) == 1

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"node": -1}, "call -1, which is none of its 4 calls"),
            ({"node": 999}, "is none of its 4 calls"),
            ({"node": None}, "is none of its 4 calls"),
            ({"node": 0}, "which is no addition"),
            ({"node": 1}, "which is no addition"),
            ({"skip": 2}, "is no addition of two operands, of which 2"),
            ({"skip": None}, "is no addition of two operands"),
            ({"shape": [None, 4, 9]}, "has the shape"),
            ({"nodes": 9}, "is of a graph of 9 calls, where this has 4"),
            ({"previous": [[99, 0]]}, "reads \\[99, 0\\]"),
            ({"previous": [3]}, "reads 3"),
            ({"previous": [[3, 5]]}, "reads \\[3, 5\\]"),
            ({"previous": [[1, 0]] * 5}, "its layer does not fit"),
        ],
    )
    def test_is_refused(self, changes, message):
        pattern = f"(?s)saved plan of 'own_constructor.*{message}"
        with pytest.raises(ValueError, match=pattern):
            self.load(**changes)

    def test_with_one_addition_twice(self):
        config = self.config()
        config["sites"] *= 2
        cls = keras.saving.get_registered_object(
            "keras_laurel>LaurelFunctional"
        )
        with pytest.raises(ValueError, match="stands in it twice"):
            cls.from_config(config)


class TestRemoval:
    @pytest.mark.parametrize(
        "build",
        [
            net,
            graphs.operators,
            graphs.shared_add,
            graphs.nested,
            graphs.sequential_of_functionals,
            *graphs.OWN,
        ],
    )
    def test_gives_the_plain_model(self, build, tmp_path):
        plain = build()
        x = random_input(plain)
        expected = outputs(plain, x)
        model = keras_laurel.remove_laurel(converted(plain))
        assert type(model) is type(plain)
        assert keras_laurel.laurel_layers(model) == []
        assert_same_outputs(outputs(model, x), expected)
        assert {id(w) for w in model.weights} == {id(w) for w in plain.weights}
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same_outputs(outputs(loaded, x), expected)
        assert len(keras_laurel.residual_sites(model)) == len(
            keras_laurel.residual_sites(plain)
        )

    def test_of_none(self):
        with pytest.raises(ValueError, match="has no LAuReL layers"):
            keras_laurel.remove_laurel(net())


class TestWeightsFile:
    def test_fits_the_same_plain_model(self, tmp_path):
        path = tmp_path / "model.laurel.h5"
        model = converted(net())
        keras_laurel.save_laurel_weights(model, path)
        other = net()
        other.set_weights(keras_laurel.remove_laurel(model).get_weights())
        other = converted(other)
        keras_laurel.load_laurel_weights(other, path)
        x = random_input(model)
        assert_same_outputs(outputs(other, x), outputs(model, x))

    def test_has_what_lora_learned(self, tmp_path):
        path = tmp_path / "model.laurel.h5"
        models = [converted(net()) for _ in range(2)]
        models[1].set_weights(models[0].get_weights())
        for model in models:
            model.get_layer("last").enable_lora(2)
        lora = models[0].get_layer("last").lora_kernel_b
        lora.assign(np.ones(lora.shape))
        keras_laurel.save_laurel_weights(models[0], path)
        keras_laurel.load_laurel_weights(models[1], path)
        other = models[1].get_layer("last").lora_kernel_b
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(other), 1.0)

    @pytest.mark.parametrize(
        ("layer", "message"),
        [
            (lambda: keras_laurel.LaurelRW(), "in which the layer 'sum_0' has"),
            (
                lambda: keras_laurel.get("rw+lr+pa", rank=3),
                "Use the same layer, rank and sites",
            ),
        ],
    )
    def test_that_does_not_fit(self, layer, message, tmp_path):
        path = tmp_path / "model.laurel.h5"
        keras_laurel.save_laurel_weights(converted(net()), path)
        model = keras_laurel.laurelize(net(), layer())
        before = model.get_weights()
        with pytest.raises(ValueError, match=message):
            keras_laurel.load_laurel_weights(model, path)
        for a, b in zip(before, model.get_weights()):
            np.testing.assert_array_equal(a, b)

    def test_of_other_sites(self, tmp_path):
        path = tmp_path / "model.laurel.h5"
        keras_laurel.save_laurel_weights(converted(net()), path)
        model = net()
        sites = keras_laurel.residual_sites(model)[:1]
        model = keras_laurel.laurelize(
            model, keras_laurel.LaurelRW(), sites=sites
        )
        with pytest.raises(ValueError, match="2 layers with LAuReL weights"):
            keras_laurel.load_laurel_weights(model, path)

    def test_of_another_name_or_kind(self, tmp_path):
        model = converted(net())
        with pytest.raises(ValueError, match="a name that ends in"):
            keras_laurel.save_laurel_weights(model, tmp_path / "x.weights.h5")
        path = tmp_path / "x.laurel.h5"
        with pytest.raises(ValueError, match="which cannot be read"):
            keras_laurel.load_laurel_weights(model, path)
        model.save_weights(tmp_path / "x.weights.h5")
        (tmp_path / "x.weights.h5").rename(path)
        with pytest.raises(ValueError, match="did not write"):
            keras_laurel.load_laurel_weights(model, path)
        with pytest.raises(ValueError, match="has no LAuReL layers"):
            keras_laurel.save_laurel_weights(net(), path)
