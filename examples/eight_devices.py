"""
Title: Eight devices out of one CPU
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Train a converted model on several devices with keras.distribution.
Accelerator: None
"""

"""
## Eight virtual devices

JAX can split a CPU into virtual devices, to try programs for many chips. The
flag has to be set before JAX starts. On a machine with several GPUs or TPU
chips leave it out; the rest stays the same. `keras.distribution` is for JAX.
Run this after `pip install ".[jax]"`.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
flag = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"

import keras
import numpy as np
from keras import layers

import keras_laurel

devices = keras.distribution.list_devices()
print(len(devices), "devices")

"""
## Data parallel

Every device holds all weights and takes a part of each batch. Set the
distribution before the model is made, and convert under the same one: the new
weights then lie where the others lie.
"""

keras.utils.set_random_seed(0)
data_parallel = keras.distribution.DataParallel(devices=devices)
keras.distribution.set_distribution(data_parallel)


def build(width=64):
    inputs = keras.Input((16,))
    x = layers.Dense(width)(inputs)
    for _ in range(4):
        fx = layers.LayerNormalization()(x)
        fx = layers.Dense(width, activation="gelu")(fx)
        x = layers.Add()([x, fx])
    return keras.Model(inputs, layers.Dense(1)(x))


model = keras_laurel.laurelize(build(), keras_laurel.get("rw+lr", rank=8))
kernel = keras_laurel.laurel_layers(model)[0].laurel_a
print("A lies on", len(kernel.value.sharding.device_set), "devices")

"""
## Train

The batch is divided by eight, so its size is a multiple of that.
"""

features = np.random.default_rng(0).normal(size=(512, 16)).astype("float32")
targets = np.sin(features).sum(axis=1, keepdims=True)
model.compile(
    keras_laurel.prepare_optimizer(keras.optimizers.AdamW(3e-3)), "mse"
)
history = model.fit(features, targets, batch_size=64, epochs=5, verbose=0)
first, *_, last = history.history["loss"]
print(f"loss {first:.3f} at first, {last:.3f} at last")

"""
## Divide the weights, too

Where a model does not fit on one device, `make_distribution("fsdp")` divides
its large weights among all of them, LAuReL's included. `plan_memory` says what
each device would keep, before anything is trained.
"""

sharded = keras_laurel.distribution.make_distribution("fsdp")
keras.distribution.set_distribution(sharded)
wide = keras_laurel.laurelize(build(1024), keras_laurel.get("rw+lr", rank=8))
wide.compile(keras.optimizers.AdamW(3e-3), "mse")
print(keras_laurel.distribution.plan_memory(wide, sharded))
