"""Models that are traced in a second, for the tests of their programs."""

import keras

from tests.small_models import convert
from tests.small_models import llama_language_model

BATCH, LENGTH = 4, 16
TOKENS = keras.KerasTensor((BATCH, LENGTH), "int32")
X = {
    "token_ids": TOKENS,
    "padding_mask": keras.KerasTensor((BATCH, LENGTH), "bool"),
}


def build_language_model():
    model = convert(llama_language_model())
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    return model


def build_classifier(compile=True):
    x = keras.Input((8,))
    y = keras.layers.Dense(8)(x)
    y = keras.layers.Add()([x, y])
    model = keras.Model(x, y)
    if compile:
        model.compile("sgd", "mse")
    return model
