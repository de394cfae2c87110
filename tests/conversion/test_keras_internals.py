"""The private parts of Keras that `keras_internals.py` uses.

If one of these tests fails after an update of Keras, adapt that file.
"""

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel.conversion import keras_internals
from tests.conversion import graphs
from tests.conversion.hub.checks import generated
from tests.conversion.hub.checks import plain_task
from tests.conversion.hub.rows import DECODERS

ADAPT = "Keras changed; adapt keras_laurel/conversion/keras_internals.py"


def two_layers():
    x = inputs = keras.Input((4,), name="x")
    x = keras.layers.Dense(3, name="a")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="b")(x))


def two_layers_in_a_row():
    return keras.Sequential(two_layers().layers)


def test_what_has_a_graph():
    model = two_layers()
    assert keras_internals.is_functional(model), ADAPT
    assert not keras_internals.is_functional(keras.Sequential([model])), ADAPT
    assert keras_internals.has_graph(keras.Sequential([model]))
    assert not keras_internals.has_graph(keras.layers.Dense(3))


def test_nodes_are_all_calls_in_the_order_they_run():
    model = graphs.shared_add()
    nodes = keras_internals.nodes(model)
    done = set()
    for node in nodes:
        assert {id(t) for t in keras_internals.node_inputs(node)} <= done, ADAPT
        done |= {id(t) for t in node.outputs}
    assert {id(t) for t in model.outputs} <= done, ADAPT
    # The input, and two Dense layers and the shared addition three times.
    assert len(nodes) == 1 + 3 * 3, ADAPT
    assert [node.is_input for node in nodes] == [True] + 9 * [False], ADAPT


def test_the_order_of_nodes_survives_saving(tmp_path):
    model = graphs.multi_output_nested()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert names(loaded) == names(model), ADAPT


def names(model):
    return [
        (node.operation.name, tuple(node.outputs[0].shape))
        for node in keras_internals.nodes(model)
    ]


def test_inputs_come_in_the_order_of_the_arguments():
    a, b = keras.Input((4,)), keras.Input((4,))
    y = keras.layers.Subtract()([b, a])
    (node,) = y._keras_history.operation._inbound_nodes
    first, second = keras_internals.node_inputs(node)
    assert first is b and second is a, ADAPT


def test_a_call_is_repeated_with_its_other_arguments():
    x = keras.Input((4, 8))
    layer = keras.layers.MultiHeadAttention(2, 4)
    y = layer(x, value=x, use_causal_mask=True)
    (node,) = layer._inbound_nodes
    fresh = keras.Input((4, 8))
    keras_internals.call_again(node, layer, {id(x): fresh})
    again = layer._inbound_nodes[-1].arguments
    assert again.kwargs["use_causal_mask"] is True, ADAPT
    assert all(t is fresh for t in again.keras_tensors), ADAPT
    assert y._keras_history.operation is layer, ADAPT


def test_an_input_is_made_again_with_its_options():
    x = keras.Input(batch_shape=(2, 4), dtype="int32", name="tokens")
    fresh = keras_internals.fresh_input(x)
    assert fresh is not x
    assert (fresh.shape, fresh.dtype, fresh.name) == (
        (2, 4),
        "int32",
        "tokens",
    ), ADAPT


def test_a_graph_is_put_on_a_subclass():
    class Backbone(keras.Model):
        def __init__(self):
            x = keras.Input((4,))
            super().__init__(x, x)

    model = two_layers()
    cls = type(Backbone())
    result = cls.__new__(cls)
    keras_internals.initialize(result, model.input, model.output, name="copy")
    x = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(result(x)),
        keras.ops.convert_to_numpy(model(x)),
        ADAPT,
    )
    assert result.name == "copy", ADAPT


@pytest.mark.parametrize("build", [two_layers, two_layers_in_a_row])
def test_training_leaves_known_attributes_only(build):
    """Else a converted model would take a stale one along."""
    model = build()
    before = set(model.__dict__)
    model.compile("adam", "mse", metrics=["mae"])
    x, y = np.ones((4, 4)), np.ones((4, 2))
    model.fit(x, y, validation_data=(x, y), verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.train_on_batch(x, y)
    # A plain model has the other attributes from its constructor on.
    new = set(model.__dict__) - before
    assert new <= keras_internals.TRAINING_STATE, f"{ADAPT}: {sorted(new)}"
    assert keras_internals.own_attributes(model) == {}, ADAPT


@pytest.mark.parametrize("build", [two_layers, two_layers_in_a_row])
def test_own_attributes(build):
    model = build()
    model.levels = {"P2": "a"}
    assert keras_internals.own_attributes(model) == {"levels": {"P2": "a"}}


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (two_layers, True),
        (two_layers_in_a_row, True),
        (graphs.own_functional, True),
        (graphs.own_sequential, True),
        (graphs.own_constructor, False),
        (graphs.own_sequential_config, False),
    ],
)
def test_whose_config_has_the_graph(build, expected):
    """The config has the graph, or the arguments of a constructor."""
    model = build()
    assert keras_internals.config_has_graph(model) is expected, ADAPT
    assert ("layers" in model.get_config()) is expected, ADAPT


