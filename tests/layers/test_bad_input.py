"""Bad input is a `ValueError` in three parts, before any weight exists."""

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel import Laurel
from keras_laurel import LaurelLR
from keras_laurel import LaurelPA
from keras_laurel import LaurelRW
from tests.layers.cases import VARIANTS
from tests.layers.cases import random_inputs

RANK = "`rank` must be an integer of at least 1, or None. Received: rank={}"
COUNT = "must be an integer of at least 0.*Received: num_activations={}"
SCALE = "`scale` must be a finite number above 0. Received: scale={}"
BOTH = "`share_low_rank` must be False unless .* both set.*Pass both"

OPTIONS = [
    (dict(), "`Laurel` must have `residual_weights`.*learn nothing.*`keras"),
    (dict(num_activations=0), "Received: .*=None, num_activations=0, so it"),
    (
        dict(residual_weights="tanh"),
        "must be None or one of .*Received: residual_weights='tanh'",
    ),
    (
        dict(normalize="layer", rank=2),
        "must be None or 'rms'. Received: normalize='layer'",
    ),
    (dict(rank=0), RANK.format(0)),
    (dict(rank=-1), RANK.format(-1)),
    (dict(rank=2.0), RANK.format("2.0")),
    (dict(rank=True), RANK.format("True")),
    (dict(num_activations=-1), COUNT.format(-1)),
    (dict(num_activations=None), COUNT.format(None)),
    (
        dict(rank=2, axis="last"),
        "`axis` must be an integer. Received: axis='last'",
    ),
    (dict(rank=2, axis=0), "`axis` must not be 0.*Received: axis=0. Use ax"),
    (dict(rank=2, scale=0.0), SCALE.format("0.0")),
    (dict(rank=2, scale=float("inf")), SCALE.format("inf")),
    (dict(rank=2, scale="1"), SCALE.format("'1'")),
    (
        dict(rank=2, a_initializer=None),
        "must be an initializer or its name. Received: a_initializer=None",
    ),
    (
        dict(rank=2, per_channel=True),
        "`per_channel` must be False without .*Received: per_channel=True",
    ),
    (dict(rank=2, share_low_rank=True), BOTH),
    (dict(num_activations=2, share_low_rank=True), BOTH),
    (
        dict(residual_weights="softmax", normalize="rms"),
        "nothing to normalise. Received: normalize='rms'. Pass `rank` or",
    ),
]


@pytest.mark.parametrize("options, message", OPTIONS)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        Laurel(**options)


