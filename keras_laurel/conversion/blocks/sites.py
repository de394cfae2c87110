"""The blocks of a model as residual sites."""

from keras_laurel.conversion.blocks import owner
from keras_laurel.conversion.blocks.attach import all_blocks
from keras_laurel.conversion.blocks.attach import width_of
from keras_laurel.conversion.sites import ResidualSite


def block_sites(stacks, model_name, paths=None):
    """Return a `ResidualSite` for each block.

    Args:
        stacks: List of `Stack`s.
        model_name: String, the name of the model that holds them.
        paths: Dict of names for the blocks by `id`; by default, the blocks'
            own names are used.
    """
    blocks = all_blocks(stacks)
    names = [(paths or {}).get(id(block), block.name) for block in blocks]
    if shapes_vary(stacks):
        shapes = [(None, *shape[1:]) for shape in owner.checked_shapes(stacks)]
    else:
        shapes = [(None, None, width_of(block)) for block in blocks]
    return [
        ResidualSite(
            # Blocks in different stacks may have the same name.
            name=name if names.count(name) == 1 else block.path,
            kind="block",
            skip=0,
            input_shape=shape,
            output_shape=shape,
            model=model_name,
            node=block,
            branch_nodes=(),
        )
        for name, block, shape in zip(names, blocks, shapes)
    ]


def shapes_vary(stacks):
    """Return whether the blocks may have inputs of any shape.

    The inputs of KerasHub's blocks have the shape `(batch, length, D)`.
    """
    return any(stack.row.block_classes is None for stack in stacks)