@pytest.mark.parametrize("setting", keras_internals.LAYER_SETTINGS)
def test_layer_settings_exist(setting):
    assert setting in two_layers().__dict__, ADAPT


def test_layer_settings_are_copied():
    model, result = two_layers(), two_layers()
    model.trainable = False
    keras_internals.copy_layer_settings(model, result)
    assert not result.trainable, ADAPT


def test_layers_inside_layers_are_listed_once():
    model = graphs.siamese()
    outer = keras.Model(model.inputs, model(model.inputs))
    found = keras_internals.flatten_layers(outer)
    assert len({id(x) for x in found}) == len(found), ADAPT
    dense = [x for x in found if type(x) is keras.layers.Dense]
    assert len(dense) == 2, ADAPT
    assert outer not in found, ADAPT


def test_public_layers():
    assert keras_internals.is_of_keras(keras.layers.Dense(3)), ADAPT
    assert not keras_internals.is_of_keras(graphs.FeedForward())


def built_dense(name="outer"):
    layer = keras.layers.Dense(8, name=name)
    layer.build((None, 8))
    return layer


class TestAddSublayer:
    def test_keras_refuses_it_on_a_built_layer(self):
        with pytest.raises(ValueError, match="cannot add new elements"):
            built_dense().inner = built_dense()

    def test_the_sublayer_is_tracked(self):
        outer, inner = built_dense(), built_dense()
        keras_internals.add_sublayer(outer, "inner", inner)
        assert outer.inner is inner
        assert inner in outer._flatten_layers()
        assert len(outer.variables) == 4
        assert len(outer.trainable_variables) == 4

    def test_the_layer_is_locked_again(self):
        outer = built_dense()
        keras_internals.add_sublayer(outer, "inner", built_dense())
        with pytest.raises(ValueError, match="cannot add new elements"):
            outer.another = built_dense()

    def test_the_layer_is_locked_again_after_an_error(self):
        class Refusing(keras.layers.Dense):
            def __setattr__(self, name, value):
                if name == "inner":
                    raise KeyError(name)
                super().__setattr__(name, value)

        outer = Refusing(8)
        outer.build((None, 8))
        with pytest.raises(KeyError):
            keras_internals.add_sublayer(outer, "inner", built_dense())
        with pytest.raises(ValueError, match="cannot add new elements"):
            outer.another = built_dense()


def test_build_inside_gives_the_paths_of_the_layer():
    with keras.name_scope("model"), keras.name_scope("stage"):
        outer = built_dense()
    assert outer.kernel.path == "model/stage/outer/kernel"
    layer = keras_laurel.LaurelLR(rank=2, name="laurel_residual")
    keras_internals.build_inside(outer, layer, [(None, 8)] * 2)
    assert [w.path for w in layer.weights] == [
        "model/stage/outer/laurel_residual/laurel_a",
        "model/stage/outer/laurel_residual/laurel_b",
    ]


def test_compiled_functions_are_under_these_names():
    """Running a model makes each of them; forgetting drops all."""
    family = next(f for f in DECODERS if f.name == "GPT2")
    task = plain_task(family)
    task.compile(sampler="greedy")
    x = family.inputs()
    task.train_on_batch(x, x["token_ids"])
    task.test_on_batch(x, x["token_ids"])
    task.predict_on_batch(x)
    generated(task, family.prompt())
    made = {
        name
        for name, value in vars(task).items()
        if name.endswith("_function") and callable(value)
    }
    assert made == set(keras_internals.COMPILED_FUNCTIONS)
    keras_internals.forget_compiled(task)
    assert not any(getattr(task, name) for name in made)
    assert np.isfinite(task.predict_on_batch(x)).all()


