import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_laurel
from keras_laurel.conversion import keras_internals
from tests.backends import rows
from tests.conversion import graphs
from tests.conversion import zoo
from tests.conversion.models import assert_moved
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs
from tests.conversion.models import random_input
from tests.conversion.models import shake

# Three outputs of 40 KB each: enough to see one bit, quick on every backend.
IMAGE = (16, 16, 3)


def small_resnet(name="small", dtype=None):
    """A projection block and three identity blocks, as a ResNet has them."""

    def conv(x, width=16, relu=True):
        x = layers.Conv2D(width, 3, padding="same", dtype=dtype)(x)
        x = layers.BatchNormalization(dtype=dtype)(x)
        return layers.ReLU(dtype=dtype)(x) if relu else x

    x = inputs = keras.Input(IMAGE)
    shortcut = conv(x, relu=False)
    for i in range(4):
        fx = conv(conv(x), relu=False)
        x = layers.Add(name=f"add_{i}_of_{name}", dtype=dtype)([shortcut, fx])
        shortcut = x = layers.ReLU(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    x = layers.Dense(3, name="top", dtype=dtype)(x)
    return keras.Model(inputs, x, name=name)


def rw_lr_pa():
    return keras_laurel.get("rw+lr+pa", rank=2)


# TensorFlow has them on some processors only.
channels_first = pytest.mark.skipif(
    keras.config.backend() == "tensorflow",
    reason="TensorFlow has no channels_first convolution on a CPU",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=channels_first)
        if name == "channels first"
        else name
        for name in graphs.FOUND
    ],
)
def test_conversion_changes_no_bit(name):
    model = graphs.FOUND[name].build()
    x = random_input(model, size=8)
    expected = outputs(model, x)
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    _reset_states(model)
    assert_same_outputs(outputs(converted, x), expected)
    shake(converted)
    _reset_states(model)
    assert_moved(outputs(converted, x), expected)


def _reset_states(model):
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()


@pytest.mark.parametrize("variant", ["rw", "lr", "pa", "rw+lr+pa"])
@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "mixed_bfloat16", "mixed_float16"]
)
def test_conversion_changes_no_bit_in_any_precision(dtype, variant):
    if "lr" in variant:
        layer = keras_laurel.get(variant, rank=2)
    else:
        layer = keras_laurel.get(variant)
    model = small_resnet(dtype=dtype)
    x = random_input(model)
    expected = outputs(model, x)
    converted = keras_laurel.laurelize(model, layer)
    assert_same_outputs(outputs(converted, x), expected)
    for layer in keras_laurel.laurel_layers(converted):
        assert layer.dtype_policy.name == dtype


