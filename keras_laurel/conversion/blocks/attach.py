"""Attach connections to blocks, after checking everything that may fail."""

import dataclasses
import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import connection
from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks.registry import unique
from keras_laurel.conversion.blocks.stream import ResidualStream
from keras_laurel.conversion.prototype import copy_of
from keras_laurel.layers import Laurel

GRANULARITIES = ("block", "application")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The arguments of a conversion, saved in the config of the model.

    Attributes:
        prototypes: Tuple with a `Laurel` layer for each block to convert.
        granularity: `"block"` or `"application"`.
        blocks: Tuple of indices of the converted blocks among those of the
            model's row; empty if `named` is used instead.
        named: For each stack, the blocks that the user named, as
            `(index among all layers, name of the class)`.
        shapes: Shapes of the inputs of all these blocks, each once, in order;
            empty for KerasHub's blocks, which have their shapes on record.
    """

    prototypes: tuple[Laurel, ...]
    granularity: str
    blocks: tuple = ()
    named: tuple = ()
    shapes: tuple = ()

    @property
    def has_history(self):
        return any(layer.has_history for layer in self.prototypes)

    def get_config(self):
        layers = list({id(x): x for x in self.prototypes}.values())
        # Blocks usually share one prototype, which is then saved once.
        number = {id(x): i for i, x in enumerate(layers)}
        config = {
            "layers": [keras.layers.serialize(layer) for layer in layers],
            "layer_of_block": [number[id(x)] for x in self.prototypes],
            "granularity": self.granularity,
            "blocks": list(self.blocks),
        }
        if self.shapes:
            config.update(named=self.named, shapes=self.shapes)
        return config

    @classmethod
    def from_config(cls, config):
        layers = [keras.layers.deserialize(x) for x in config["layers"]]
        return cls(
            tuple(layers[i] for i in config["layer_of_block"]),
            config["granularity"],
            tuple(config["blocks"]),
            config.get("named", ()),
            config.get("shapes", ()),
        )


def attach(owner, stacks, recipe):
    """Attach the connections of `recipe` to blocks of `owner`.

    Args:
        owner: The layer that holds the blocks.
        stacks: List of `Stack`s with the blocks to convert.
        recipe: The `Recipe`.

    Raises:
        ValueError: if the recipe does not fit a block. Nothing has changed
            then.
    """
    _check(owner, stacks, recipe)
    layers = _Layers(recipe, all_blocks(stacks))
    connections = [one for stack in stacks for one in layers.connect(stack)]
    # All layers are built by now, so nothing can fail that depends on the
    # recipe.
    for one in connections:
        connection.attach(one.block, one)
    connection.attach_containers(keras_internals.flatten_layers(owner))


def chosen(stacks, blocks):
    """Return the stacks with only those of `blocks`, without empty stacks."""
    ids = {id(block) for block in blocks}
    stacks = [
        dataclasses.replace(s, blocks=[b for b in s.blocks if id(b) in ids])
        for s in stacks
    ]
    return [stack for stack in stacks if stack.blocks]


def _check(owner, stacks, recipe):
    if recipe.granularity not in GRANULARITIES:
        raise ValueError(
            f"Argument `granularity` must be one of {GRANULARITIES}. "
            f"Received: granularity={recipe.granularity!r}."
        )
    check_blocks(stacks)
    lengths = [len(stack.blocks) for stack in stacks]
    check_history(owner, recipe.prototypes, lengths)


def check_history(owner, prototypes, lengths):
    """Raise if a layer weighs more activations than there are connections.

    Args:
        owner: The model, named in the error.
        prototypes: List of `Laurel` layers.
        lengths: List with the number of connections of each stream.
    """
    limited = [x.num_activations for x in prototypes]
    k = max((k for k in limited if k != "all"), default=0)
    if k > max(lengths):
        of_stack = " in its longest stack" if len(lengths) > 1 else ""
        raise ValueError(
            "Argument `layer` must not weigh more activations than there are "
            f"connections. Received: num_activations={k}; "
            f"{type(owner).__name__} {owner.name!r} has {max(lengths)} "
            f"connections to convert{of_stack}. Use at most "
            f"num_activations={max(lengths)}."
        )


def check_blocks(stacks, by_call_only=False):
    """Raise if blocks have methods to run them that their row does not have.

    Args:
        stacks: List of `Stack`s.
        by_call_only: Boolean. Also raise if a block has entry points other
            than its `call`.
    """
    for stack in stacks:
        others = [x for x in stack.row.entry_points if x != "call"]
        if by_call_only and others:
            raise ValueError(
                "Argument `granularity` must be 'block' for blocks that do "
                "not only run through their `call`. Received: "
                "granularity='sublayer', and "
                f"{type(stack.blocks[0]).__name__} also runs through {others}, "
                "where its additions would stay plain. Use "
                "`granularity='block'`."
            )
        for block in unique(stack.blocks):
            _check_block(stack.row, block)


def _check_block(row, block):
    if keras_internals.is_sequential(block):
        raise ValueError(
            f"The block {block.name!r} must not be a `keras.Sequential`, which "
            "keeps no layers beside those it runs, so that a connection there "
            f"would not be trained. Received: a {type(block).__name__}. Name "
            "the layers inside it that return x + f(x), or make it a layer or "
            "a functional model."
        )
    if row.block_classes is None:
        known = {*row.entry_points, row.input_norm} - {None}
        missing = sorted(x for x in known if not hasattr(block, x))
        if missing:
            raise ValueError(
                f"The block {block.name!r} of class {type(block).__name__} "
                "must have the methods and attributes that were passed to "
                f"`register_blocks`. Received: a block that lacks {missing}. "
                "Correct that call."
            )
        return
    missing = [x for x in row.entry_points if not hasattr(block, x)]
    known = (*row.entry_points, *row.delegating)
    # A way to run the block that a later KerasHub adds, as RWKV7 has its
    # `generate_call`, would pass by the connection in silence.
    unknown = sorted(set(_calls(type(block))) - set(known))
    if missing or unknown:
        raise ValueError(
            f"The block {block.name!r} of class {type(block).__name__} must "
            f"have the methods {known} and no others that run it. Received: "
            f"a block that lacks {missing} and also has {unknown}. This "
            "version of KerasHub is not supported: install one that is, or "
            "report it."
        )


def _calls(block_class):
    """Return the public methods that may run the block, including `call`."""
    plain = set(dir(keras.layers.Layer)) - {"call"}
    return [
        name
        for name in set(dir(block_class)) - plain
        if re.search("(^|_)(call|forward|step|decode)(_|$)", name)
        and not name.startswith("_")
    ]


class _Layers:
    """The LAuReL layers of one conversion, each with its own random draws.

    Args:
        recipe: The `Recipe`.
        blocks: List of the blocks to which it applies.
    """

    def __init__(self, recipe, blocks):
        ids = [id(block) for block in blocks]
        self.prototypes = dict(zip(ids, recipe.prototypes, strict=True))
        self.shapes = dict(zip(ids, recipe.shapes))
        self.count = 0
        self.own_layers = recipe.granularity == "application"

    def connect(self, stack):
        """Return a connection for each block of a stack, in one stream."""
        blocks = unique(stack.blocks)
        turns = {
            id(block): tuple(
                i for i, x in enumerate(stack.blocks) if x is block
            )
            for block in blocks
        }
        layers = {}
        for block in blocks:
            layers.update(self._layers(block, turns[id(block)]))
        layers = [layers[n] for n in sorted(layers)]
        counts = self.own_layers and len(blocks) < len(stack.blocks)
        streams = [
            ResidualStream(layers, counts) for _ in stack.row.streams or ("x",)
        ]
        return [
            connection.BlockConnection(
                stack.row, block, streams, turns[id(block)]
            )
            for block in blocks
        ]

    def _layers(self, block, turns):
        """Return the layers of a block by their indices in the stream."""
        if self.own_layers:
            pairs = zip(turns, connection.names(len(turns)))
            return {turn: self._built(block, x, turn) for turn, x in pairs}
        # All runs share one layer, made for the last run, which reads most
        # activations.
        (name,) = connection.names(1)
        return dict.fromkeys(turns, self._built(block, name, turns[-1]))

    def _built(self, block, name, last):
        """Return a layer that is built for connection `last` of its stream."""
        prototype = self.prototypes[id(block)]
        layer = copy_of(prototype, self.count, name, block.dtype_policy)
        self.count += 1
        activations = max(len(layer.reads(last)), 1)
        shape = self.shapes.get(id(block)) or (None, None, width_of(block))
        try:
            keras_internals.build_inside(
                block, layer, [tuple(shape)] * (1 + activations)
            )
        except ValueError as error:
            raise ValueError(
                f"Argument `layer` does not fit the block {block.name!r}: "
                f"{error}"
            ) from error
        return layer


def registered_stacks(owner, recipe):
    """Return the stacks of a model with a row, with the recipe's blocks."""
    stacks = registry.stacks_of(owner)
    blocks = all_blocks(stacks)
    return chosen(stacks, [blocks[i] for i in recipe.blocks])


def all_blocks(stacks):
    """Return the blocks of all stacks, each once, in order."""
    return unique([block for stack in stacks for block in stack.blocks])


def width_of(block):
    """Return the width D of the block's input."""
    return shape_of(block)[-1]


def shape_of(block):
    """Return the shape of the block's first input.

    Raises:
        ValueError: if Keras has not recorded it.
    """
    if keras_internals.is_functional(block):
        return tuple(block.inputs[0].shape)
    config = block.get_build_config() or {}
    shapes = config.get("shapes_dict") or config.get("input_shape")
    if not shapes:
        raise ValueError(
            f"The block {block.name!r} of class {type(block).__name__} must "
            "have a recorded input shape. Received: a block without one. Build "
            "it, or call the model once."
        )
    return tuple(_first_shape(shapes))


def _first_shape(shapes):
    """Return a shape, or the first of a list or dictionary of shapes."""
    if isinstance(shapes, dict):
        return _first_shape(next(iter(shapes.values())))
    while not isinstance(shapes[0], (int, type(None))):
        shapes = shapes[0]
    return shapes