class TestNewCallsFirst:
    def test_a_layer_answers_by_its_first_call(self):
        model = two_layers()
        a, b = model.layers[1:]
        with keras_internals.new_calls_first(model):
            y = b(a(keras.Input((4,))))
        assert b.output is y and a.output is b.input, ADAPT
        assert [n.outputs[0] for n in b._inbound_nodes] == [y, model.output]
        assert model.output._keras_history.node_index == 1, ADAPT

    def test_other_models_find_their_calls(self):
        model = two_layers()
        config = model.get_config()
        other = keras.Model(model.input, model.layers[1].output)
        other_config = other.get_config()
        with keras_internals.new_calls_first(model):
            model.layers[2](model.layers[1](keras.Input((4,))))
        assert model.get_config() == config, ADAPT
        assert other.get_config() == other_config, ADAPT

    def test_calls_are_taken_back_after_an_error(self):
        model = two_layers()
        before = [list(x._inbound_nodes) for x in model.layers]
        with pytest.raises(KeyError):
            with keras_internals.new_calls_first(model):
                model.layers[2](model.layers[1](keras.Input((4,))))
                raise KeyError
        assert [list(x._inbound_nodes) for x in model.layers] == before
        assert model.layers[2].output is model.output, ADAPT


def test_a_sublayer_is_removed_again():
    outer = built_dense()
    before = set(vars(outer))
    keras_internals.add_sublayer(outer, "inner", built_dense())
    keras_internals.remove_sublayer(outer, "inner")
    assert set(vars(outer)) == before
    assert len(outer.variables) == 2, ADAPT


def test_masks_are_no_values():
    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(16, 8, mask_zero=True)(tokens)
    norm = keras.layers.BatchNormalization()
    norm(x)
    (node,) = norm._inbound_nodes
    assert len(keras_internals.node_inputs(node)) == 2, ADAPT
    (value,) = keras_internals.values(node)
    assert value is x, ADAPT


def test_constants_of_a_call():
    x = keras.Input((4, 8))
    kernel = keras.Variable(np.ones((8, 3), "float32"))
    y = keras.ops.matmul(x, kernel)
    (node,) = y._keras_history.operation._inbound_nodes
    (constant,) = keras_internals.constants(node)
    assert constant is kernel, ADAPT


def test_the_graph_of_a_sequential_model():
    model = two_layers_in_a_row()
    graph = keras_internals.functional(model)
    assert keras_internals.is_functional(graph), ADAPT
    assert [o.name for o in graph.operations][1:] == ["a", "b"], ADAPT
    assert keras_internals.functional(graph) is graph


def test_symbolic_calls_are_forgotten():
    model = two_layers()
    x = keras.KerasTensor((None, 4))
    with keras_internals.forgotten_calls(model):
        y = keras.layers.Activation("relu")(model.call(x))
        nodes = keras_internals.nodes_behind([y])
    names = [node.operation.name for node in nodes]
    assert [n for n in names if n in ("a", "b")] == ["a", "b"], ADAPT
    for layer in model.layers[1:]:
        assert len(layer._inbound_nodes) == 1, ADAPT
    # The name that was made up inside is free again.
    assert keras.layers.Activation("relu").name == names[-1], ADAPT


def test_a_layer_can_be_added_before_and_after_it_is_built():
    layer = keras.layers.Dense(3)
    keras_internals.add_sublayer(layer, "first", keras.layers.Dense(2))
    layer.build((None, 4))
    keras_internals.add_sublayer(layer, "second", keras.layers.Dense(2))
    assert len(layer._layers) == 2, ADAPT
    with pytest.raises(ValueError, match="already built"):
        layer.third = keras.layers.Dense(2)


def test_the_outer_call_of_a_layer():
    seen = []

    class Watched(keras.layers.Layer):
        def call(self, x):
            seen.append(keras_internals.outer_call(self))
            return x

    layer = Watched()
    model = keras.Sequential([layer, layer])
    x = np.ones((1, 2))
    model(x)
    model(x)
    layer(x)
    seen = seen[-5:]
    assert seen[0] is seen[1] is not None, ADAPT
    assert seen[2] is seen[3] is not seen[0], ADAPT
    assert seen[4] is None, ADAPT
    assert keras_internals.outer_call(layer) is None


def test_a_mask_is_kept():
    x = keras.layers.Masking()(np.array([[[0.0], [1.0]]]))
    y = keras_internals.keep_mask(x + 1, x)
    assert y._keras_mask is x._keras_mask, ADAPT
    assert keras_internals.keep_mask(x * 2, y * 1) is not None


def test_the_calls_of_a_layer():
    def first(args, kwargs):
        return [kwargs["x"] if kwargs else args[0]]

    in_graph = keras.layers.Dense(3)
    x = keras.Input((4,))
    keras.Model(x, in_graph(x))
    alone = keras.layers.Dense(3)
    alone.build((None, 4))
    for layer in (in_graph, alone):
        (((given,), (made,)),) = keras_internals.call_specs(layer, first)
        assert tuple(given.shape) == (None, 4), ADAPT
        assert tuple(made.shape) == (None, 3), ADAPT
    assert keras_internals.call_specs(keras.layers.Dense(3), first) == []