def x(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def symbol(*shape):
    return keras.Input(batch_shape=shape)


UNEQUAL = "must have equal shapes. Received: shapes .*Project the skip"
AXIS = "must have rank 2 or more, and `axis` must be the axis of the features"
DTYPE = "must be floating point. Received: input {} of dtype {}. Cast it with"

CALLS = {
    "one tensor": (
        LaurelRW(),
        x(2, 8),
        r"`LaurelRW` must be `\[x, fx\]`. Received: 1 input. Call it as",
    ),
    "one tensor with history": (
        LaurelPA(),
        [x(2, 8)],
        r"must be `\[x, fx, \*previous\]`. Received: 1 input. Call it as",
    ),
    "no tensor": (LaurelRW(), [], "`LaurelRW` must .* Received: no input"),
    "a dictionary": (
        LaurelRW(),
        {"x": x(2, 8), "fx": x(2, 8)},
        "Received: 1 input",
    ),
    "history without num_activations": (
        LaurelLR(rank=2),
        [x(2, 8)] * 3,
        "at most 2 tensors, .* with num_activations=0. Received: 3 inputs. "
        "Raise `num_activations` to 2, or pass fewer",
    ),
    "k exceeded": (
        LaurelPA(),
        [x(2, 8)] * 5,
        "at most 4 tensors, .* with num_activations=3. Received: 5 inputs. "
        "Raise `num_activations` to 4, or pass fewer",
    ),
    "lists of numbers": (
        LaurelRW(),
        [[[1.0, 2.0]], [[1.0, 2.0]]],
        "must be tensors. Received: input 0 of type list. Convert it",
    ),
    "None": (
        LaurelPA(),
        [x(2, 8), x(2, 8), None],
        "Received: input 2 of type NoneType. Convert it.*or leave it out",
    ),
    "unequal widths": (LaurelRW(), [x(2, 8), x(2, 4)], UNEQUAL),
    "unequal by broadcasting": (LaurelRW(), [x(2, 8), x(1, 8)], UNEQUAL),
    "unequal ranks": (LaurelRW(), [x(2, 8), x(2, 1, 8)], UNEQUAL),
    "unequal history": (
        LaurelPA(),
        [x(2, 8), x(2, 8), x(2, 4)],
        UNEQUAL,
    ),
    "unequal symbols": (
        LaurelRW(),
        [symbol(None, 5, 8), symbol(None, 4, 8)],
        UNEQUAL,
    ),
    "undefined last axis": (
        LaurelRW(),
        [symbol(None, 4, None)] * 2,
        "known size of axis -1.*Define the size in `keras.Input`, or set",
    ),
    "rank above the width": (
        LaurelLR(rank=9),
        [x(2, 8)] * 2,
        "rank=9 for inputs of width 8 .axis -1.. Use a rank",
    ),
    "rank above the width of axis 1": (
        keras_laurel.get("rw+lr", rank=9, axis=1),
        [x(2, 8, 16)] * 2,
        "rank=9 for inputs of width 8 .axis 1.. Use a rank",
    ),
    "integers": (
        LaurelRW(),
        [x(2, 8, dtype="int32")] * 2,
        DTYPE.format(0, "int32"),
    ),
    "booleans": (
        LaurelRW(),
        [x(2, 8), x(2, 8, dtype="bool")],
        DTYPE.format(1, "bool"),
    ),
    "complex numbers": (
        LaurelRW(),
        [x(2, 8), x(2, 8, dtype="complex64")],
        DTYPE.format(1, "complex64"),
    ),
    "rank 1": (LaurelRW(), [x(8)] * 2, AXIS),
    "rank 0": (LaurelRW(), [x()] * 2, AXIS),
    "the batch axis from the right": (LaurelRW(axis=-2), [x(2, 8)] * 2, AXIS),
    "an axis too many": (LaurelRW(axis=2), [x(2, 8)] * 2, AXIS),
}


@pytest.mark.parametrize("layer, inputs, message", CALLS.values(), ids=CALLS)
def test_calls(layer, inputs, message):
    with pytest.raises(ValueError, match=message) as error:
        layer(inputs)
    assert f"inputs of `{type(layer).__name__}`" in str(error.value)
    assert " Received: " in str(error.value)
    assert layer.weights == []


@pytest.mark.parametrize("method", ["build", "compute_output_shape"])
@pytest.mark.parametrize("shapes", [None, 5, [], [(None, 8)], (None, 8)])
def test_too_few_shapes(shapes, method):
    with pytest.raises(ValueError, match="Received: (no|1) input. Call it"):
        getattr(LaurelRW(), method)(shapes)


def test_the_output_shape_of_unequal_shapes():
    with pytest.raises(ValueError, match=UNEQUAL):
        LaurelRW().compute_output_shape([(2, 8), (2, 4)])


@pytest.mark.parametrize(
    "inputs, message",
    [
        ([x(2, 8)] * 3, "4 tensors, as .* Received: 3 inputs. Pass as many"),
        ([x(2, 8), x(2, 8), x(2, 8), x(1, 8)], UNEQUAL),
        ([x(2, 4)] * 4, "expected axis -1 of input shape to have value 8"),
    ],
)
def test_a_built_layer_still_checks(inputs, message):
    layer = LaurelPA()
    layer([x(2, 8)] * 4)
    with pytest.raises(ValueError, match=message):
        layer(inputs)


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_weights_of_a_layer_that_is_not_built(name):
    with pytest.raises(ValueError, match="which is not built. Call it on"):
        getattr(LaurelRW(), name)
    assert getattr(LaurelLR(), name) == 1


@pytest.mark.parametrize("rank", [4, 5, 8])
@pytest.mark.parametrize("route", ["build", "tensors", "symbols", "laurelize"])
def test_a_rank_that_buys_nothing_warns_where_the_user_builds(rank, route):
    layer = LaurelLR(rank=rank)
    x0 = symbol(None, 8)
    y = keras.layers.Add()([x0, keras.layers.Dense(8)(x0)])
    model = keras.Model(x0, y)
    with pytest.warns(UserWarning, match="full matrix. Use a r") as warned:
        if route == "build":
            layer.build([(None, 8)] * 2)
        elif route == "tensors":
            layer([x(2, 8)] * 2)
        elif route == "symbols":
            layer([x0, x0])
        else:
            keras_laurel.laurelize(model, layer)
    assert {warning.filename for warning in warned} == {__file__}


@pytest.mark.filterwarnings("error:.*full matrix")
def test_a_rank_that_buys_nothing_warns_once(tmp_path):
    x0 = symbol(None, 8)
    y = keras.layers.Add()([x0, keras.layers.Dense(8)(x0)])
    with pytest.warns(UserWarning, match="full matrix"):
        model = keras_laurel.laurelize(keras.Model(x0, y), LaurelLR(rank=4))
    keras_laurel.fold(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert keras_laurel.laurel_layers(loaded)[0].rank == 4


def test_a_layer_that_refused_its_inputs_can_be_used():
    case = VARIANTS["rw+lr+pa"]
    layer = case.make()
    with pytest.raises(ValueError, match=UNEQUAL):
        layer([x(2, 16), x(2, 8)])
    layer(random_inputs(case))
    assert len(layer.weights) == 4
