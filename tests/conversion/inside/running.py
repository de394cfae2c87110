"""Models run op by op from a state that is put back before each run."""

import contextlib
import functools
import re
from unittest import mock

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
    # Dropout on torch draws from torch's own state.
    keras.utils.set_random_seed(0)
    outputs = model(
        keras.tree.map_structure(ops.convert_to_tensor, x), **kwargs
    )
    return [as_array(y) for y in keras.tree.flatten(outputs)]


def as_array(y):
    is_float = keras.backend.is_float_dtype(y.dtype)
    return ops.convert_to_numpy(ops.cast(y, "float32") if is_float else y)


def variables(model):
    """Those of a model and its seeds, as its layers were made.

    Without the metrics' and those of LAuReL layers. A graph lists its layers
    in an order that depends on its edges; their names are counted up.
    """
    left_out = {
        id(v)
        for part in [*model.metrics, *keras_laurel.laurel_layers(model)]
        for v in part.variables
    }
    found = [v for v in model.variables if id(v) not in left_out]
    return sorted(found, key=_natural_order)


def _natural_order(variable):
    parts = re.split(r"(\d+)", variable.path)
    return [int(part) if part.isdigit() else part for part in parts]


def copy_seeds(source, target):
    """`.keras` does not keep the states of seeds."""
    for v, w in zip(_seeds(source), _seeds(target), strict=True):
        w.assign(v)


def _seeds(model):
    return [v for v in model.variables if "seed_generator_state" in v.path]


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
    with contextlib.ExitStack() as stack:
        for name in ("call", "combine", "combine_sum"):
            stack.enter_context(_recording(name, seen))
        run(model, x)
    return list(seen.values())


def _recording(name, seen):
    original = getattr(keras_laurel.Laurel, name)

    @functools.wraps(original)
    def record(self, *args, **kwargs):
        seen.setdefault(id(self), self)
        return original(self, *args, **kwargs)

    return mock.patch.object(keras_laurel.Laurel, name, record)


def assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for y, e in zip(actual, expected):
        np.testing.assert_array_equal(y, e)


def assert_close(actual, expected, tolerance=1e-6):
    assert len(actual) == len(expected)
    for y, e in zip(actual, expected):
        scale = max(np.abs(e).max(), 1.0)
        assert np.abs(y - e).max() <= tolerance * scale