def test_compiled_predictions_agree_to_rounding():
    model = small_resnet()
    x = random_input(model)
    expected = model.predict(x, verbose=0)
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    np.testing.assert_allclose(
        converted.predict(x, verbose=0),
        expected,
        rtol=1e-5,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_variables_are_shared():
    model = small_resnet()
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert converted.get_layer("top") is model.get_layer("top")
    added = [
        v for x in keras_laurel.laurel_layers(converted) for v in x.weights
    ]
    assert {id(v) for v in converted.variables} == {
        id(v) for v in [*model.variables, *added]
    }
    assert len(converted.variables) == len(model.variables) + len(added)


def test_the_original_is_unchanged():
    model = small_resnet()
    x = random_input(model)
    expected, config = outputs(model, x), model.get_config()
    count = len(model.layers)
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    shake(converted)
    assert_same_outputs(outputs(model, x), expected)
    assert model.get_config() == config
    assert len(model.layers) == count
    assert keras_laurel.laurel_layers(model) == []


def test_the_result_is_named_and_shaped_alike():
    model = graphs.multi_output_nested()
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert type(converted) is type(model)
    assert converted.name == model.name
    assert converted.output_shape == model.output_shape
    assert converted.input_shape == model.input_shape


def test_input_options_are_kept():
    x = keras.Input(batch_shape=(3, 4, 8), name="x", dtype="float16")
    model = keras.Model(x, x + graphs.f(x))
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert converted.input.name == "x"
    assert converted.input.shape == (3, 4, 8)
    assert converted.input.dtype == "float16"


def test_layers_carry_the_names_of_their_sites():
    model = graphs.operators()
    names = [site.name for site in keras_laurel.residual_sites(model)]
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    found = keras_laurel.laurel_layers(converted)
    assert sorted(x.name for x in found) == sorted(names)


def test_a_name_that_is_taken_is_changed():
    x = inputs = keras.Input((4, 8))
    x = x + layers.Dense(8, name="residual_1")(x)
    model = keras.Model(inputs, x)
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    (layer,) = keras_laurel.laurel_layers(converted)
    assert layer.name == "residual_1_laurel"


def test_some_sites():
    model = small_resnet()
    sites = keras_laurel.residual_sites(model)
    identity = [site for site in sites if site.kind == "identity"]
    converted = keras_laurel.laurelize(
        model, keras_laurel.LaurelRW(), sites=identity
    )
    assert {x.name for x in keras_laurel.laurel_layers(converted)} == {
        site.name for site in identity
    }
    assert type(converted.get_layer(sites[0].name)) is layers.Add
    x = random_input(model)
    assert_same_outputs(outputs(converted, x), outputs(model, x))


def test_the_prototype_is_copied_for_each_place():
    prototype = keras_laurel.LaurelLR(rank=2, a_initializer="he_normal")
    model = small_resnet()
    converted = keras_laurel.laurelize(model, prototype)
    found = keras_laurel.laurel_layers(converted)
    assert not prototype.built
    assert all(type(x) is keras_laurel.LaurelLR for x in found)
    first, second = [np.array(x.laurel_a) for x in found[:2]]
    assert not np.array_equal(first, second)


def test_features():
    """Inner outputs belong to the converted model."""
    model = small_resnet()
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    shake(converted)
    features = keras.Model(converted.input, converted.get_layer("top").output)
    x = random_input(model)
    assert_same_outputs(outputs(features, x), outputs(converted, x))


def history(converted, name):
    """Return the names of the operations whose outputs a layer reads."""
    layer = converted.get_layer(name)
    (node,) = layer._inbound_nodes
    return [
        t._keras_history.operation.name
        for t in keras_internals.node_inputs(node)[2:]
    ]


def test_previous_activations_are_earlier_skips_newest_first():
    model = graphs.dense_blocks(5)
    names = [site.name for site in keras_laurel.residual_sites(model)]
    first = model.inputs[0]._keras_history.operation.name
    converted = keras_laurel.laurelize(
        model, keras_laurel.LaurelPA(num_activations=4)
    )
    skips = [first, *names]
    for i, name in enumerate(names):
        assert history(converted, name) == skips[:i][::-1][:3]


def test_previous_activations_follow_one_stream_and_shape():
    left, right = keras.Input((4, 8)), keras.Input((4, 8))
    outer = []
    for side, x in (("left", left), ("right", right)):
        for i in range(2):
            x = layers.Add(name=f"{side}_{i}")([x, graphs.f(x)])
        wide = layers.Dense(12, name=f"{side}_wide")(x)
        outer.append(layers.Add(name=f"{side}_2")([wide, graphs.f(wide, 12)]))
    model = keras.Model([left, right], outer)
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelPA())
    assert history(converted, "left_1") == [left._keras_history.operation.name]
    assert history(converted, "right_1") == [
        right._keras_history.operation.name
    ]
    assert history(converted, "left_2") == []


def test_previous_activations_are_of_chosen_sites_only():
    model = graphs.dense_blocks(3)
    sites = keras_laurel.residual_sites(model)
    converted = keras_laurel.laurelize(
        model, keras_laurel.LaurelPA(), sites=[sites[0], sites[2]]
    )
    first = model.inputs[0]._keras_history.operation.name
    assert history(converted, sites[2].name) == [first]


def test_channels_first():
    model = graphs.channels_first()
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    (layer,) = keras_laurel.laurel_layers(converted)
    assert layer.axis == 1
    assert layer.laurel_a.shape == (1, graphs.D, 2)


def test_channels_first_behind_a_batch_norm_alone():
    x = inputs = keras.Input((8, 4, 4))
    h = layers.BatchNormalization(axis=1)(FirstAxis()(x))
    model = keras.Model(inputs, layers.Add()([x, h]))
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=2))
    (layer,) = keras_laurel.laurel_layers(converted)
    assert layer.axis == 1


@keras.saving.register_keras_serializable(package="tests")
class FirstAxis(layers.Layer):
    def call(self, x):
        return keras.ops.flip(x, axis=1)


