"""
Title: LAuReL by hand
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: A LAuReL layer where `x + f(x)` stood, with previous activations.
Accelerator: None
"""

"""
## A layer in the place of the addition

In a model that you write yourself, a LAuReL layer stands where the addition
stood. It takes `[x, f(x)]`, followed by previous activations, the newest first.
Run this after `pip install ".[jax]"`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import keras_laurel


def block(x, previous):
    """f(x) with a learned sum: alpha f(x) + beta (x + sum of the history)."""
    h = layers.LayerNormalization()(x)
    h = layers.Dense(4 * x.shape[-1], activation="gelu")(h)
    fx = layers.Dense(x.shape[-1])(h)
    connection = keras_laurel.get("rw+lr+pa", rank=4, num_activations=3)
    return connection([x, fx, *previous])


def build(depth=4, width=32):
    inputs = keras.Input((8,))
    x = layers.Dense(width)(inputs)
    previous = []
    for _ in range(depth):
        y = block(x, previous)
        # k = 3 counts x itself, so that two earlier ones are kept.
        previous = [x, *previous][:2]
        x = y
    return keras.Model(inputs, layers.Dense(1)(x))


"""
The first block has no activation before it, the second has one: each layer
sizes its weights by what it gets. B starts at 0 and α and β at 1, so that the
network starts as the plain one.
"""

keras.utils.set_random_seed(0)
model = build()
for layer in keras_laurel.laurel_layers(model):
    print(layer.name, [tuple(w.shape) for w in layer.weights])

"""
## Training
"""

x = np.random.default_rng(0).normal(size=(512, 8)).astype("float32")
y = np.sin(x).sum(axis=1, keepdims=True)
model.compile(
    keras_laurel.prepare_optimizer(keras.optimizers.AdamW(3e-3)), "mse"
)
history = model.fit(x, y, epochs=10, verbose=0).history["loss"]
print(f"loss {history[0]:.3f} at first, {history[-1]:.3f} at last")
print(keras_laurel.learned.laurel_summary(model, x[:8]))
