"""Attach connections to blocks: all that can fail fails first."""

import dataclasses
import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import connection
from keras_laurel.conversion.blocks.stream import ResidualStream
from keras_laurel.conversion.prototype import copy_of
from keras_laurel.layers import Laurel

GRANULARITIES = ("block", "sublayer")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a backbone was converted with, saved in its config.

    Attributes:
        layer: The prototype, a `Laurel` layer.
        granularity: `"block"` or `"sublayer"`.
        blocks: Indices of the converted blocks.
    """

    layer: Laurel
    granularity: str
    blocks: tuple

    def get_config(self):
        return {
            "layer": keras.layers.serialize(self.layer),
            "granularity": self.granularity,
            "blocks": list(self.blocks),
        }

    @classmethod
    def from_config(cls, config):
        layer = keras.layers.deserialize(config["layer"])
        return cls(layer, config["granularity"], tuple(config["blocks"]))


def attach(owner, family, blocks, recipe):
    """Attach the connections of `recipe` to blocks of `owner`.

    Args:
        owner: The layer that runs the blocks; named in errors.
        family: The `Family` that the blocks are of.
        blocks: List of the blocks, in the order they run.
        recipe: The `Recipe`.

    Raises:
        ValueError: if the recipe does not fit a block. Nothing has changed
            then.
    """
    _check(owner, family, blocks, recipe)
    connections = _connections(family, blocks, recipe)
    for block, one in zip(blocks, connections):
        connection.attach(block, one)


def _check(owner, family, blocks, recipe):
    name = type(owner).__name__
    if recipe.granularity not in GRANULARITIES:
        raise ValueError(
            f"`granularity` got {recipe.granularity!r}; it needs one of "
            f"{GRANULARITIES}."
        )
    if recipe.granularity == "sublayer" and family.middle_norm is None:
        raise ValueError(
            f"`granularity='sublayer'` is not defined for {name}: "
            f"{family.why_not_sublayer}. Use `granularity='block'`."
        )
    per_block = 2 if recipe.granularity == "sublayer" else 1
    connections = per_block * len(blocks)
    if recipe.layer.num_activations > connections:
        raise ValueError(
            f"`layer` got num_activations={recipe.layer.num_activations}; "
            f"{name} {owner.name!r} has {connections} connections to "
            "convert, so the last activations would never be there. Use at "
            f"most num_activations={connections}."
        )
    for block in blocks:
        _check_block(family, block, recipe)


def _check_block(family, block, recipe):
    """Refuse a block that this version of KerasHub runs in another way."""
    needed = list(family.entry_points)
    if recipe.granularity == "sublayer":
        needed.append(family.middle_norm)
    missing = [name for name in needed if not hasattr(block, name)]
    known = (*family.entry_points, *family.delegating)
    unknown = sorted(set(_calls(type(block))) - set(known))
    if missing or unknown:
        raise ValueError(
            f"The block {block.name!r} of class {type(block).__name__} lacks "
            f"{missing} and has {unknown}, where LAuReL knows it with {known}. "
            "This version of KerasHub is not supported: install one that is, "
            "or report it."
        )


def _calls(block_class):
    """Public methods that may run the block, `call` among them."""
    plain = set(dir(keras.layers.Layer)) - {"call"}
    return [
        name
        for name in set(dir(block_class)) - plain
        if re.search("(^|_)(call|forward|step|decode)(_|$)", name)
        and not name.startswith("_")
    ]


def _connections(family, blocks, recipe):
    sublayer = recipe.granularity == "sublayer"
    kind = (
        connection.SublayerConnection
        if sublayer
        else connection.BlockConnection
    )
    stream = ResidualStream([])
    connections = []
    for block in blocks:
        connections.append(kind(family, block, stream, len(stream.layers)))
        for name in kind.attributes:
            stream.layers.append(_built_layer(block, name, stream, recipe))
    return connections


def _built_layer(block, name, stream, recipe):
    number = len(stream.layers)
    layer = copy_of(recipe.layer, number, name, block.dtype_policy)
    activations = min(layer.num_activations or 1, number + 1)
    shape = (None, None, width_of(block))
    try:
        keras_internals.build_inside(block, layer, [shape] * (1 + activations))
    except ValueError as error:
        raise ValueError(
            f"The layer does not fit the block {block.name!r}: {error}"
        ) from error
    return layer


def width_of(block):
    """The size D of what the block is called on."""
    config = block.get_build_config()
    shapes = config.get("shapes_dict") or config["input_shape"]
    return _first_shape(shapes)[-1]


def _first_shape(shapes):
    while not isinstance(shapes[0], (int, type(None))):
        shapes = shapes[0]
    return shapes
