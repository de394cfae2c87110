"""Table of the locations of blocks, by class of model and its bases."""

import dataclasses

import keras

from keras_laurel.conversion import keras_internals


@dataclasses.dataclass(frozen=True)
class BlockRow:
    """The location of the blocks in a class of models, and how they run.

    Attributes:
        stacks: Tuple with the location of each stack of blocks: an attribute
            path of the model, whose parts may also be names of layers, or a
            function of the model. It leads to a list of blocks in the order
            they run, each listed as often as it runs. A path may also lead to
            a model that has a row, or to `None` if a model may lack the part.
        entry_points: Methods that run a block.
        delegating: Methods that run a block through one of these, or are run
            by them.
        input_norm: Attribute of a block with a norm before its first
            addition, whose output is the skip.
        streams: Names of the arguments that a block adds to, if there are
            several; the first outputs of the block belong to them, in this
            order.
        block_classes: Names of the known classes of the blocks, or `None` if
            any class is accepted.
    """

    stacks: tuple
    block_classes: tuple | None = None
    entry_points: tuple = ("call",)
    delegating: tuple = ()
    input_norm: str | None = None
    streams: tuple = ()


@dataclasses.dataclass(frozen=True)
class Stack:
    """Blocks that form one residual stream.

    Attributes:
        row: The `BlockRow` of the blocks.
        blocks: List of the blocks in the order they run, each listed as often
            as it runs.
    """

    row: BlockRow
    blocks: list


NAMED = BlockRow(stacks=())
"""The row of blocks that a user has named, about which nothing is known."""

_rows: dict[type | tuple[str, str], BlockRow] = {}


def add(key, row):
    """Add a row.

    Args:
        key: A class, or a pair of the names of a package and a class in it,
            for a package that is not to be imported.
        row: The `BlockRow`.
    """
    _rows[key] = row


def has_own_row(cls):
    """Return whether a class has a row itself, not only its bases."""
    return _own_row(cls) is not None


def row_of(model):
    """Return the row of a model, by its class, or `None`."""
    return row_of_class(type(model))


def row_of_class(cls):
    """Return the row of a class or of its nearest base, or `None`."""
    for base in cls.__mro__:
        if has_own_row(base):
            return _own_row(base)
    return None


def _own_row(cls):
    package = cls.__module__.split(".")[0]
    return _rows.get(cls) or _rows.get((package, cls.__name__))


def stacks_of(model):
    """Return the stacks of a model that has a row.

    Raises:
        ValueError: if the model has no blocks at the locations in the row, or
            blocks of other classes.
    """
    row = row_of(model)
    stacks = [x for where in row.stacks for x in _stacks_at(model, row, where)]
    blocks = [unique(stack.blocks) for stack in stacks]
    if sum(map(len, blocks)) > len(unique([b for x in blocks for b in x])):
        raise ValueError(
            f"{type(model).__name__} must have each block in one stack only. "
            f"Received: a block in two of its stacks {row.stacks}. Correct "
            "the stacks given to `register_blocks`."
        )
    if not stacks:
        raise ValueError(_wrong(model, row.stacks, "no layers", row))
    return stacks


def unique(blocks):
    """Return each block once, in order."""
    return list({id(block): block for block in blocks}.values())


def _stacks_at(model, row, where):
    found = where(model) if callable(where) else _follow(model, row, where)
    if found is None:
        return []
    if isinstance(found, keras.layers.Layer) and row_of(found) is not None:
        return stacks_of(found)
    blocks = _flattened(found)
    classes = sorted({type(x).__name__ for x in blocks})
    if not blocks or not all(_is_known(block, row) for block in blocks):
        raise ValueError(_wrong(model, where, classes or "no layers", row))
    return [Stack(row, blocks)]


def _follow(model, row, path):
    """Follow an attribute path, in which a part may be a layer's name."""
    found = model
    for name in path.split("."):
        if not hasattr(found, name) and _has_layer(found, name):
            found = found.get_layer(name)
        elif not hasattr(found, name):
            lacking = f"`{type(found).__name__}` has no attribute `{name}`"
            raise ValueError(_wrong(model, path, lacking, row))
        else:
            found = getattr(found, name)
        if found is None:
            return None
    return found


def _has_layer(model, name):
    return name in [layer.name for layer in getattr(model, "layers", ())]


def _flattened(found):
    """Return the layers in nested lists and dicts, or in a `Sequential`."""
    if keras_internals.is_sequential(found):
        return list(found.layers)
    if isinstance(found, dict):
        found = found.values()
    if not isinstance(found, keras.layers.Layer):
        return [block for part in found for block in _flattened(part)]
    return [found]


def _is_known(block, row):
    if not isinstance(block, keras.layers.Layer):
        return False
    # The rows name classes, so that KerasHub need not be imported for them.
    names = {cls.__name__ for cls in type(block).__mro__}
    return row.block_classes is None or not names.isdisjoint(row.block_classes)


def _wrong(model, where, found, row):
    place = f"`{type(model).__name__}.{where}`"
    if row.block_classes is None:
        return (
            f"{place} must hold blocks, as was passed to `register_blocks`. "
            f"Received: {found}. Correct the path, or build the model first."
        )
    return (
        f"{place} must hold blocks of {list(row.block_classes)}. Received: "
        f"{found}. This version of KerasHub is not supported: install one "
        "that is, or report it."
    )
