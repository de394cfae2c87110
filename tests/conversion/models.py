"""Run models in tests, and shake their LAuReL weights."""

import keras
import numpy as np
from keras import ops

import keras_laurel


def random_input(model, seed=0, size=64):
    """Numbers, or tokens, in the structure and shape of a model's input."""
    rng = np.random.default_rng(seed)

    def one(x):
        shape = (x.shape[0] or 2, *[d or size for d in x.shape[1:]])
        if keras.backend.is_int_dtype(x.dtype):
            return rng.integers(8, size=shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    if isinstance(model, keras.Sequential):
        return one(model.inputs[0])
    return keras.tree.map_structure(one, model.input)


def outputs(model, x):
    """Flat list of arrays, computed op by op, narrow floats as float32."""
    return [
        ops.convert_to_numpy(ops.cast(y, "float32"))
        for y in keras.tree.flatten(model(x, training=False))
    ]


def assert_same_outputs(actual, expected):
    for y, e in zip(actual, expected, strict=True):
        assert np.ptp(e) > 0
        np.testing.assert_array_equal(y, e)


def assert_moved(actual, expected):
    """At least one output is another."""
    assert not all(map(np.array_equal, actual, expected))


def shake(model, seed=0):
    """Move every weight of the LAuReL layers off its start."""
    rng = np.random.default_rng(seed)
    for layer in keras_laurel.laurel_layers(model):
        for weight in layer.weights:
            noise = rng.normal(scale=0.1, size=weight.shape)
            weight.assign(ops.convert_to_numpy(weight) + noise)
