"""Sizes at which a model is measured, and errors that ask for one."""

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel.costs.model_inputs import sized_inputs


def model_of(*shapes, **options):
    inputs = [
        keras.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)
    ]
    return keras.Model(inputs, inputs, **options)


class Dense(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def shapes(model, *sizes):
    inputs = keras.tree.flatten(sized_inputs(model, *sizes))
    return [tuple(x.shape) for x in inputs]


@pytest.mark.parametrize(
    "defined, sized",
    [
        ((4,), (2, 4)),
        ((None,), (2, 7)),
        ((None, 4), (2, 7, 4)),
        ((8, 8, 3), (2, 8, 8, 3)),
    ],
)
def test_undefined_sizes_are_filled(defined, sized):
    length = 7 if None in defined else None
    assert shapes(model_of(defined), 2, length) == [sized]


def test_all_inputs_are_filled():
    model = model_of((None,), (None, 3), (4,))
    assert shapes(model, 2, 7) == [(2, 7), (2, 7, 3), (2, 4)]


def test_names_and_dtypes_are_kept():
    x = {"token_ids": keras.Input((None,), dtype="int32", name="token_ids")}
    (sized,) = sized_inputs(keras.Model(x, x), 2, 7).values()
    assert (sized.dtype, sized.name) == ("int32", "token_ids")


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert shapes(model, 2, None) == [(2, 4)]


def test_a_model_of_ones_own_that_was_called():
    model = Dense()
    model(np.ones((2, 5, 3), "float32"))
    assert shapes(model, 2, None) == [(2, 5, 3)]


@pytest.mark.parametrize(
    "make, sizes, message",
    [
        (lambda: model_of((None,)), (1, None), "Pass `sequence_length`"),
        (
            lambda: model_of((None, None, 3), name="images"),
            (1, None),
            r"'images', whose input 'x0' has the shape \(None, None, None, 3\)"
            r".*Make the model with a defined size",
        ),
        (lambda: model_of((4,)), (1, 7), "no length is undefined. Leave it"),
        (
            lambda: keras.Model(*[keras.Input(batch_shape=(4, 3))] * 2),
            (1, None),
            "takes batches of 4. Pass `batch_size=4`",
        ),
        (Dense, (1, None), "input shapes are not known. Build it"),
        (lambda: keras.Sequential(), (1, None), "input shapes are not known"),
    ],
)
def test_what_is_missing_is_named(make, sizes, message):
    with pytest.raises(ValueError, match=message):
        keras_laurel.costs.footprint(make(), None, *sizes)


def test_the_remedy_for_images_is_one():
    """Of an unknown size, called on inputs of a known one."""
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(4, 3)(images))
    x = keras.Input((8, 8, 3))
    cost = keras_laurel.costs.footprint(keras.Model(x, model(x)))
    assert cost.forward_flops == 2 * 6 * 6 * 9 * 3 * 4


@pytest.mark.parametrize("argument", ["model", "baseline"])
def test_only_models_have_a_footprint(argument):
    arguments = {"model": model_of((4,)), argument: keras.layers.Dense(3)}
    message = f"`{argument}` must be a `keras.Model`.*of type Dense"
    with pytest.raises(ValueError, match=message):
        keras_laurel.costs.footprint(**arguments)
