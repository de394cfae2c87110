"""Apply LAuReL to the blocks of a KerasHub backbone, in place."""

import re

import keras

from keras_laurel import optimizers
from keras_laurel.conversion import decoder_blocks
from keras_laurel.conversion import hub_families
from keras_laurel.conversion import keras_layers
from keras_laurel.conversion.hub_classes import LaurelBackbone
from keras_laurel.conversion.hub_classes import Recipe
from keras_laurel.conversion.hub_classes import laurel_backbone_class
from keras_laurel.conversion.hub_classes import laurel_name
from keras_laurel.conversion.hub_classes import laurel_task_class
from keras_laurel.conversion.prototype import copy_of
from keras_laurel.conversion.residual_site import ResidualSite
from keras_laurel.conversion.residual_stream import ResidualStream

GRANULARITIES = ("block", "sublayer")


def backbone_of(model):
    """The backbone of a task, or `model` itself."""
    return getattr(model, "backbone", None) or model


def is_decoder(model):
    """Whether `model` is one whose blocks are known here, or its task."""
    backbone = backbone_of(model)
    if isinstance(backbone, LaurelBackbone):
        return False
    for part in (model, backbone):
        reason = hub_families.why_unsupported(part)
        if reason:
            raise ValueError(
                f"`model` got {model.name!r}, a {type(part).__name__}, which "
                f"`laurelize` does not support: {reason}."
            )
    return hub_families.family_of(backbone) is not None


def block_sites(model):
    """A `ResidualSite` for each block."""
    backbone = backbone_of(model)
    family = hub_families.family_of(backbone)
    return [
        ResidualSite(
            name=block.name,
            kind="block",
            skip=0,
            input_shape=(None, None, _width(block)),
            output_shape=(None, None, _width(block)),
            model=backbone.name,
            node=block,
            branch_nodes=(),
        )
        for block in hub_families.blocks_of(backbone, family)
    ]


def convert(model, layer, sites, granularity):
    """Convert the backbone of `model`, and `model` if it is a task."""
    backbone = backbone_of(model)
    chosen = {site.node for site in sites}
    family = hub_families.family_of(backbone)
    blocks = hub_families.blocks_of(backbone, family)
    indices = [i for i, block in enumerate(blocks) if block in chosen]
    task_class = None if backbone is model else _task_class(model)
    convert_backbone(backbone, Recipe(layer, granularity, tuple(indices)))
    if task_class is not None:
        model.__class__ = task_class
        _renew_training_state(model)
    return model


def convert_backbone(backbone, recipe):
    """Convert in place what `recipe` says; all that can fail fails first."""
    family = hub_families.family_of(backbone)
    blocks = hub_families.blocks_of(backbone, family)
    blocks = [blocks[i] for i in recipe.blocks]
    _check(backbone, family, blocks, recipe)
    connections = _connections(family, blocks, recipe)
    backbone_class = laurel_backbone_class(type(backbone))
    for block, connection in zip(blocks, connections):
        decoder_blocks.attach(block, connection)
    backbone.__class__ = backbone_class
    backbone._laurel_recipe = recipe
    _renew_training_state(backbone)
    return backbone


def _check(backbone, family, blocks, recipe):
    name = type(backbone).__name__
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
            f"{name} {backbone.name!r} has {connections} connections to "
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
        decoder_blocks.SublayerConnection
        if sublayer
        else decoder_blocks.BlockConnection
    )
    stream = ResidualStream([])
    connections = []
    for block in blocks:
        connection = kind(family, block, stream, len(stream.layers))
        for name in kind.attributes:
            stream.layers.append(_built_layer(block, name, stream, recipe))
        connections.append(connection)
    return connections


def _built_layer(block, name, stream, recipe):
    number = len(stream.layers)
    layer = copy_of(recipe.layer, number, name, block.dtype_policy)
    activations = min(layer.num_activations or 1, number + 1)
    shape = (None, None, _width(block))
    try:
        keras_layers.build_inside(block, layer, [shape] * (1 + activations))
    except ValueError as error:
        raise ValueError(
            f"The layer does not fit the block {block.name!r}: {error}"
        ) from error
    return layer


def _width(block):
    """The size D of what the block is called on."""
    config = block.get_build_config()
    shapes = config.get("shapes_dict") or config["input_shape"]
    return _first_shape(shapes)[-1]


def _first_shape(shapes):
    while not isinstance(shapes[0], (int, type(None))):
        shapes = shapes[0]
    return shapes


def _task_class(task):
    family = hub_families.family_of(task.backbone)
    prefix = type(task.backbone).__name__.removesuffix("Backbone")
    known = [prefix + suffix for suffix in family.tasks]
    base = hub_families.hub_class(task, known)
    if base is not type(task):
        name = type(task).__name__
        raise ValueError(
            f"`model` got {task.name!r}, a {name}; `laurelize` knows the tasks "
            f"{known} of this family. Convert its backbone, "
            f"`laurelize(backbone, ...)`, before you make the {name} of it, "
            "and compile with `keras_laurel.prepare_optimizer(optimizer)`."
            + (_how_to_derive(name, base.__name__) if base else "")
        )
    return laurel_task_class(base)


def _how_to_derive(name, base_name):
    registered = f"keras_laurel>{laurel_name(base_name)}"
    return (
        f" With `keras.saving.get_registered_object({registered!r})` as the "
        f"base of {name} in place of {base_name} its `compile` does so, and, "
        f"once it is registered, `{name}.from_preset` loads what it saves."
    )


def _renew_training_state(model):
    """Forget what was traced, and what an optimizer had for each variable."""
    keras_layers.forget_compiled(model)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        optimizer = optimizers.fresh_optimizer(optimizer)
        model.optimizer = optimizers.prepare_optimizer(optimizer)
