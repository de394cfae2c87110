"""Layout maps for LAuReL weights, and their checks."""

import keras
import pytest

from keras_laurel import distribution
from tests.distribution.meshes import mesh
from tests.small_models import convert
from tests.small_models import llama
from tests.small_models import residual_mlp
from tests.small_models import without_values


def dense_map(shape=(2, 4)):
    layout_map = keras.distribution.LayoutMap(mesh(*shape))
    layout_map["dense_.*/kernel"] = (None, "model")
    return layout_map


def axes(layout_map, path):
    layout = layout_map[path]
    return None if layout is None else layout.axes


def test_laurel_joins_the_residual_axis_of_the_model():
    layout_map = distribution.extend_layout_map(dense_map(), residual_mlp())
    assert axes(layout_map, "sum_0/laurel_a") == (None, "model", None)
    assert axes(layout_map, "sum_0/laurel_b") == (None, "model")
    for name in ("residual_weights", "gamma", "norm_scale"):
        assert axes(layout_map, f"sum_0/laurel_{name}") is None
    assert axes(layout_map, "dense_0/kernel") == (None, "model")


@pytest.mark.parametrize("kind", ["Llama", "Llama3"])
def test_laurel_joins_the_map_of_keras_hub(kind):
    model = without_values(lambda: llama(kind=kind))
    layout_map = type(model).get_layout_map(mesh(4, 2))
    distribution.extend_layout_map(layout_map, model)
    model = without_values(lambda: convert(llama(kind=kind)))
    distribution.check_layout_map(layout_map, model)
    path = "transformer_layer_1/laurel_residual/laurel_b"
    assert path in {variable.path for variable in model.variables}
    assert axes(layout_map, path) == (None, "batch")


def test_the_llama_map_leaves_no_matrix_whole():
    layout_map = distribution.llama_layout_map(mesh(2, 2))
    model = without_values(lambda: convert(llama()))
    distribution.check_layout_map(layout_map, model)
    for variable in model.variables:
        layout = axes(layout_map, variable.path)
        is_matrix = len(variable.shape) > 1
        assert (layout is not None) == is_matrix, variable.path
        assert layout is None or len(layout) == len(variable.shape)
    for layer in ("transformer_layer_1", "token_embedding"):
        assert axes(layout_map, f"{layer}/output") == ("batch",)


def test_the_convolution_map_divides_channels():
    layout_map = distribution.convolution_layout_map(mesh(2, 4))
    model = without_values(
        lambda: convert(keras.applications.ResNet50(weights=None))
    )
    distribution.check_layout_map(layout_map, model)
    kernels = [v for v in model.variables if len(v.shape) == 4]
    assert len(kernels) == 53
    for kernel in kernels:
        assert axes(layout_map, kernel.path) == (None, None, None, "model")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "neither `model` nor `residual_axis`"),
        ({"residual_axis": "rows"}, r"one of \['batch', 'model'\]"),
    ],
)
def test_a_residual_axis_is_needed(arguments, message):
    with pytest.raises(ValueError, match=message):
        distribution.extend_layout_map(dense_map(), **arguments)


@pytest.mark.parametrize("rule", ["dense_0/kernel", "nothing"])
def test_weights_that_do_not_agree_are_refused(rule):
    layout_map = keras.distribution.LayoutMap(mesh(2, 4))
    layout_map[rule] = (None, "model")
    if rule != "nothing":
        layout_map["dense_1/kernel"] = (None, "batch")
    with pytest.raises(ValueError, match="Name the axis with `resid"):
        distribution.extend_layout_map(layout_map, residual_mlp())


@pytest.mark.parametrize(
    "make", [distribution.llama_layout_map, distribution.convolution_layout_map]
)
def test_the_axes_of_the_mesh_have_to_be_known(make):
    other = mesh(2, 4, axes=("data", "tensor"))
    with pytest.raises(ValueError, match=r"the axes \['data', 'tensor'\]"):
        make(other)


def test_what_is_no_mesh_no_map_and_no_model_is_refused():
    for make in (
        distribution.llama_layout_map,
        distribution.convolution_layout_map,
    ):
        with pytest.raises(ValueError, match="Received: device_mesh=None"):
            make(None)
    message = "`layout_map` must be a `keras.distribution.LayoutMap`"
    with pytest.raises(ValueError, match=message):
        distribution.extend_layout_map(None, residual_axis="model")
    with pytest.raises(ValueError, match=message):
        distribution.check_layout_map(mesh(2, 4), residual_mlp())
    for model in (None, keras.Sequential([keras.layers.Dense(4)])):
        with pytest.raises(ValueError, match="a `keras.Model` that is built"):
            distribution.check_layout_map(dense_map(), model)


def test_a_rule_that_matches_nothing_is_refused():
    layout_map = distribution.extend_layout_map(dense_map(), residual_mlp())
    layout_map["residual_.*/laurel_a"] = (None, "model", None)
    model = convert(residual_mlp(), rank=2)
    with pytest.raises(ValueError, match=r"\['residual_.*'\].*sum_0/laurel_"):
        distribution.check_layout_map(layout_map, model)


def test_a_large_weight_that_lies_whole_is_reported():
    model = convert(residual_mlp(), rank=2)
    with pytest.warns(UserWarning, match="sum_0/laurel_a, .* 64 bytes"):
        distribution.check_layout_map(dense_map(), model, large_bytes=64)
    distribution.check_layout_map(dense_map(), model, large_bytes=65)
    distribution.check_layout_map(dense_map((1, 1)), model, large_bytes=64)
    extended = distribution.extend_layout_map(dense_map(), residual_mlp())
    distribution.check_layout_map(extended, model, large_bytes=64)


def test_a_weight_that_does_not_divide_is_refused():
    layout_map = dense_map((1, 3))
    distribution.extend_layout_map(layout_map, residual_axis="model")
    model = convert(residual_mlp(), rank=2)
    with pytest.raises(ValueError, match="8 is not a multiple of 3"):
        distribution.check_layout_map(layout_map, model)
