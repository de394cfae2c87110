"""Bad arguments are named where they are given."""

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel import distribution
from keras_laurel.costs import footprint
from keras_laurel.initializers import ColumnOrthogonal
from keras_laurel.learned import LaurelLogger
from keras_laurel.learned import laurel_summary
from keras_laurel.learned import plots


def mesh(*shape):
    axes = ("batch", "model")[: len(shape)]
    return keras.distribution.DeviceMesh(shape, axes, ["cpu:0"])


def residual_model():
    x = keras.Input((4,))
    return keras.Model(x, x + keras.layers.Dense(4)(x))


def summary_model():
    x = keras.Input((4,))
    return keras.Model(x, keras_laurel.LaurelRW()([x, 2 * x]))


def summary():
    return laurel_summary(summary_model())


def register(*stacks, **options):
    class Registered(keras.Model):
        pass

    keras_laurel.register_blocks(Registered, *stacks or ["blocks"], **options)


Laurel = keras_laurel.Laurel
FSDP = distribution.FullyShardedDataParallel

# The argument, and a call with a bad one.
BAD = {
    "a scale beyond any float": (
        "scale",
        lambda: keras_laurel.LaurelRW(scale=10**400),
    ),
    "a word for per_channel": (
        "per_channel",
        lambda: keras_laurel.LaurelRW(per_channel="yes"),
    ),
    "a word for share_low_rank": (
        "share_low_rank",
        lambda: Laurel(rank=2, num_activations=2, share_low_rank="no"),
    ),
    "None for keep_branch": (
        "keep_branch",
        lambda: keras_laurel.LaurelRW(keep_branch=None),
    ),
    "a number for first_activation": (
        "first_activation",
        lambda: keras_laurel.LaurelPA(first_activation=1),
    ),
    "a start of unequal lists": (
        "start",
        lambda: Laurel("free", start=[[1.0], [1.0, 2.0]]),
    ),
    "integers for dtype": (
        "dtype",
        lambda: keras_laurel.LaurelRW(dtype="int32"),
    ),
    "no shape": (
        "shape",
        lambda: ColumnOrthogonal()(None),
    ),
    "no columns": (
        "shape",
        lambda: ColumnOrthogonal()((3, 0)),
    ),
    "a shape of floats": (
        "shape",
        lambda: ColumnOrthogonal()((4.0, 2)),
    ),
    "a dtype without fractions": (
        "dtype",
        lambda: ColumnOrthogonal()((3, 2), dtype="int32"),
    ),
    "a number for a file of weights": (
        "filepath",
        lambda: keras_laurel.save_laurel_weights(summary_model(), 5),
    ),
    "no file of weights": (
        "filepath",
        lambda: keras_laurel.load_laurel_weights(summary_model(), None),
    ),
    "a number for a table": (
        "path",
        lambda: footprint(summary_model()).to_csv(5),
    ),
    "a folder for a table": (
        "path",
        lambda: footprint(summary_model()).to_csv("."),
    ),
    "a word for entry_points": (
        "entry_points",
        lambda: register(entry_points="call"),
    ),
    "a number of entry_points": (
        "entry_points",
        lambda: register(entry_points=5),
    ),
    "no entry_points": ("entry_points", lambda: register(entry_points=[])),
    "a number of streams": ("streams", lambda: register(streams=5)),
    "numbers for streams": ("streams", lambda: register(streams=[1, 2])),
    "a number for input_norm": ("input_norm", lambda: register(input_norm=5)),
    "an empty stack": ("stacks", lambda: register("")),
    "a number of quantities": (
        "quantities",
        lambda: plots.residual_weights(summary(), quantities=5),
    ),
    "a quantity by itself": (
        "quantities",
        lambda: plots.residual_weights(summary(), quantities="alpha"),
    ),
    "a list in quantities": (
        "quantities",
        lambda: plots.residual_weights(summary(), quantities=[["alpha"]]),
    ),
    "a number for a path": ("path", lambda: LaurelLogger(path=5)),
    "a number for a folder": (
        "tensorboard",
        lambda: LaurelLogger(tensorboard=5),
    ),
    "no path": ("path", lambda: LaurelLogger("")),
    "a folder for a path": ("path", lambda: LaurelLogger(".")),
    "no folder": (
        "tensorboard",
        lambda: LaurelLogger(tensorboard=""),
    ),
    "a word for a batch": (
        "inputs",
        lambda: LaurelLogger("log.csv", inputs="a"),
    ),
    "lists for a batch": (
        "inputs",
        lambda: laurel_summary(summary_model(), [[1.0, 2.0]]),
    ),
    "a word for example inputs": (
        "inputs",
        lambda: keras_laurel.laurelize(
            residual_model(), keras_laurel.LaurelRW(), inputs="a"
        ),
    ),
    "a size for example inputs": (
        "inputs",
        lambda: keras_laurel.residual_sites(residual_model(), inputs=5),
    ),
    "a word for verbose": (
        "verbose",
        lambda: keras_laurel.laurelize(
            residual_model(), keras_laurel.LaurelRW(), verbose="no"
        ),
    ),
    "a word for is_writer": (
        "is_writer",
        lambda: LaurelLogger("log.csv", is_writer="no"),
    ),
    "a summary of a layer": (
        "model",
        lambda: laurel_summary(keras.layers.Dense(2)),
    ),
    "a footprint of None": (
        "model",
        lambda: footprint(None),
    ),
    "folding an array": ("model", lambda: keras_laurel.fold(np.ones(2))),
    "no mesh": ("device_mesh", lambda: FSDP(None)),
    "a mesh of two axes": ("device_mesh", lambda: FSDP(mesh(1, 1))),
    "a size in words": (
        "minimum_size",
        lambda: FSDP(mesh(1), minimum_size="large"),
    ),
    "no regular expression": (
        "activations",
        lambda: FSDP(mesh(1), activations="("),
    ),
    "a list for a kind": (
        "kind",
        lambda: distribution.make_distribution(["fsdp"]),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_argument_is_named(case):
    name, call = BAD[case]
    with pytest.raises(ValueError, match=f"`{name}`"):
        call()


def test_numbers_and_truths_of_numpy_are_taken():
    layer = keras_laurel.LaurelRW(
        per_channel=np.bool_(True), scale=np.float32(0.5)
    )
    assert layer.get_config()["per_channel"] is True
    assert layer.get_config()["scale"] == 0.5