def test_masks_go_on():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(8, 8, mask_zero=True)(tokens)
    x = layers.Add()([x, layers.Dense(8, activation="relu")(x)])
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(tokens, x)
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    x = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
    assert_same_outputs(outputs(converted, x), outputs(model, x))


def test_one_symbolic_call_per_node(monkeypatch):
    """So conversion takes time in proportion to the model."""
    for blocks in (4, 8):
        model = graphs.dense_blocks(blocks)
        calls = []
        call = keras_internals.call_again

        def counted(*args):
            calls.append(args)
            return call(*args)

        with monkeypatch.context() as patch:
            patch.setattr(keras_internals, "call_again", counted)
            keras_laurel.laurelize(model, keras_laurel.LaurelPA())
        # Two Dense layers a block; the additions and the input are not called.
        assert len(calls) == 2 * blocks


def test_training_moves_the_weights():
    model = small_resnet()
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    before = converted.get_weights()
    converted.compile("sgd", "mse")
    x = random_input(model)
    converted.fit(x, np.ones((len(x), 3)), epochs=2, verbose=0)
    found = keras_laurel.laurel_layers(converted)
    moved = {
        id(v)
        for v, old in zip(converted.weights, before)
        if not np.array_equal(keras.ops.convert_to_numpy(v), old)
    }
    assert {id(w) for layer in found for w in layer.weights} <= moved


def test_frozen_layers_stay_frozen():
    model = small_resnet()
    for layer in model.layers:
        layer.trainable = False
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    trainable = {id(v) for v in converted.trainable_variables}
    assert trainable == {
        id(w)
        for layer in keras_laurel.laurel_layers(converted)
        for w in layer.weights
    }


@pytest.mark.parametrize(
    "build",
    [small_resnet, graphs.sequential_of_functionals, *graphs.OWN],
)
def test_a_frozen_model_stays_frozen(build):
    model = build()
    model.trainable = False
    converted = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert not converted.trainable
    assert converted.trainable_variables == []


@pytest.mark.parametrize("build", graphs.OWN)
def test_a_class_of_ones_own_is_kept(build):
    """Also of a model that has been trained, whose state is not taken on."""
    model = build()
    model.temperature = 0.5
    x = random_input(model)
    y = outputs(model, x)[0]
    options = dict(optimizer="sgd", loss="mse", run_eagerly=True)
    model.compile(**options)
    model.fit(x, y, verbose=0)
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    assert isinstance(converted, type(model))
    assert converted.temperature == 0.5
    assert not converted.compiled
    converted.steps = 0
    converted.compile(**options)
    converted.fit(x, y, epochs=2, verbose=0)
    assert converted.steps == 2


@pytest.mark.parametrize(
    "build",
    [
        *rows(
            [
                *graphs.OWN,
                small_resnet,
                graphs.shared_add,
                graphs.nested,
                graphs.sequential_of_functionals,
                graphs.siamese,
                graphs.multi_output_nested,
                graphs.operators,
                graphs.subclassed_branch,
                zoo.cv_resnet,
                zoo.hub_resnet,
            ],
            few=[*graphs.OWN, small_resnet, graphs.multi_output_nested],
        ),
        pytest.param(graphs.channels_first, marks=channels_first),
    ],
)
def test_saving_is_exact(build, tmp_path):
    model = build()
    converted = keras_laurel.laurelize(model, rw_lr_pa())
    shake(converted)
    x = random_input(model, size=8)
    expected = outputs(converted, x)
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(converted)
    assert_same_outputs(outputs(loaded, x), expected)

    converted.save_weights(tmp_path / "model.weights.h5")
    shake(loaded, seed=1)
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert_same_outputs(outputs(loaded, x), expected)


def test_a_loaded_model_can_be_saved_again(tmp_path):
    converted = keras_laurel.laurelize(zoo.cv_resnet(), rw_lr_pa())
    shake(converted)
    x = random_input(converted)
    for _ in range(2):
        converted.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same_outputs(outputs(loaded, x), outputs(converted, x))
        converted = loaded


def refuses(message, model, layer=None, **kwargs):
    """`laurelize` raises, and neither calls nor makes anything."""
    before = [len(o._inbound_nodes) for o in getattr(model, "operations", [])]
    with pytest.raises(ValueError, match=message):
        keras_laurel.laurelize(
            model, layer or keras_laurel.LaurelRW(), **kwargs
        )
    after = [len(o._inbound_nodes) for o in getattr(model, "operations", [])]
    assert before == after


