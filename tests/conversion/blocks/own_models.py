"""Models that people write themselves, with blocks in them.

Importable by a fresh process, which then knows their classes.
"""

import itertools

import keras
import numpy as np
from keras import ops

WIDTH = 8
_numbers = itertools.count()
register = keras.saving.register_keras_serializable("own_models")


@register
class Block(keras.layers.Layer):
    """A pre-norm block, whose addition stands in its `call`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.number = next(_numbers)
        dtype = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(dtype=dtype)
        self.dense = keras.layers.Dense(WIDTH, activation="gelu", dtype=dtype)
        self.dropout = keras.layers.Dropout(0.1, dtype=dtype)

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.dense.build(input_shape)

    def call(self, x, mask=None, training=False):
        y = self.dropout(self.dense(self.norm(x)), training=training)
        if mask is not None:
            y = y * ops.cast(mask, y.dtype)[..., None]
        return x + y


@register
class PairBlock(Block):
    """One that returns more than y, and is called by keyword."""

    def call(self, hidden, scale, training=False):
        y = super().call(hidden, training=training) + 0 * scale
        return {"hidden": y, "norm": ops.mean(y)}


@register
class GPT(keras.Model):
    """A subclassed model with its blocks in a list."""

    def __init__(self, depth=3, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
        self.embedding = keras.layers.Embedding(16, WIDTH)
        self.blocks = [Block() for _ in range(depth)]
        self.head = keras.layers.Dense(16)

    def build(self, input_shape):
        self.embedding.build(input_shape)
        for block in self.blocks:
            block.build((*input_shape, WIDTH))
        self.head.build((*input_shape, WIDTH))

    def call(self, tokens, training=False):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(x)

    def get_config(self):
        return {**super().get_config(), "depth": self.depth}


class Unsaved(GPT):
    """One that Keras cannot save: its config is not known."""

    def __init__(self, blocks, **kwargs):
        keras.Model.__init__(self, **kwargs)
        self.embedding = keras.layers.Embedding(16, WIDTH)
        self.blocks = blocks
        self.head = keras.layers.Dense(16)

    get_config = keras.Model.get_config


@register
class Shared(GPT):
    """A model that runs one block several times."""

    def __init__(self, depth=3, **kwargs):
        super().__init__(depth=1, **kwargs)
        self.depth = depth

    def call(self, tokens, training=False):
        x = self.embedding(tokens)
        for _ in range(self.depth):
            x = self.blocks[0](x, training=training)
        return self.head(x)


@register
class TwoStacks(keras.Model):
    """An encoder and a decoder, each a list in a layer of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(16, WIDTH)
        self.encoder = keras.Sequential([Block() for _ in range(2)])
        self.decoder = {"blocks": [Block() for _ in range(3)]}

    def call(self, tokens):
        x = self.embedding(tokens)
        y = self.encoder(x)
        for block in self.decoder["blocks"]:
            y = block(y)
        return y


def gpt():
    model = GPT()
    model.build((None, None))
    return model


def called(model):
    """`model`, built by a first call."""
    model(inputs())
    return model


def functional():
    x = tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(16, WIDTH, mask_zero=True)(x)
    for _ in range(3):
        x = Block()(x)
    return keras.Model(tokens, keras.layers.Dense(4)(x))


def with_pairs():
    x = tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(16, WIDTH)(x)
    for _ in range(3):
        x = PairBlock()(scale=ops.sum(x), hidden=x)["hidden"]
    return keras.Model(tokens, x)


def sequential():
    layers = [keras.layers.Embedding(16, WIDTH), *[Block() for _ in range(3)]]
    return called(keras.Sequential(layers))


@register
class OfModels(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [functional_block() for _ in range(3)]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def functional_block():
    x = keras.Input((None, WIDTH))
    branch = keras.layers.Dense(WIDTH, activation="tanh")
    return keras.Model(x, x + branch(x))


def of_models(holder):
    """A model of three functional models."""
    x = inputs = keras.Input((None, WIDTH))
    if holder == "subclassed":
        model = OfModels()
        model(np.ones((1, 2, WIDTH)))
        return model
    for _ in range(3):
        x = functional_block()(x)
    return keras.Model(inputs, x)


def nested():
    """A functional model around a subclassed one."""
    tokens = keras.Input((None,), dtype="int32")
    return keras.Model(tokens, keras.layers.Dense(2)(gpt()(tokens)))


def inputs(seed=0):
    return np.random.default_rng(seed).integers(1, 16, (2, 5))


def blocks_of(model):
    """The blocks, in the order they were made, which is that they run in."""
    blocks = [x for x in model._flatten_layers() if isinstance(x, Block)]
    return sorted(blocks, key=lambda block: block.number)
