"""Models that are traced in a second, for the tests of their programs."""

import keras

import keras_laurel

BATCH, LENGTH = 4, 16
TOKENS = keras.KerasTensor((BATCH, LENGTH), "int32")
X = {
    "token_ids": TOKENS,
    "padding_mask": keras.KerasTensor((BATCH, LENGTH), "bool"),
}


def build_language_model():
    import keras_hub

    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=50,
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
    )
    model = keras_hub.models.Llama3CausalLM(backbone, compile=False)
    model = keras_laurel.laurelize(model, keras_laurel.get("rw+lr", rank=4))
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
