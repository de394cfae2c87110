"""In bfloat16 1.002 is 1: the learned weights must not be cast to it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.layers.cases import CASES
from tests.layers.cases import SHAPE
from tests.layers.cases import to_numpy

# By so little the weights are off their start.
SMALL = 0.002
LOGIT = np.log((1 + SMALL) / (1 - SMALL))

CHANGES = {
    "softmax": ("rw", {}, {"laurel_residual_weights": [LOGIT, 0.0]}),
    "sigmoid": (
        "rw",
        {"residual_weights": "sigmoid"},
        {"laurel_residual_weights": [LOGIT, 0.0]},
    ),
    "complement": (
        "rw",
        {"residual_weights": "complement"},
        {"laurel_residual_weights": [LOGIT]},
    ),
    "per_channel": (
        "rw",
        {"per_channel": True},
        {"laurel_residual_weights": np.outer([LOGIT, 0.0], np.ones(64))},
    ),
    "gamma": ("pa", {}, {"laurel_gamma": [SMALL / 2, 0.0, 0.0]}),
    "gamma_low_rank": (
        "lr+pa",
        {"rank": 16},
        {"laurel_gamma": [1 + SMALL, 1.0, 1.0]},
    ),
    "gamma_shared": (
        "lr+pa",
        {"rank": 16, "share_low_rank": True},
        {"laurel_gamma": [1 + SMALL, 1.0, 1.0]},
    ),
    "norm_scale": (
        "lr",
        {"rank": 4, "normalize": "rms"},
        {"laurel_norm_scale": np.full(64, SMALL / 2)},
    ),
}


def inputs(name):
    """The input that is weighed is positive, so that a change has a mean.

    The others are small: they only fill the bits below those of that one.
    `gamma * B` is rounded once for all positions: a small rank would leave
    that to the chance of a few hundred numbers.
    """
    rng = np.random.default_rng(0)
    weighed = 1 if name == "rw" else 0
    arrays = rng.normal(0, 0.02, (4 if "pa" in name else 2, 4096, 64))
    arrays[weighed] = rng.uniform(1, 2, arrays[weighed].shape)
    return [ops.cast(x, "bfloat16") for x in arrays]


def change_of_mean(name, options, weights, dtype):
    layer = keras_laurel.get(name, **options, dtype=dtype)
    x = inputs(name)
    layer.build([x.shape for x in x])
    if hasattr(layer, "laurel_b"):
        shape_a, shape_b = layer.laurel_a.shape, layer.laurel_b.shape
        rng = np.random.default_rng(0)
        layer.laurel_a.assign(rng.uniform(0, 1 / 64, shape_a))
        layer.laurel_b.assign(rng.uniform(0, 1, shape_b))
    before = to_numpy(layer(x)).mean(dtype="float64")
    for weight, value in weights.items():
        getattr(layer, weight).assign(np.asarray(value, "float32"))
    return to_numpy(layer(x)).mean(dtype="float64") - before


@pytest.mark.parametrize("change", CHANGES)
def test_a_small_weight_does_in_bfloat16_what_it_does_in_float32(change):
    expected = change_of_mean(*CHANGES[change], "float32")
    assert abs(expected) > SMALL / 4
    changed = change_of_mean(*CHANGES[change], "mixed_bfloat16")
    assert changed == pytest.approx(expected, rel=0.05)


def test_a_cast_weight_would_change_nothing():
    x, fx = inputs("rw")
    alpha = ops.cast(1 + SMALL, "bfloat16")
    np.testing.assert_array_equal(to_numpy(x + alpha * fx), to_numpy(x + fx))


@pytest.mark.parametrize(
    "dtype, scalars, maps",
    [
        ("float32", "float32", "float32"),
        ("mixed_bfloat16", "float32", "float32"),
        ("mixed_float16", "float32", "float32"),
        ("bfloat16", "float32", "bfloat16"),
        ("float16", "float32", "float16"),
    ],
)
def test_dtypes_of_the_weights(dtype, scalars, maps):
    layer = CASES["rms_shared"].make(dtype=dtype)
    layer.build([SHAPE] * 4)
    for weight in layer.weights:
        is_map = weight.name in ("laurel_a", "laurel_b")
        assert keras.backend.standardize_dtype(weight.dtype) == (
            maps if is_map else scalars
        ), weight.name
