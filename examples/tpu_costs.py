"""
Title: Costs on a TPU, without one
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Compile a training step for TPU v5e on a laptop and read its costs.
Accelerator: None
"""

"""
## The TPU compiler

libtpu has the compiler, which runs on any Linux machine with an x86-64
processor. Keras has to run on JAX. Run this after `pip install ".[jax,tpu]"`
(0.5 GB).
"""

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

import keras
from keras import layers

import keras_laurel

keras.config.set_dtype_policy("mixed_bfloat16")

"""
## A function that builds the model

The model is built without a value for any weight, so it may be larger than this
machine. It is given as a function, which converts and then compiles it.
"""


def build(variant=None):
    inputs = x = keras.Input((256, 512))
    for _ in range(2):
        h = layers.LayerNormalization()(x)
        h = layers.MultiHeadAttention(8, 64)(h, h, use_causal_mask=True)
        x = layers.Add()([x, h])
        h = layers.LayerNormalization()(x)
        h = layers.Dense(512)(layers.Dense(2048, activation="gelu")(h))
        x = layers.Add()([x, h])
    model = keras.Model(inputs, layers.Dense(512)(x))
    if variant is not None:
        layer = keras_laurel.get(variant)
        model = keras_laurel.laurelize(model, layer, verbose=False)
    optimizer = keras_laurel.prepare_optimizer(keras.optimizers.AdamW(1e-3))
    model.compile(optimizer, "mse")
    return model


"""
## Compile

The shapes are those of a global batch, here 64 sequences on the four chips of
a `v5e:2x2`. Results are kept in `~/.keras`, so the second run takes no time.
The compiler's effort is lowered for this example; leave `effort` out for
numbers that you want to rely on.
"""

batch = keras.KerasTensor((64, 256, 512))
costs = {
    variant: keras_laurel.costs.tpu.compile_program(
        lambda: build(variant),
        x=batch,
        y=batch,
        topology="v5e:2x2",
        effort="O1",
    )
    for variant in (None, "rw", "rw+lr")
}
print(costs[None])

"""
## Compare

Peak memory, bytes and cycles are those of one chip. Cycles are the compiler's
estimate: good for comparing two programs, not for telling the time.
"""

plain = costs.pop(None)
for variant, cost in costs.items():
    added = {
        name: 100 * (getattr(cost, name) / getattr(plain, name) - 1)
        for name in ("flops", "bytes_accessed", "cycles", "peak_memory")
    }
    numbers = ", ".join(f"{name} {x:+.2f} %" for name, x in added.items())
    print(f"{variant}: {numbers}")
