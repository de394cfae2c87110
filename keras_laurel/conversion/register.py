"""Register the blocks of classes of models."""

import inspect
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras

from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks.registry import BlockRow
from keras_laurel.conversion.hub import adopt


def register_blocks(
    cls: type[keras.layers.Layer],
    *stacks: str | Callable[[Any], Any],
    entry_points: Sequence[str] = ("call",),
    input_norm: str | None = None,
    streams: Sequence[str] = (),
) -> None:
    """Register the location of the residual blocks in a class of models.

    A block is a layer that computes `y = x + f(x)` from its first argument
    and returns y, alone or as the first of several outputs. `residual_sites`
    then lists the blocks of each model of the class and of its subclasses,
    and `laurelize` puts connections around them, in place. KerasHub's
    transformers are registered already. A subclass of one need not be
    registered, except for `from_preset` to find it after conversion.

    Call it next to the definition of the class, so that it also runs when a
    saved model is loaded.

    Args:
        cls: A class of models or layers, or a `keras_hub.models.Task`.
        *stacks: The location of each stack of blocks; each stack has its own
            history. A location is a string, the path of an attribute such as
            `"encoder.blocks"`, in which a part may also be the name of a
            layer; or a function of the model. It leads to a list of blocks in
            the order they run, each listed as often as it runs; or to a model
            whose class is registered; or to `None`, if a model may lack this
            stack. Without `stacks`, those of the base class are used.
        entry_points: Tuple of strings, the methods that run a block.
        input_norm: String, the attribute of a block that holds a norm before
            its first addition, if the block adds to the output of that norm.
        streams: Tuple of strings, the names of the arguments that a block
            adds to, if there are several. The first outputs of the block
            belong to them, in this order.

    Raises:
        ValueError: if `cls` is not a class of layers, if a stack is neither a
            string nor a function, if an attribute or argument is not named by
            a string, or if there is no stack and no base class has one.

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
    Converted 4 blocks to LaurelLR.
    >>> len(keras_laurel.laurel_layers(model))
    4
    """
    if not (inspect.isclass(cls) and issubclass(cls, keras.layers.Layer)):
        raise ValueError(
            "Argument `cls` must be a class of models or layers. Received: "
            f"cls={cls!r}."
        )
    for where in stacks:
        if not (_is_name(where) or callable(where)):
            raise ValueError(
                "Argument `stacks` must hold paths of attributes, such as "
                '"encoder.blocks", or functions of the model. Received: '
                f"{where!r}."
            )
    _check_names("entry_points", entry_points, "methods", '("call",)')
    _check_names("streams", streams, "arguments", '("x", "context")', least=0)
    if input_norm is not None and not _is_name(input_norm):
        raise ValueError(
            "Argument `input_norm` must be the name of an attribute of the "
            f"blocks, or None. Received: input_norm={input_norm!r}."
        )
    known = adopt.is_class_known(cls)
    if not stacks and not known:
        raise ValueError(
            "Argument `stacks` must be given for a class whose base classes "
            f"are not registered. Received: cls={cls.__name__} and no stacks. "
            "Name the attribute that holds its blocks: "
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
    # KerasHub finds the class of a preset by its registered name.
    if adopt.is_of_hub(cls):
        adopt.name_class(cls)


def _is_name(value):
    return isinstance(value, str) and value != ""


def _check_names(name, value, of, example, least=1):
    is_list = isinstance(value, (list, tuple)) and len(value) >= least
    if not is_list or not all(_is_name(x) for x in value):
        raise ValueError(
            f"Argument `{name}` must be a tuple of the names of {of}, as "
            f"strings. Received: {name}={value!r}. Pass, for example, "
            f"`{name}={example}`."
        )
