"""The layers where they are used: in models of every kind."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.layers.cases import CASES
from tests.layers.cases import VARIANTS
from tests.layers.cases import D
from tests.layers.cases import model_of_variants
from tests.layers.cases import random_inputs
from tests.layers.cases import to_numpy

BACKEND = keras.config.backend()

every_variant = pytest.mark.parametrize("case", VARIANTS.values(), ids=VARIANTS)


def data(*shape):
    """Two arrays, what goes in and what should come out."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for _ in range(2)]


def test_batch_and_sequence_sizes_may_change():
    model = model_of_variants()
    assert model.output_shape == (None, None, D)
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    for shape in [(2, 3, D), (5, 7, D)]:
        x, y = data(*shape)
        assert np.isfinite(model.train_on_batch(x, y))
        assert model(x).shape == shape


@pytest.mark.parametrize("name", ["axis_1", "axis_1_rms"])
def test_images_of_any_size_channels_first(name):
    inputs = keras.Input((7, None, None))
    fx = keras.layers.Activation("tanh")(inputs)
    layer = CASES[name].make()
    outputs = layer([inputs, fx, *[fx] * (CASES[name].inputs - 2)])
    assert outputs.shape == (None, 7, None, None)
    x, _ = data(2, 7, 3, 4)
    out = keras.Model(inputs, outputs).predict(x, verbose=0)
    np.testing.assert_allclose(out, x + np.tanh(x), rtol=1e-5)


@pytest.mark.parametrize(
    "dtype, names",
    [
        ("float32", VARIANTS),
        ("mixed_bfloat16", ["rw+lr+pa"]),
        ("mixed_float16", ["rw+lr+pa"]),
    ],
)
def test_learns_compiled(dtype, names):
    x, y = data(16, 4, D)
    model = model_of_variants(names, dtype)
    # torch takes a minute to compile.
    model.compile("adam", "mse", jit_compile=BACKEND != "torch")
    history = model.fit(x, y, batch_size=8, epochs=3, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < losses[0]


@every_variant
def test_masks_pass_as_through_add(case):
    embedding = keras.layers.Embedding(5, D, mask_zero=True)
    pool = keras.layers.GlobalAveragePooling1D()
    x = embedding(np.array([[1, 2, 0, 0], [3, 0, 4, 0]]))
    fx = embedding(np.array([[1, 0, 3, 0], [3, 0, 0, 0]]))
    added = keras.layers.Add()([x, fx])
    without_mask = [ops.ones_like(x)] * (case.inputs - 2)
    out = case.make()([x, fx, *without_mask])
    np.testing.assert_array_equal(to_numpy(pool(out)), to_numpy(pool(added)))
    assert (to_numpy(pool(out)) != to_numpy(ops.mean(out, axis=1))).all()


@pytest.mark.skipif(BACKEND == "tensorflow", reason="a bug in Keras' `fit`")
def test_rematerialisation_changes_nothing():
    x, y = data(8, 4, D)
    losses = []
    for scope in (contextlib.nullcontext(), keras.RematScope("full")):
        keras.utils.set_random_seed(0)
        with scope:
            model = model_of_variants(["rw+lr+pa", "rw+lr+pa"])
        model.compile("sgd", "mse")
        losses += [[model.train_on_batch(x, y) for _ in range(2)]]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_quantizing_a_model_leaves_the_layers_in_float():
    x, _ = data(2, 4, D)
    model = model_of_variants(["rw+lr+pa", "rw+lr+pa"])
    layers = [la for la in model.layers if isinstance(la, keras_laurel.Laurel)]
    before = [layer.get_weights() for layer in layers]
    with pytest.warns(UserWarning, match="does not have a `quantize` method"):
        model.quantize("int8")
    for layer, weights in zip(layers, before, strict=True):
        assert layer.dtype_policy.name == "float32"
        for old, new in zip(weights, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_summary_shows_the_shape():
    lines = []
    inputs = keras.Input((None, D))
    outputs = keras_laurel.LaurelLR(rank=3)([inputs, inputs])
    keras.Model(inputs, outputs).summary(print_fn=lines.append, line_length=100)
    (line,) = [x for x in "".join(lines).split("\n") if "(LaurelLR)" in x]
    assert "(None, None, 16)" in line
    assert "96" in line


@every_variant
def test_arrays_and_shapes_of_any_kind(case):
    arrays = random_inputs(case)
    tensors = [ops.convert_to_tensor(x) for x in arrays]
    layer = case.make()
    layer.build([x.shape for x in tensors])
    assert layer.compute_output_shape([x.shape for x in tensors]) == (2, 7, D)
    expected = to_numpy(layer(tensors))
    as_float64 = tuple(x.astype("float64") for x in arrays)
    np.testing.assert_array_equal(to_numpy(layer(as_float64)), expected)
    np.testing.assert_array_equal(to_numpy(layer(inputs=arrays)), expected)
