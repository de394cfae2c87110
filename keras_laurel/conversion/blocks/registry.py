"""Where the blocks of a class of models are, by class and by inheritance."""

import dataclasses

import keras

from keras_laurel.conversion import keras_internals


@dataclasses.dataclass(frozen=True)
class BlockRow:
    """Where the blocks of a class of models are, and how they run.

    Attributes:
        stacks: For each stack of blocks where it is: an attribute path of the
            model, whose parts may be names of layers too, or a function of
            the model. Either leads to a list of blocks in the order they run,
            in which a block that runs several times stands several times; a
            path may also lead to a model that has a row, or to `None`, where
            a model can do without the part.
        entry_points: Methods through which a block is run.
        delegating: Methods that run it through one of those, or that those
            run inside.
        input_norm: Attribute of a block: a norm before its first addition,
            whose output is the skip.
        streams: Names of the arguments of a block that it adds to, where
            these are several; they are its first outputs, in this order.
        block_classes: Names of the classes that the blocks are known to be
            of, or `None`, where any will do.
    """

    stacks: tuple
    block_classes: tuple | None = None
    entry_points: tuple = ("call",)
    delegating: tuple = ()
    input_norm: str | None = None
    streams: tuple = ()


@dataclasses.dataclass(frozen=True)
class Stack:
    """Blocks that hand a residual stream on from one to the next.

    Attributes:
        row: The `BlockRow` that the blocks are of.
        blocks: List of the blocks in the order they run. One that runs
            several times stands there several times.
    """

    row: BlockRow
    blocks: list


NAMED = BlockRow(stacks=())
"""The row of blocks that their owner has named, of which nothing is known."""

_rows = {}


def add(key, row):
    """Add a row.

    Args:
        key: A class, or the pair of a package and the name of a class in it,
            where the package shall not be imported.
        row: The `BlockRow`.
    """
    _rows[key] = row


def has_own_row(cls):
    """Whether there is a row for a class, and not only for its bases."""
    return _own_row(cls) is not None


def row_of(model):
    """The row of a model, by its class, or `None`."""
    return row_of_class(type(model))


def row_of_class(cls):
    """The row of a class, or of its nearest base that has one, or `None`."""
    for base in cls.__mro__:
        if has_own_row(base):
            return _own_row(base)
    return None


def _own_row(cls):
    package = cls.__module__.split(".")[0]
    return _rows.get(cls) or _rows.get((package, cls.__name__))


def stacks_of(model):
    """The stacks of a model that has a row.

    Raises:
        ValueError: if blocks are not where, or not what, the row says.
    """
    row = row_of(model)
    stacks = [x for where in row.stacks for x in _stacks_at(model, row, where)]
    blocks = [unique(stack.blocks) for stack in stacks]
    if sum(map(len, blocks)) > len(unique([b for x in blocks for b in x])):
        raise ValueError(
            f"{type(model).__name__} has a block in two of its stacks "
            f"{row.stacks}; each block belongs to one."
        )
    if not stacks:
        raise ValueError(_wrong(model, row.stacks, "no layers", row))
    return stacks


def unique(blocks):
    """Each block once, in order."""
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
    """What an attribute path leads to; a part may be the name of a layer."""
    found = model
    for name in path.split("."):
        if not hasattr(found, name) and _has_layer(found, name):
            found = found.get_layer(name)
        elif not hasattr(found, name):
            raise ValueError(_wrong(model, path, "no layers", row))
        else:
            found = getattr(found, name)
        if found is None:
            return None
    return found


def _has_layer(model, name):
    return name in [layer.name for layer in getattr(model, "layers", ())]


def _flattened(found):
    """The layers in a list, in lists of it, or in a sequential model."""
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
    names = {cls.__name__ for cls in type(block).__mro__}
    return row.block_classes is None or not names.isdisjoint(row.block_classes)


def _wrong(model, where, found, row):
    place = f"`{type(model).__name__}.{where}`"
    if row.block_classes is None:
        return (
            f"{place} holds {found}; `register_blocks` was told that blocks "
            "are there. Correct the path, or build the model first."
        )
    return (
        f"{place} holds {found}; LAuReL knows it with blocks of "
        f"{list(row.block_classes)}. This version of KerasHub is not "
        "supported: install one that is, or report it."
    )
