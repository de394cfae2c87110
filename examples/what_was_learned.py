"""
Title: What was learned, in pictures
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Log α, β, γ and the low-rank terms during training and draw them.
Accelerator: None
"""

"""
## A residual network

It has eight blocks, converted with all that LAuReL has: weights on both terms,
a low-rank map, and previous activations. Run this after
`pip install ".[jax,plots]"`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import keras_laurel

keras.utils.set_random_seed(0)
inputs = keras.Input((16,))
x = layers.Dense(32)(inputs)
for _ in range(8):
    fx = layers.LayerNormalization()(x)
    fx = layers.Dense(32, activation="gelu")(fx)
    x = layers.Add()([x, fx])
model = keras.Model(inputs, layers.Dense(1)(x))
model = keras_laurel.laurelize(
    model, keras_laurel.get("rw+lr+pa", rank=4, num_activations=3)
)

"""
## Log during training

`LaurelLogger` writes the learned numbers of each connection to a CSV file,
every eight batches here. Given a batch, it also measures the **share**: how
large the learned part of a connection is beside the stream that it adds to.
With `tensorboard="runs/tensorboard"` the same numbers go to TensorBoard.
"""

rng = np.random.default_rng(0)
features = rng.normal(size=(1024, 16)).astype("float32")
targets = np.sin(features).sum(axis=1, keepdims=True)
logger = keras_laurel.learned.LaurelLogger(
    "laurel.csv", every=8, inputs=features[:64]
)
model.compile(
    keras_laurel.prepare_optimizer(keras.optimizers.AdamW(3e-3)), "mse"
)
model.fit(features, targets, epochs=3, callbacks=[logger], verbose=2)

"""
## As a table

One row per connection, in the order in which they run.
"""

print(keras_laurel.learned.laurel_summary(model, features[:64]))

"""
## As a picture

On the left the last values by connection, on the right their course over the
steps of training, in the same colours. The dashed line is 1, the weight in a
plain addition. Needs matplotlib: `pip install ".[plots]"`.

An α above its β means that the block counts for more than the skip. γ starts at
1 beside a low-rank map, and at 0 without one. Where the share is close to 0,
the low-rank part of the connection adds little to the stream.

![The learned numbers by depth and over time](../docs/what_was_learned.png)
"""

figure = keras_laurel.learned.plots.residual_weights(
    "laurel.csv", quantities=["alpha", "beta", "gamma_1", "share"]
)
figure.savefig("what_was_learned.png")
