"""The cheap forms of a connection equal the paper's equations as written."""

import keras
import numpy as np
import pytest

import keras_laurel
from experiments.costs.literal_form import literal_form
from experiments.costs.training_case import TrainingCase


@pytest.mark.parametrize(
    "variant", ["rw", "lr", "pa", "rw+lr", "lr+pa", "rw+lr+pa"]
)
def test_a_decoder_computes_what_the_equations_say(variant):
    case = TrainingCase("tiny", variant, rank=8, keep_branch=True)
    model = case.build_model()
    generator = np.random.default_rng(0)
    for layer in keras_laurel.laurel_layers(model):
        for weight in layer.weights:
            noise = generator.normal(0, 0.3, weight.shape)
            weight.assign_add(noise.astype("float32"))
    inputs = {
        "token_ids": generator.integers(0, 1024, (2, 16)),
        "padding_mask": np.ones((2, 16), "int32"),
    }
    found = keras.ops.convert_to_numpy(model(inputs))
    with literal_form():
        expected = keras.ops.convert_to_numpy(model(inputs))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
