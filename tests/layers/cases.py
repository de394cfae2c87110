"""The layers that tests build: every variant, and every option."""

import contextlib
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

import keras_laurel

SHAPE = (2, 7, 16)
D, R, K = SHAPE[-1], 3, 3


class Case(NamedTuple):
    name: str
    options: dict
    inputs: int
    parameters: int

    def make(self, **kwargs):
        return keras_laurel.get(self.name, **self.options, **kwargs)


def _case(name, inputs, parameters, **options):
    parts = name.split("+")
    sizes = {"lr": {"rank": R}, "pa": {"num_activations": K}}
    sizes = {k: v for part in parts for k, v in sizes.get(part, {}).items()}
    return Case(name, {**sizes, **options}, inputs, parameters)


# The parameters are those of the paper's Table 4.
VARIANTS = {
    "rw": _case("rw", 2, 2),
    "lr": _case("lr", 2, 2 * R * D),
    "pa": _case("pa", 1 + K, K),
    "rw+lr": _case("rw+lr", 2, 2 * R * D + 2),
    "rw+pa": _case("rw+pa", 1 + K, K + 2),
    "lr+pa": _case("lr+pa", 1 + K, 2 * R * K * D + K),
    "rw+lr+pa": _case("rw+lr+pa", 1 + K, 2 * R * K * D + K + 2),
}
OPTIONS = {
    "sigmoid": _case("rw", 2, 2, residual_weights="sigmoid"),
    "complement": _case("rw", 2, 1, residual_weights="complement"),
    "per_channel": _case("rw", 2, 2 * D, per_channel=True),
    "per_channel_complement": _case(
        "rw", 2, D, residual_weights="complement", per_channel=True
    ),
    "free": _case("rw", 2, 2, residual_weights="free"),
    "free_branch": _case("rw", 2, 1, residual_weights="free_branch"),
    "free_per_channel": _case(
        "rw+lr", 2, 2 * R * D + 2 * D, residual_weights="free", per_channel=True
    ),
    "all": _case("pa", 6, 5, num_activations="all"),
    "all_low_rank": _case(
        "rw+lr+pa", 5, 2 * R * 4 * D + 4 + 2, num_activations="all"
    ),
    "first": _case("pa", 3, 2, num_activations=1, first_activation=True),
    "first_low_rank": _case(
        "rw+lr+pa",
        2 + K,
        2 * R * (K + 1) * D + K + 1 + 2,
        first_activation=True,
    ),
    "half": _case("rw+lr+pa", 1 + K, 2 * R * K * D + K + 2, scale=0.5),
    "half_unweighted": _case("lr", 2, 2 * R * D, scale=0.5),
    "shared": _case("lr+pa", 1 + K, 2 * R * D + K, share_low_rank=True),
    "column_orthogonal": _case(
        "rw+lr+pa",
        1 + K,
        2 * R * K * D + K + 2,
        a_initializer=keras_laurel.initializers.ColumnOrthogonal(),
    ),
    "rms": _case("lr", 2, 2 * R * D + D, normalize="rms"),
    "rms_history": _case("pa", 1 + K, K + D, normalize="rms"),
    "rms_shared": _case(
        "rw+lr+pa",
        1 + K,
        2 * R * D + K + 2 + D,
        share_low_rank=True,
        normalize="rms",
        a_initializer=keras_laurel.initializers.ColumnOrthogonal(),
    ),
    "one_previous": _case("rw+lr+pa", 3, 2 * R * 2 * D + 2 + 2),
    "no_previous": _case("rw+pa", 2, 1 + 2),
    "axis_1": _case("rw+lr", 2, 2 * R * 7 + 2 * 7, axis=1, per_channel=True),
    "axis_1_rms": _case(
        "lr+pa", 1 + K, 2 * R * K * 7 + K + 7, axis=1, normalize="rms"
    ),
}
CASES = {**VARIANTS, **OPTIONS}


def random_inputs(case, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(case.inputs, *shape))
    return list(arrays.astype("float32"))


def set_random_weights(layer, seed=0):
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])


def to_numpy(x):
    """The array of a tensor, with the narrow dtypes as float32."""
    if keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float16"):
        x = ops.cast(x, "float32")
    return ops.convert_to_numpy(x)


def precision(dtype):
    """A scope in which `dtype` exists: JAX has no float64 unless asked."""
    if dtype == "float64" and keras.config.backend() == "jax":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()


def layer_name(case_name):
    return case_name.replace("+", "_")


def model_of_all_cases():
    """Every case on one small block, their outputs one after the other."""
    x = keras.Input(SHAPE[1:])
    fx, *previous = [
        keras.layers.Dense(D, activation="tanh")(x) for _ in range(K + 2)
    ]
    outputs = [
        case.make(name=layer_name(name))([x, fx, *previous][: case.inputs])
        for name, case in CASES.items()
    ]
    return keras.Model(x, keras.layers.Concatenate(axis=1)(outputs))


def model_of_variants(names=tuple(VARIANTS), dtype=None):
    """A block of each variant, one after the other, at any length."""
    stream = [keras.Input((None, D))]
    for case in [VARIANTS[name] for name in names]:
        fx = keras.layers.Dense(D, activation="tanh", dtype=dtype)(stream[-1])
        x, *previous = stream[: -case.inputs : -1]
        stream.append(case.make(dtype=dtype)([x, fx, *previous]))
    return keras.Model(stream[0], stream[-1])
