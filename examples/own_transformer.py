"""
Title: A transformer of one's own, converted in place
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: A subclassed model whose blocks add in their `call`.
Accelerator: GPU
"""

"""
## The model

It is written without LAuReL: a block adds twice in its `call`, and the model
calls its blocks in turn. Run this after `pip install ".[jax]"`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers
from keras import ops

import keras_laurel

register = keras.saving.register_keras_serializable(package="example")


@register
class Block(layers.Layer):
    def __init__(self, dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.num_heads = dim, num_heads
        self.norm1 = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(num_heads, dim // num_heads)
        self.norm2 = layers.LayerNormalization()
        self.dense1 = layers.Dense(4 * dim, activation="gelu")
        self.dense2 = layers.Dense(dim)

    def call(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, use_causal_mask=True)
        return x + self.dense2(self.dense1(self.norm2(x)))

    def get_config(self):
        config = super().get_config()
        return {**config, "dim": self.dim, "num_heads": self.num_heads}


@register
class GPT(keras.Model):
    def __init__(self, vocabulary=64, length=16, depth=3, dim=32, **kwargs):
        super().__init__(**kwargs)
        self.sizes = dict(
            vocabulary=vocabulary, length=length, depth=depth, dim=dim
        )
        self.tokens = layers.Embedding(vocabulary, dim)
        self.positions = layers.Embedding(length, dim)
        self.blocks = [Block(dim, 4) for _ in range(depth)]
        self.norm = layers.LayerNormalization()
        self.head = layers.Dense(vocabulary)

    def call(self, tokens):
        positions = ops.arange(ops.shape(tokens)[1])
        x = self.tokens(tokens) + self.positions(positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def get_config(self):
        return {**super().get_config(), **self.sizes}


"""
## Look, then convert

Each addition is listed with the line that it is in. `inputs` is what the model
is called on.
"""

keras.utils.set_random_seed(0)
text = np.arange(17)[None] % 8 + np.arange(64)[:, None] % 32
x, y = text[:, :-1], text[:, 1:]
model = GPT()
print(keras_laurel.residual_sites(model, inputs=x[:2]))
before = ops.convert_to_numpy(model(x[:2]))
keras_laurel.laurelize(model, keras_laurel.get("rw+lr", rank=4), inputs=x[:2])
np.testing.assert_array_equal(ops.convert_to_numpy(model(x[:2])), before)

"""
## Train, save, load
"""

model.compile(
    keras_laurel.prepare_optimizer(keras.optimizers.AdamW(3e-3)),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x, y, epochs=3, verbose=2)
model.save("gpt_laurel.keras")
loaded = keras.models.load_model("gpt_laurel.keras")
print(len(keras_laurel.laurel_layers(loaded)), "connections in the loaded one")
