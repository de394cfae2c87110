"""Models run op by op from a state that is put back before each run."""

import keras
import numpy as np
from keras import ops

import keras_laurel


class State:
    """The variables of a model, BatchNorm's and the seeds' among them."""

    def __init__(self, variables):
        self.variables = list(variables)
        self.values = [ops.convert_to_numpy(v) for v in self.variables]

    def restore(self):
        for variable, value in zip(self.variables, self.values):
            variable.assign(value)


def run(model, x, **kwargs):
    """Flat list of arrays, computed op by op; narrow floats as float32."""
    kwargs.setdefault("training", False)
    outputs = model(keras.tree.map_structure(ops.convert_to_tensor, x), **kwargs)
    return [as_array(y) for y in keras.tree.flatten(outputs)]


def as_array(y):
    is_float = keras.backend.is_float_dtype(y.dtype)
    return ops.convert_to_numpy(ops.cast(y, "float32") if is_float else y)


def variables(model):
    """Those of a model and of its seeds, without its metrics'."""
    metrics = {id(v) for m in model.metrics for v in m.variables}
    return [v for v in model.variables if id(v) not in metrics]


def built(row):
    model = row.build()
    run(model, row.example())
    return model


def perturb(model, scale=0.2, seed=0):
    """Moves every floating-point variable but the seeds'."""
    rng = np.random.default_rng(seed)
    for v in variables(model):
        if keras.backend.is_float_dtype(v.dtype):
            noise = rng.uniform(0, scale, v.shape)
            v.assign(ops.convert_to_numpy(ops.cast(v, "float32")) + noise)


def laurels_in_run_order(model, x):
    """LAuReL layers in the order in which a model first runs them."""
    seen = {}
    whole = keras_laurel.Laurel.call

    def record(self, *args, **kwargs):
        seen.setdefault(id(self), self)
        return whole(self, *args, **kwargs)

    keras_laurel.Laurel.call = record
    try:
        run(model, x)
    finally:
        keras_laurel.Laurel.call = whole
    return list(seen.values())


def assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for y, e in zip(actual, expected):
        np.testing.assert_array_equal(y, e)


def assert_close(actual, expected, tolerance=1e-6):
    assert len(actual) == len(expected)
    for y, e in zip(actual, expected):
        scale = max(np.abs(e).max(), 1.0)
        assert np.abs(y - e).max() <= tolerance * scale
