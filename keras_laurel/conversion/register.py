"""Teach classes of models where their blocks are."""

import inspect

import keras

from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks.registry import BlockRow
from keras_laurel.conversion.hub import adopt


def register_blocks(
    cls,
    *stacks,
    entry_points=("call",),
    input_norm=None,
    streams=(),
):
    """Teach a class of models where its residual blocks are.

    A block is a layer that computes `y = x + f(x)` of its first argument and
    returns y, alone or first of several. `residual_sites` then lists the
    blocks of each model of the class, and of its subclasses, and `laurelize`
    puts connections around them, in place. KerasHub's transformers are known
    in this way; a subclass of one needs no call, except to be found by
    `from_preset` after conversion.

    Call it where the class is defined, so that whoever loads a saved model
    has it too.

    Args:
        cls: A class of models or layers, or a `keras_hub.models.Task`.
        *stacks: For each stack of blocks, which has previous activations of
            its own, where it is: a string, the path of an attribute such as
            `"encoder.blocks"`, where a part may also be the name of a layer;
            or a function of the model. Either leads to a list of blocks in
            the order they run, one that runs several times as often as it
            does; or to a model whose class is registered; or to `None`, where
            a model can do without. Without `stacks` those of the base class
            hold.
        entry_points: Tuple of strings, the methods that run a block.
        input_norm: String, the attribute of a block with a norm before its
            first addition, where that adds to its output.
        streams: Tuple of strings: names of the arguments of a block that it
            adds to, where these are several. They are its first outputs, in
            this order.

    Raises:
        ValueError: if `cls` is no class of layers, if a stack is neither a
            string nor a function, or if there is none and no base class has.

    Example:

    >>> class Block(keras.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.norm = keras.layers.LayerNormalization()
    ...         self.dense = keras.layers.Dense(8)
    ...
    ...     def call(self, x):
    ...         return x + self.dense(self.norm(x))
    >>> class GPT(keras.Model):
    ...     def __init__(self, depth):
    ...         super().__init__()
    ...         self.embedding = keras.layers.Embedding(64, 8)
    ...         self.blocks = [Block() for _ in range(depth)]
    ...
    ...     def call(self, tokens):
    ...         x = self.embedding(tokens)
    ...         for block in self.blocks:
    ...             x = block(x)
    ...         return x
    >>> keras_laurel.register_blocks(GPT, "blocks")
    >>> model = GPT(depth=4)
    >>> y = model(keras.ops.ones((2, 16), "int32"))
    >>> [site.kind for site in keras_laurel.residual_sites(model)]
    ['block', 'block', 'block', 'block']
    >>> model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=2))
    Put 4 LaurelLR connections into blocks.
    >>> len(keras_laurel.laurel_layers(model))
    4
    """
    if not (inspect.isclass(cls) and issubclass(cls, keras.layers.Layer)):
        raise ValueError(
            f"`cls` got {cls!r}; it needs a class of models or layers."
        )
    for where in stacks:
        if not (isinstance(where, str) or callable(where)):
            raise ValueError(
                f"`stacks` got {where!r}; it needs the path of an attribute, "
                'such as "encoder.blocks", or a function of the model.'
            )
    known = adopt.is_class_known(cls)
    if not stacks and not known:
        raise ValueError(
            f"`register_blocks` got {cls.__name__} and no stacks, and no base "
            "class of it is known. Say where its blocks are: "
            f'`register_blocks({cls.__name__}, "blocks")`.'
        )
    if stacks:
        registry.add(
            cls,
            BlockRow(
                tuple(stacks),
                entry_points=tuple(entry_points),
                input_norm=input_norm,
                streams=tuple(streams),
            ),
        )
    if adopt.is_of_hub(cls):
        adopt.name_class(cls)