@pytest.mark.parametrize("layer", [layers.Add(), keras_laurel.LaurelRW, "rw"])
def test_not_a_laurel_layer(layer):
    refuses("`layer` must be a LAuReL layer, or.*=", small_resnet(), layer)


@pytest.mark.parametrize("path", ["m.keras", pathlib.Path("m.keras")])
def test_the_path_of_a_model(path):
    message = r"Load it first: `keras.models.load_model\('m.keras'\)`"
    refuses(message, path)
    with pytest.raises(ValueError, match=message):
        keras_laurel.fold(path)


def test_no_sites():
    refuses("`sites` must not be empty", small_resnet(), sites=[])


def test_a_site_that_is_no_list():
    model = small_resnet()
    site = keras_laurel.residual_sites(model)[0]
    message = r"(?s)Received: sites=<Res.*also for one site: .*\[site\]"
    refuses(message, model, sites=site)
    refuses("`sites` must be a list .* Received: sites=0", model, sites=0)
    message = "Received: sites='all'.*leave it out for all sites"
    refuses(message, model, sites="all")


@pytest.mark.parametrize(
    "sites",
    [
        lambda: keras_laurel.residual_sites(small_resnet("other")),
        lambda: ["add_0_of_small"],
    ],
)
def test_sites_of_something_else(sites):
    message = "must hold residual sites of 'small'.*which is not one"
    refuses(message, small_resnet(), sites=sites())


def test_converted_twice():
    model = small_resnet()
    site = keras_laurel.residual_sites(model)[0]
    converted = keras_laurel.laurelize(
        model, keras_laurel.LaurelRW(), sites=[site]
    )
    (free, *_) = keras_laurel.residual_sites(converted)
    message = "has 1 LAuReL layers already, .*`keras_laurel.remove_laurel`"
    refuses(message, converted, sites=[free])


def test_nothing_found_names_the_additions_that_are_none():
    message = "(?s)no residual addition was found.*Left out: .*learns"
    refuses(message, graphs.unlearned())


def test_nothing_found_counts_the_rest():
    x = inputs = keras.Input((4, 8))
    for _ in range(7):
        x = x + 1.0
    refuses("(?s)And 2 more additions", keras.Model(inputs, x))


def custom_scale():
    """Return two towers added as in `keras.applications.InceptionResNetV2`."""
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    x, y = keras.Input((4, 8)), keras.Input((4, 8))
    towers = [graphs.f(x), graphs.f(y)]
    return keras.Model([x, y], CustomScaleLayer(0.1)(towers))


@pytest.mark.parametrize(
    ("build", "count"), [(zoo.cv_csp_darknet, 21), (zoo.hub_gpt2_graph, 2)]
)
def test_layers_that_hide_their_additions_are_opened(build, count):
    sites = keras_laurel.residual_sites(build())
    assert len(sites) == count
    assert all(site.is_inside for site in sites)


def test_nothing_found_names_the_layer_that_adds_other_tensors():
    message = "(?s)no residual addition was found.*custom_scale_layer: .*call"
    refuses(message, custom_scale())


def test_nothing_found_in_a_sequential_model():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    refuses("no residual addition was found", model)


def test_a_rank_above_the_width_names_the_site():
    message = "(?s)does not fit the site <ResidualSite small/add_0.*rank=99"
    refuses(message, small_resnet(), keras_laurel.LaurelLR(rank=99))


def test_a_subclassed_model():
    class Subclassed(keras.Model):
        pass

    refuses("which has no graph", Subclassed())


def test_not_a_model():
    refuses("`model` must be a `keras.Model`", layers.Dense(3))


class TestLaurelLayers:
    def test_none(self):
        assert keras_laurel.laurel_layers(small_resnet()) == []

    def test_nested_ones_are_listed_once(self):
        converted = keras_laurel.laurelize(
            graphs.siamese(), keras_laurel.LaurelRW()
        )
        assert len(keras_laurel.laurel_layers(converted)) == 1

    def test_parameters_added(self):
        model = small_resnet()
        converted = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=2))
        found = keras_laurel.laurel_layers(converted)
        added = sum(layer.count_params() for layer in found)
        assert added == 4 * 2 * 16 * 2
        assert converted.count_params() == model.count_params() + added

    def test_not_a_model(self):
        with pytest.raises(ValueError, match="must be a `keras.Model` or a"):
            keras_laurel.laurel_layers("model")
