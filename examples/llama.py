"""
Title: A KerasHub Llama with learned residual connections
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Convert a language model, train it, generate text, save it.
Accelerator: GPU
"""

"""
## The model

This makes a tiny one; `keras_hub.models.CausalLM.from_preset(...)` gives you a
trained one, and everything below is the same. It is converted in place, with
one connection around each block. Run this after `pip install ".[jax,hub]"`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import keras_hub
import numpy as np

import keras_laurel

keras.utils.set_random_seed(0)
backbone = keras_hub.models.Llama3Backbone(
    vocabulary_size=64,
    num_layers=3,
    num_query_heads=4,
    num_key_value_heads=2,
    hidden_dim=32,
    intermediate_dim=64,
)
model = keras_hub.models.Llama3CausalLM(backbone, preprocessor=None)
keras_laurel.laurelize(model, keras_laurel.get("rw+lr", rank=4))

"""
## Training

Without a preprocessor the model takes tokens. A converted task keeps weight
decay off LAuReL's scalars by itself.
"""

text = np.arange(9)[None] % 8 + np.arange(32)[:, None] % 24 + 1
x = {
    "token_ids": text[:, :-1],
    "padding_mask": np.ones((32, 8), "int32"),
}
model.compile(
    optimizer=keras.optimizers.AdamW(0.01, weight_decay=0.01),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    sampler="greedy",
)
model.fit(x, text[:, 1:], epochs=20, shuffle=False, verbose=0)
loss = model.evaluate(x, text[:, 1:], verbose=0, return_dict=True)["loss"]
print(f"loss {loss:.3f}")

"""
## Generation

KerasHub's own, compiled and with its cache. The first four tokens are given.
"""

prompt = {**x, "padding_mask": x["padding_mask"] * (np.arange(8) < 4)}
print(model.generate(prompt, stop_token_ids=None)["token_ids"][:2])

"""
## Saving

A preset, which `from_preset` finds after `import keras_laurel`; `model.save`
works too. What LAuReL has learned can also be kept alone.
"""

model.save_to_preset("llama_laurel")
loaded = keras_hub.models.CausalLM.from_preset(
    "llama_laurel", preprocessor=None
)
print(len(keras_laurel.laurel_layers(loaded)), "connections in the loaded one")
keras_laurel.save_laurel_weights(model, "llama.laurel.h5")
