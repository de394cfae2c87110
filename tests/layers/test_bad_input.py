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

INTEGER = "got {}; it needs an integer of at least {}"

OPTIONS = [
    (dict(), "`Laurel` got no `residual_weights`.*learn nothing.*use `keras"),
    (dict(residual_weights="tanh"), "got 'tanh'; it needs None or one of"),
    (dict(normalize="layer", rank=2), "got 'layer'; it needs None or 'rms'"),
    (dict(rank=0), INTEGER.format(0, 1)),
    (dict(rank=-1), INTEGER.format(-1, 1)),
    (dict(rank=2.0), INTEGER.format("2.0", 1)),
    (dict(rank=True), INTEGER.format("True", 1)),
    (dict(num_activations=-1), INTEGER.format(-1, 0)),
    (dict(num_activations=None), INTEGER.format(None, 0)),
    (dict(rank=2, axis="last"), "`axis` got 'last'; it needs an integer"),
    (dict(rank=2, scale=0.0), "`scale` got 0.0; it needs a finite number"),
    (dict(rank=2, scale=float("inf")), "`scale` got inf; it needs a finite"),
    (dict(rank=2, scale="1"), "`scale` got '1'; it needs a finite number"),
    (dict(rank=2, a_initializer=None), "got None; it needs an initializer"),
    (dict(rank=2, per_channel=True), "`per_channel=True` without.*choose"),
    (dict(rank=2, share_low_rank=True), "sharing needs both. Pass both"),
    (
        dict(num_activations=2, share_low_rank=True),
        "sharing needs both. Pass both",
    ),
    (
        dict(residual_weights="softmax", normalize="rms"),
        "nothing to normalise; pass `rank` or",
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


UNEQUAL = "got inputs of the shapes .*it needs equal shapes. Project the skip"
AXIS = "it needs rank 2 or more and the axis of the features"
DTYPE = "got an input {} of dtype {}; it needs floating point.*Cast it with"

CALLS = {
    "one tensor": (
        LaurelRW(),
        x(2, 8),
        r"`LaurelRW` got 1 input; it needs `\[x, fx\]`. Call it as",
    ),
    "one tensor with history": (
        LaurelPA(),
        [x(2, 8)],
        r"`LaurelPA` got 1 input; it needs `\[x, fx, \*previous\]`. Call it",
    ),
    "no tensor": (LaurelRW(), [], "`LaurelRW` got no input; it needs"),
    "a dictionary": (LaurelRW(), {"x": x(2, 8), "fx": x(2, 8)}, "got 1 input"),
    "history without num_activations": (
        LaurelLR(rank=2),
        [x(2, 8)] * 3,
        "got 3 inputs; with num_activations=0 it takes at most 2, .*"
        "Raise `num_activations` to 2, or pass fewer",
    ),
    "k exceeded": (
        LaurelPA(),
        [x(2, 8)] * 5,
        "got 5 inputs; with num_activations=3 it takes at most 4, .*"
        "Raise `num_activations` to 4, or pass fewer",
    ),
    "lists of numbers": (
        LaurelRW(),
        [[[1.0, 2.0]], [[1.0, 2.0]]],
        "input 0 of type list; it needs tensors. Convert it",
    ),
    "None": (
        LaurelPA(),
        [x(2, 8), x(2, 8), None],
        "input 2 of type NoneType; it needs tensors.*or leave it out",
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
        "size of axis -1 must be known. Define it in `keras.Input`, or set",
    ),
    "rank above the width": (
        LaurelLR(rank=9),
        [x(2, 8)] * 2,
        "rank=9 for inputs of width 8 .axis -1.; it needs.*Use a rank",
    ),
    "rank above the width of axis 1": (
        keras_laurel.get("rw+lr", rank=9, axis=1),
        [x(2, 8, 16)] * 2,
        "rank=9 for inputs of width 8 .axis 1.; it needs.*Use a rank",
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
    "the batch axis": (LaurelRW(axis=0), [x(2, 8)] * 2, AXIS),
    "the batch axis from the right": (LaurelRW(axis=-2), [x(2, 8)] * 2, AXIS),
    "an axis too many": (LaurelRW(axis=2), [x(2, 8)] * 2, AXIS),
}


@pytest.mark.parametrize("layer, inputs, message", CALLS.values(), ids=CALLS)
def test_calls(layer, inputs, message):
    with pytest.raises(ValueError, match=message) as error:
        layer(inputs)
    assert str(error.value).startswith(f"`{type(layer).__name__}` got ")
    assert layer.weights == []


@pytest.mark.parametrize("shapes", [None, [], [(None, 8)], (None, 8)])
def test_build_with_too_few_shapes(shapes):
    with pytest.raises(ValueError, match="got (no|1) input; it needs"):
        LaurelRW().build(shapes)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ([x(2, 8)] * 3, "got 3 inputs, and was built with 4. Pass as many"),
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
    with pytest.raises(ValueError, match="once it is built. Call it on"):
        getattr(LaurelRW(), name)
    assert getattr(LaurelLR(), name) == 1


@pytest.mark.parametrize("rank", [4, 5, 8])
@pytest.mark.parametrize("route", ["build", "tensors", "symbols", "laurelize"])
def test_a_rank_that_buys_nothing_warns_where_the_user_builds(rank, route):
    layer = LaurelLR(rank=rank)
    x0 = symbol(None, 8)
    y = keras.layers.Add()([x0, keras.layers.Dense(8)(x0)])
    model = keras.Model(x0, y)
    with pytest.warns(UserWarning, match="buys nothing. Use a r") as warned:
        if route == "build":
            layer.build([(None, 8)] * 2)
        elif route == "tensors":
            layer([x(2, 8)] * 2)
        elif route == "symbols":
            layer([x0, x0])
        else:
            keras_laurel.laurelize(model, layer)
    assert {warning.filename for warning in warned} == {__file__}


def test_a_layer_that_refused_its_inputs_can_be_used():
    case = VARIANTS["rw+lr+pa"]
    layer = case.make()
    with pytest.raises(ValueError, match=UNEQUAL):
        layer([x(2, 16), x(2, 8)])
    layer(random_inputs(case))
    assert len(layer.weights) == 4
